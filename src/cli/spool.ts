/**
 * `stsrelay spool check | export`: the queued mail of a relay that is not running: verified,
 * listed, and copied out where it can still be read. Changes nothing in the spool.
 */
import { open, rename, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Option } from 'commander';
import { type DataDir, DataDirLockedError, openDataDir } from '../platform/data-dir.ts';
import { makeDirectory } from '../platform/durable-file.ts';
import {
  type LostMessage,
  openForRescue,
  type RescuedMessage,
  type RescueFrom,
} from '../spool/rescue.ts';
import { damagedDirectory } from '../spool/set-aside.ts';
import { type CliCommand, CliError, EXIT, type Invocation } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { type CheckedMessage, LIST_HEADING, listRow, recipientFates } from './spool-screen.ts';
import { formatTable } from './table.ts';
import { print, printable, printError, printJson } from './terminal.ts';

const NOTES = `
The relay must not be running: stop it first.`;

export const spoolCheck: CliCommand = {
  usage: 'check',
  summary: 'verify every message in the spool, and list them',
  notes: `${NOTES}
Every octet is read. Away from a terminal: no heading, a tab between the columns.

Exit codes:
  0  everything can be read
  1  something is damaged, or there is no spool
  2  wrong usage or configuration, or the relay is running`,
  run: (invocation) =>
    withSpool(invocation, async (directory) => {
      const rescue = await openForRescue(directory);
      const rows: CheckedMessage[] = [];
      for await (const message of rescue.messages()) rows.push(await verify(message));
      const lost = rescue.damages.filter(({ torn }) => !torn);
      const bad = rows.filter(({ fault }) => fault !== undefined);
      const ok = bad.length === 0 && lost.length === 0;
      if (invocation.json) {
        const damages = rescue.damages.map(({ path, from, to, torn, reason }) => {
          return { file: path, from, to, acknowledged: !torn, reason };
        });
        printJson({ ok, directory, messages: rows, damages });
        return ok ? EXIT.done : EXIT.no;
      }
      if (rows.length > 0) print(formatTable(LIST_HEADING, rows.map(listRow)));
      for (const { path, reason, torn } of rescue.damages) {
        printError(`${torn ? 'left by a crash' : 'DAMAGED'}: ${path}: ${printable(reason)}`);
      }
      const sum = `${rows.length} messages in ${rescue.segments} segments (${rescue.octets} octets)`;
      printError(ok ? `${sum}; all can be read` : `${sum}; ${bad.length} cannot be read whole`);
      return ok ? EXIT.done : EXIT.no;
    }),
};

export const spoolExport: CliCommand = {
  usage: 'export <directory> [id...]',
  summary: 'copy messages out of the spool: ID.eml as sent, ID.json with envelope and history',
  options: [
    new Option('--damaged', 'those that the relay set aside because parts of a file were damaged'),
  ],
  notes: `${NOTES}
ID.eml is what would be delivered: the octets that came in, below the relay's own trace field and DKIM signature.
Files that are there already are left alone. What was exported is still in the spool and will be
delivered when the relay is started again. Of a damaged message ID.eml.damaged is what could be read.
With --damaged, some of what is found may have been delivered, or is queued still: its octets stood beside
those that were damaged.

Exit codes:
  0  exported
  1  nothing found, or something could not be exported
  2  wrong usage or configuration, or the relay is running`,
  run: (invocation) =>
    withSpool(invocation, async (directory) => {
      const [target = '', ...ids] = invocation.args;
      const from = await sourceOf(directory, invocation.options['damaged'] === true);
      const asked = new Set(ids);
      const missing = new Set(ids);
      const done: { id: string; error?: string }[] = [];
      await makeDirectory(resolve(target));
      for await (const message of (await openForRescue(directory, from)).messages()) {
        if (asked.size > 0 && !asked.has(message.id)) continue;
        missing.delete(message.id);
        const error = await exportMessage(message, target);
        if (error !== undefined) printError(`${message.id}: ${printable(error)}`);
        done.push({ id: message.id, ...(error === undefined ? {} : { error }) });
      }
      for (const id of missing) printError(`${printable(id)}: not in the spool`);
      const exported = done.filter(({ error }) => error === undefined).length;
      const ok = exported === done.length && exported > 0 && missing.size === 0;
      if (invocation.json) printJson({ ok, directory: resolve(target), messages: done });
      else print(`${exported} of ${done.length} messages exported to ${resolve(target)}`);
      return ok ? EXIT.done : EXIT.no;
    }),
};

