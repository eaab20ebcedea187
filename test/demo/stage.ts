/**
 * What the tour happens on: the pretend internet with its eight domains, and a relay as its users
 * start it (`dist/main.js start` with a configuration file), in a process of its own with a Redis
 * of its own. All of it below temp directories, all of it gone after `close`.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { rsaPair } from '../support/dkim-keys.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { type LogLine, type RelayProcess, startRelay } from '../support/relay-process.ts';
import { connect } from '../support/smtp-client.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { Attack, SENDER_DOMAIN, settle } from './postures.ts';

export const RELAY_NAME = `relay.${SENDER_DOMAIN}`;
export const SENDER = `ann@${SENDER_DOMAIN}`;
const STOP_MS = 10_000;
/** For what takes seconds, unless the machine stands still. */
const WAIT_MS = 180_000;
/** The longest there is. */
const EVER_MS = 2 ** 31 - 1;
const TROUBLES_SHOWN = 5;

export class Stage implements AsyncDisposable {
  readonly internet: PretendInternet;
  readonly relay: RelayProcess;
  readonly attack: Attack;
  /** The token of the relay's API. */
  readonly tokenFile: string;
  readonly #dir: TempDir;
  readonly #end: Promise<number | NodeJS.Signals>;

  /** @NOTE call startStage instead. */
  constructor(parts: {
    dir: TempDir;
    internet: PretendInternet;
    relay: RelayProcess;
    attack: Attack;
    tokenFile: string;
  }) {
    this.#dir = parts.dir;
    this.internet = parts.internet;
    this.relay = parts.relay;
    this.attack = parts.attack;
    this.tokenFile = parts.tokenFile;
    this.#end = parts.relay.waitForExit(EVER_MS);
  }

  /** Hand a message for `domain` to the relay, as any client would; its id. */
  async send(domain: string): Promise<string> {
    using client = await connect({ port: this.relay.smtpPort });
    await client.send(`EHLO mail.${SENDER_DOMAIN}`);
    const to = `bob@${domain}`;
    const header = `From: ${SENDER}\r\nTo: ${to}\r\nSubject: Hello\r\n`;
    const data = `${header}Message-ID: <${randomBytes(6).toString('hex')}@${SENDER_DOMAIN}>\r\n\r\nHello Bob!\r\n`;
    const { accepted, reply, id } = await client.deliver({ from: SENDER, to, data });
    if (accepted && id !== undefined) return id;
    throw new Error(`the relay did not take the message: ${reply.raw}`);
  }

  /** Look at the relay's log, as it is and whenever it grows, until `look` says true. */
  async watch(what: string, look: (lines: readonly LogLine[]) => boolean): Promise<void> {
    await this.relay.waitForLog(what, (lines) => (look(lines) ? true : undefined), WAIT_MS);
  }

  /** Rejects when the relay has ended by itself, with its last words. */
  async whenGone(): Promise<never> {
    const code = await this.#end;
    const troubles = this.relay.log.filter(({ level }) => level === 'error').slice(-TROUBLES_SHOWN);
    const words = troubles.map((line) => `\n  ${JSON.stringify(line)}`).join('');
    throw new Error(`the relay ended by itself (${code})${words}`);
  }

  /** End everything: the relay in order, if it does so in time. */
  async close(): Promise<void> {
    if (this.relay.isRunning) await this.relay.stop(STOP_MS).catch(() => undefined);
    await this.relay.close();
    await this.internet.close();
    this.#dir.remove();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** All of it, ready for mail. `program` is what the relay is started from. */
export async function startStage(program: string): Promise<Stage> {
  const dir = tempDir('stsrelay-demo-');
  const internet = await startPretendInternet('Pretend Root CA');
  try {
    const domains = await settle(internet);
    const target = domains.get('attacked.example');
    if (target === undefined) throw new Error('there is nobody to attack');
    const tokenFile = dir.file('token');
    writeFileSync(tokenFile, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
    const keyFile = dir.file('dkim.pem');
    writeFileSync(keyFile, rsaPair().keyPem, { mode: 0o600 });
    const relay = await startRelay({
      main: program,
      settings: [internet.relaySettings(), settingsOf({ tokenFile, keyFile })],
    });
    const attack = new Attack(internet, target);
    return new Stage({ dir, internet, relay, attack, tokenFile });
  } catch (error) {
    await internet.close();
    dir.remove();
    throw error;
  }
}

/** What is not as it is by default, besides where the internet is. */
function settingsOf({ tokenFile, keyFile }: { tokenFile: string; keyFile: string }) {
  return {
    hostname: RELAY_NAME,
    http: { tokenFile },
    dkim: [{ domain: SENDER_DOMAIN, selector: 'demo', keyFile }],
    tlsRpt: {
      organization: 'The Demo Company',
      contact: `postmaster@${SENDER_DOMAIN}`,
      from: `tls-reports@${SENDER_DOMAIN}`,
    },
    log: { level: 'info' },
  };
}
