/**
 * `stsrelay start`: run the relay in the foreground. Without `--role` this process is only the
 * supervisor of two others (roles/supervisor.ts); with it, it is one of them, or both in one.
 *
 * What a role is made of is loaded by that role alone.
 */
import { Option } from 'commander';
import { type CliCommand, CliError, EXIT, type ExitCode, type Invocation } from './command.ts';

export const start: CliCommand = {
  usage: 'start',
  summary: 'run in the foreground until SIGTERM or SIGINT',
  options: [
    new Option('--role <role>', 'run one part alone, or both in one process').choices([
      'receive',
      'deliver',
      'all',
    ]),
    new Option('--supervised', 'take orders from the process that started this one').hideHelp(),
  ],
  notes: `
Without --role it runs two processes and keeps them running: one with the listeners (receive), one
with spool, queue and deliveries (deliver). Run apart, e.g. as two systemd units, each takes its own
signals; they find each other through dataDir. While deliver is away, receive answers 451 to DATA. A second one
of either on the same dataDir ends with exit code 2 and names the process that is in the way.

SIGTERM and SIGINT drain transactions under way for up to 30 s; a second one ends it at once.
SIGHUP applies the changed configuration file; of roles run apart, it goes to deliver, which tells receive.`,
  async run(invocation): Promise<ExitCode> {
    const { role, supervised } = invocation.options;
    if (role === undefined) return superviseRoles(invocation);
    if (supervised === true && process.send === undefined) {
      throw new CliError(EXIT.wrong, '--supervised is for processes that `stsrelay start` starts');
    }
    const isSupervised = supervised === true;
    if (role === 'receive') {
      const { runReceiver } = await import('./run-receiver.ts');
      return runReceiver(invocation, isSupervised);
    }
    const { runOwner } = await import('./run-owner.ts');
    return runOwner(invocation, { isAlone: role === 'deliver', isSupervised });
  },
};

async function superviseRoles({ configFile, json }: Invocation): Promise<ExitCode> {
  const { supervise } = await import('../roles/supervisor.ts');
  const global = [...(configFile === undefined ? [] : ['--config', configFile])];
  if (json) global.push('--json');
  const code = await supervise({
    program: process.argv[1] ?? '',
    argumentsFor: (role) => ['start', '--role', role, '--supervised', ...global],
  });
  return code as ExitCode;
}
