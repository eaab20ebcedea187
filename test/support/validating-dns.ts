/**
 * DNS with real DNSSEC: zones that dnssec-signzone signed, and an Unbound that serves and validates
 * them, on a random port of loopback. Signatures may be taken out or be out of date, record by
 * record. Nothing is asked of the outside, and no root is needed.
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createResolver } from '../../src/platform/dns/stub-resolver.ts';
import { parseDomain } from '../../src/protocol/domain.ts';
import { randomPort } from './free-port.ts';
import { type TempDir, tempDir } from './temp-dir.ts';
import { findCommand, spawnTied } from './tied-child.ts';
import { waitFor } from './wait-for.ts';

const TOOLS = ['unbound', 'dnssec-keygen', 'dnssec-signzone'] as const;
const DAY_MS = 86_400_000;
const START_ATTEMPTS = 10;

/** Which of the programs are not installed; false when all are. */
export const validatingDnsMissing: string | false = (() => {
  const missing = TOOLS.filter((tool) => findCommand(tool) === undefined);
  return missing.length > 0 ? `${missing.join(', ')} not installed` : false;
})();

export interface ZoneDescription {
  /** e.g. `signed.test`; what lies below it is in it. */
  readonly name: string;
  /** Lines of a zone file, names relative to the zone, without SOA and NS. */
  readonly records: readonly string[];
  /** Default: yes. */
  readonly signed?: boolean;
  /** Names (relative) and types whose signature is no longer valid, or missing: `mx TLSA`. */
  readonly expired?: readonly string[];
  readonly stripped?: readonly string[];
}

export class ValidatingDns implements AsyncDisposable {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #dir: TempDir;

  /** @NOTE call startValidatingDns instead. */
  constructor(parts: { port: number; child: ChildProcess; dir: TempDir }) {
    this.port = parts.port;
    this.#child = parts.child;
    this.#dir = parts.dir;
  }