/** The spool itself, or what was set aside in it. */
async function sourceOf(directory: string, damaged: boolean): Promise<RescueFrom> {
  if (!damaged) return 'queued';
  const aside = damagedDirectory(directory);
  if (await stat(aside).catch(() => undefined)) return 'damaged';
  const hint = 'what is damaged and still queued is exported without --damaged, as ID.eml.damaged';
  throw new CliError(EXIT.no, `nothing was set aside as damaged; ${hint}`);
}

/** Run `work` on the spool while nobody else can. */
async function withSpool<T>(
  invocation: Invocation,
  work: (directory: string) => Promise<T>,
): Promise<T> {
  const dataDir = resolve(requireDataDir(invocation));
  const directory = join(dataDir, 'spool');
  const found = await stat(directory).catch((error: Error) => error);
  if (found instanceof Error) throw new CliError(EXIT.no, `there is no spool: ${found.message}`);
  let lock: DataDir;
  try {
    lock = await openDataDir(dataDir);
  } catch (error) {
    if (!(error instanceof DataDirLockedError)) {
      throw new CliError(EXIT.wrong, (error as Error).message);
    }
    const owner = error.pid === undefined ? 'the relay' : `the relay (process ${error.pid})`;
    throw new CliError(EXIT.wrong, `the spool in ${directory} is in use: stop ${owner} first`);
  }
  try {
    return await work(directory);
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(EXIT.no, (error as Error).message);
  } finally {
    await lock.unlock();
  }
}

type Found = RescuedMessage | LostMessage;

/** Read a message to its end. */
async function verify(message: Found): Promise<CheckedMessage> {
  if ('error' in message) return { id: message.id, fault: message.error.message };
  const { id, envelope, sizeBytes, records } = message;
  const facts = { id, envelope, sizeBytes, recipients: recipientFates(envelope, records) };
  try {
    for await (const _ of message.body());
    return facts;
  } catch (error) {
    return { ...facts, fault: (error as Error).message };
  }
}

/** Why it could not be exported whole; undefined when it was. */
async function exportMessage(message: Found, target: string): Promise<string | undefined> {
  if ('error' in message) return exportLost(message, target);
  const { id, envelope, sizeBytes, records } = message;
  const recipients = recipientFates(envelope, records);
  try {
    const facts = JSON.stringify({ envelope, sizeBytes, recipients, records }, undefined, 2);
    await writeNew(join(target, `${id}.json`), [Buffer.from(`${facts}\n`)]);
    await writeNew(join(target, `${id}.eml`), asDelivered(message));
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Its signature stands in the envelope, and goes on top (delivery/outgoing-content.ts). */
async function* asDelivered({ envelope, body }: RescuedMessage): AsyncIterable<Buffer> {
  if (envelope.signature !== undefined) yield Buffer.from(envelope.signature, 'latin1');
  yield* body();
}

/** What is left of a message whose envelope is lost: its body, if it has a file of its own. */
async function exportLost({ id, error, body }: LostMessage, target: string): Promise<string> {
  if (!body) return error.message;
  try {
    await writeNew(join(target, `${id}.eml.damaged`), body());
    return `${error.message}; ${id}.eml.damaged is what there is of its body`;
  } catch (failure) {
    return `${error.message}, and so is its body: ${(failure as Error).message}`;
  }
}

async function writeNew(path: string, octets: Iterable<Buffer> | AsyncIterable<Buffer>) {
  const file = await open(path, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EEXIST' ? new Error(`${path} is there already, and left alone`) : error;
  });
  try {
    for await (const chunk of octets) await file.writeFile(chunk);
    await file.sync();
  } catch (error) {
    // What could be read of it may be all there is, but nobody shall take it for the whole.
    await rename(path, `${path}.damaged`);
    throw error;
  } finally {
    await file.close();
  }
}
