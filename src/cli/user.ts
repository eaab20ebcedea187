/**
 * `stsrelay user add | remove | list`: edit the users file. A running relay sees the change by
 * itself.
 */
import { Option } from 'commander';
import { hashPassword } from '../intake/password.ts';
import { addUser, readUsers, removeUser } from '../intake/users-edit.ts';
import { isSenderPattern, isUserName, UsersFileError } from '../intake/users-file.ts';
import { type CliCommand, CliError, EXIT, type Invocation } from './command.ts';
import { requireSettings } from './configuration.ts';
import { askPassword, readPassword } from './password-input.ts';
import { print, printable, printJson } from './terminal.ts';

export const userAdd: CliCommand = {
  usage: 'add <name>',
  summary: 'add a user to access.usersFile; asks for the password',
  options: [
    new Option('--sender <pattern>', 'sender this user may use; may be given several times')
      .argParser((pattern: string, before: readonly string[] = []) => [...before, pattern])
      .makeOptionMandatory(),
    new Option('--password-stdin', 'read the password from stdin'),
    new Option('--replace', 'give a user who is there a new password and new senders'),
  ],
  notes: `
Patterns: user@example.com, *@example.com (one domain), *.example.com (the domains below it), * (any).

  stsrelay user add alice --sender alice@example.com --sender '*@lists.example.com'`,
  async run(invocation) {
    const { args, options, json } = invocation;
    const [name = ''] = args;
    const senders = options['sender'] as readonly string[];
    checkInput(name, senders);
    const file = usersFileOf(invocation);
    const password =
      options['passwordStdin'] === true ? await readPassword() : await askPassword(name);
    const user = { name, hash: await hashPassword(password), allowedSenders: senders };
    const result = await explained(addUser(file, user, options['replace'] === true));
    if (result === 'exists') {
      throw new CliError(
        EXIT.no,
        `${file} has a user ${name} already; --replace gives a new password and senders`,
      );
    }
    if (json) printJson({ ok: true, file, name, result });
    else print(`${name} ${result} in ${file}`);
    return EXIT.done;
  },
};

export const userRemove: CliCommand = {
  usage: 'remove <name>',
  summary: 'remove a user from access.usersFile',
  async run(invocation) {
    const [name = ''] = invocation.args;
    const file = usersFileOf(invocation);
    if (!(await explained(removeUser(file, name)))) {
      throw new CliError(EXIT.no, `${file} has no user ${printable(name)}`);
    }
    if (invocation.json) printJson({ ok: true, file, name });
    else print(`${name} removed from ${file}`);
    return EXIT.done;
  },
};

export const userList: CliCommand = {
  usage: 'list',
  summary: 'list the users of access.usersFile and the senders they may use',
  async run(invocation) {
    const file = usersFileOf(invocation);
    const users = await explained(readUsers(file));
    if (invocation.json) {
      printJson(users.map(({ name, allowedSenders }) => ({ name, allowedSenders })));
    } else {
      const width = Math.max(0, ...users.map(({ name }) => name.length));
      for (const { name, allowedSenders } of users) {
        print(`${name.padEnd(width)}  ${allowedSenders.join(' ')}`);
      }
    }
    return EXIT.done;
  },
};

function checkInput(name: string, senders: readonly string[]): void {
  if (!isUserName(name)) {
    throw new CliError(
      EXIT.wrong,
      `${printable(name)} is no user name (up to 255 octets, no control characters)`,
    );
  }
  const bad = senders.find((pattern) => !isSenderPattern(pattern));
  if (bad !== undefined) {
    const text = `${printable(bad)} is no sender pattern: user@example.com, *@example.com, *.example.com or *`;
    throw new CliError(EXIT.wrong, text);
  }
}

function usersFileOf(invocation: Invocation): string {
  const { usersFile } = requireSettings(invocation).settings.access;
  if (usersFile === '')
    throw new CliError(EXIT.wrong, 'access.usersFile is empty: there is no file to edit');
  return usersFile;
}

async function explained<T>(edit: Promise<T>): Promise<T> {
  try {
    return await edit;
  } catch (error) {
    if (error instanceof UsersFileError) throw new CliError(EXIT.wrong, error.message);
    throw error;
  }
}