  /** As in `dns.servers`. */
  get endpoint(): string {
    return `127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise((resolve) => this.#child.once('exit', resolve));
      this.#child.kill('SIGKILL');
      await ended;
    }
    this.#dir.remove();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Sign the zones and start Unbound; resolves when it answers. */
export async function startValidatingDns(
  zones: readonly ZoneDescription[],
): Promise<ValidatingDns> {
  const dir = tempDir();
  try {
    const served = zones.map((zone) => writeZone(zone, dir));
    for (let attempt = 1; ; attempt++) {
      const port = randomPort();
      const started = await startUnbound(served, { dir, port, probe: zones[0]?.name ?? '' });
      if (typeof started !== 'string') return new ValidatingDns({ port, child: started, dir });
      if (attempt >= START_ATTEMPTS) throw new Error(`Unbound did not start: ${started}`);
    }
  } catch (error) {
    dir.remove();
    throw error;
  }
}

interface ServedZone {
  readonly name: string;
  readonly file: string;
  /** Of the key that it is trusted by; absent: not signed. */
  readonly keyFile?: string;
}

function writeZone(zone: ZoneDescription, dir: TempDir): ServedZone {
  const { name, records, signed = true } = zone;
  const head = [
    `$ORIGIN ${name}.`,
    '$TTL 300',
    `@ SOA ns.${name}. root.${name}. 1 3600 600 86400 60`,
    `@ NS ns.${name}.`,
    'ns A 127.0.0.1',
  ];
  const file = dir.file(`${name}.zone`);
  writeFileSync(file, `${[...head, ...records].join('\n')}\n`);
  if (!signed) return { name, file };
  // One key for everything; ECDSA is quick to make.
  tool('dnssec-keygen', ['-q', '-a', 'ECDSAP256SHA256', '-f', 'KSK', '-K', dir.path, name], dir);
  const key = readdirSync(dir.path).find(
    (one) => one.startsWith(`K${name}.`) && one.endsWith('.key'),
  );
  if (key === undefined) throw new Error(`no key for ${name}`);
  const keyFile = dir.file(key);
  writeFileSync(file, `$INCLUDE ${keyFile}\n`, { flag: 'a' });
  const good = sign({ name, file, keyFile, dir }, 'good', [-DAY_MS, 30 * DAY_MS]);
  const old = sign({ name, file, keyFile, dir }, 'old', [-30 * DAY_MS, -DAY_MS]);
  const lines = good.filter(
    (line) => !isSignatureOf(line, [...(zone.expired ?? []), ...(zone.stripped ?? [])], name),
  );
  const expired = old.filter((line) => isSignatureOf(line, zone.expired ?? [], name));
  const signedFile = dir.file(`${name}.signed`);
  writeFileSync(signedFile, `${[...lines, ...expired].join('\n')}\n`);
  return { name, file: signedFile, keyFile };
}

/** One record a line, signatures included, valid or not; times are milliseconds from now. */
function sign(
  { name, file, keyFile, dir }: Required<ServedZone> & { readonly dir: TempDir },
  word: string,
  [from, to]: readonly [number, number],
): readonly string[] {
  const out = dir.file(`${name}.${word}`);
  const when = (ms: number) =>
    new Date(Date.now() + ms).toISOString().replace(/[-:T]/g, '').slice(0, 14);
  const times = ['-s', when(from), '-e', when(to)];
  const form = ['-P', '-z', '-O', 'full', '-o', name, '-f', out, '-K', dir.path];
  tool('dnssec-signzone', [...form, ...times, file, keyFile.replace(/\.key$/, '')], dir);
  return readFileSync(out, 'utf8').split('\n');
}

/** Whether the line is the RRSIG of one of `wanted`, e.g. `mx TLSA`. */
function isSignatureOf(line: string, wanted: readonly string[], zone: string): boolean {
  const [owner = '', , , type, covered] = line.split(/\s+/);
  if (type !== 'RRSIG') return false;
  return wanted.some((one) => {
    const [name = '', of] = one.split(' ');
    return owner.toLowerCase() === `${name}.${zone}.` && covered === of;
  });
}

function tool(name: string, args: readonly string[], dir: TempDir): void {
  execFileSync(findCommand(name) ?? name, args, { cwd: dir.path, stdio: 'pipe' });
}

/** The process, once it answers; else what it said. */
async function startUnbound(
  zones: readonly ServedZone[],
  { dir, port, probe }: { readonly dir: TempDir; readonly port: number; readonly probe: string },
): Promise<ChildProcess | string> {
  const config = dir.file(`unbound-${port}.conf`);
  writeFileSync(config, unboundConfig(zones, { dir, port }));
  const child = spawnTied(findCommand('unbound') ?? 'unbound', ['-d', '-p', '-c', config], {
    cwd: dir.path,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  let hasEnded = false;
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4000);
  });
  child.once('error', (error) => {
    said += error.message;
    hasEnded = true;
  });
  child.once('exit', () => {
    hasEnded = true;
  });
  const resolver = createResolver({
    servers: [{ address: '127.0.0.1', port }],
    trustAd: 'auto',
    totalMs: 2000,
  });
  const name = parseDomain(probe);
  if (name === undefined) throw new Error(`${probe} is no zone`);
  const answers = await waitFor('an answer from Unbound', async () => {
    if (hasEnded) return 'ended';
    const { kind } = await resolver.lookupMx(name, AbortSignal.timeout(2000));
    return kind === 'failed' ? undefined : 'answers';
  });
  return answers === 'answers' ? child : said;
}

function unboundConfig(
  zones: readonly ServedZone[],
  { dir, port }: { readonly dir: TempDir; readonly port: number },
): string {
  const anchors = zones.flatMap(({ keyFile }) =>
    keyFile === undefined ? [] : [`  trust-anchor-file: "${keyFile}"`],
  );
  const server = [
    'server:',
    '  interface: 127.0.0.1',
    `  port: ${port}`,
    ...['do-ip6: no', 'do-daemonize: no', 'use-syslog: no', 'num-threads: 1'].map(
      (one) => `  ${one}`,
    ),
    ...['chroot: ""', 'username: ""', 'pidfile: ""', 'logfile: ""'].map((one) => `  ${one}`),
    `  directory: "${dir.path}"`,
    '  module-config: "validator iterator"',
    '  local-zone: "test." nodefault',
    '  ede: yes',
    ...anchors,
    'remote-control:',
    '  control-enable: no',
  ];
  const served = zones.flatMap(({ name, file }) => [
    'auth-zone:',
    `  name: "${name}."`,
    `  zonefile: "${file}"`,
    '  for-downstream: no',
    '  for-upstream: yes',
    '  fallback-enabled: no',
  ]);
  return `${[...server, ...served].join('\n')}\n`;
}
