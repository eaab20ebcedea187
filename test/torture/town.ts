/**
 * The internet of a crash campaign: five domains, two of them with an enforced policy, one that
 * is the sender's own and gets the DSNs. Their MX hosts do what the address of a recipient says
 * (mail.ts), tell the ledger what they took, and have moods that disturbances change.
 */
import type { Random } from '../fuzz/engine/random.ts';
import type { MxCommand, MxSessionRecord, ScriptedReply } from '../support/mx-script.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { readDsn } from './dsn-reading.ts';
import type { Ledger } from './ledger.ts';
import { digestOf, kindOf, SENDER_DOMAIN, tokenOf } from './mail.ts';
import { MxListener } from './mx-listener.ts';

interface TownDomain {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly mode?: 'enforce' | 'testing';
}

const DOMAINS: readonly TownDomain[] = [
  { name: 'safe.test', hosts: ['mx1.safe.test', 'mx2.safe.test'], mode: 'enforce' },
  { name: 'strict.test', hosts: ['mx.strict.test'], mode: 'enforce' },
  { name: 'plain.test', hosts: ['mx.plain.test'] },
  { name: 'trial.test', hosts: ['mx.trial.test'], mode: 'testing' },
  { name: SENDER_DOMAIN, hosts: [`mx.${SENDER_DOMAIN}`] },
];
export const SECURE_DOMAINS = DOMAINS.filter(({ mode }) => mode === 'enforce').map((d) => d.name);
export const RECIPIENT_DOMAINS = DOMAINS.map(({ name }) => name).filter(
  (name) => name !== SENDER_DOMAIN,
);
/** Longer than the relay waits for the answer to the final dot (relay-settings.ts). */
const LATE_MS = 4500;
const DAY_MS = 86_400_000;
/** The first tries that `later` recipients turn away. */
const TRIES_REFUSED = 2;

/** How the MX hosts answer the final dot just now; shares of 100. */
export interface Mood {
  /** Each answer takes up to so long. */
  readonly delayMs: number;
  /** Taken, and answered when nobody waits any more. */
  readonly late: number;
  /** Taken or not, and never answered. */
  readonly silent: number;
  /** Taken or not, and the connection closed without an answer. */
  readonly closing: number;
  /** Somebody in between takes STARTTLS, policy record and policy away. */
  readonly stripped: boolean;
}
export const GOOD_MOOD: Mood = { delayMs: 20, late: 0, silent: 0, closing: 0, stripped: false };

export class Town {
  readonly internet: PretendInternet;
  mood: Mood = GOOD_MOOD;
  readonly #ledger: Ledger;
  readonly #random: Random;
  readonly #hosts: MxListener[] = [];
  readonly #tries = new Map<string, number>();
  readonly #withdraw: (() => void)[] = [];
  readonly #publish: (() => Promise<void>)[] = [];

  /** @NOTE call startTown instead. */
  constructor(internet: PretendInternet, ledger: Ledger, random: Random) {
    this.internet = internet;
    this.#ledger = ledger;
    this.#random = random;
  }

  get connections(): number {
    return this.#hosts.reduce((sum, host) => sum + host.connections, 0);
  }

  async add({ name, hosts, mode }: TownDomain): Promise<void> {
    const mx = hosts.map((host) => ({ host, down: true }));
    const domain = await this.internet.domain(name, { mx, ...(mode ? { sts: { mode } } : {}) });
    if (mode === 'enforce') {
      this.#withdraw.push(() => domain.withdrawSts());
      this.#publish.push(() => domain.publishSts({ mode }));
    }
    for (const { name: host, address } of domain.mx) {
      // Good for clocks that are wrong by hours.
      const notBefore = new Date(Date.now() - 30 * DAY_MS);
      const certificate = await this.internet.ca.issue({ names: [host], notBefore });
      const listener = new MxListener({
        name: host,
        address,
        port: this.internet.mxPort,
        certificate,
        script: (session, command) => this.#answer(host, session, command),
        offersTls: () => !(mode === 'enforce' && this.mood.stripped),
        onClearContent: (octets) => {
          if (mode === 'enforce') this.#ledger.wentInClear(host, octets);
        },
        onMisconduct: (what) => this.#ledger.misbehaved(host, what),
      });
      this.#hosts.push(listener);
      await listener.start();
    }
  }

  /** Take STARTTLS and everything that says it must be there from the domains that enforce it. */
  strip(): void {
    this.mood = { ...this.mood, stripped: true };
    for (const withdraw of this.#withdraw) withdraw();
  }

  async unstrip(): Promise<void> {
    for (const publish of this.#publish) await publish();
    this.mood = { ...this.mood, stripped: false };
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host.close()));
    await this.internet.close();
  }

  #answer(host: string, session: MxSessionRecord, { verb, argument }: MxCommand): ScriptedReply {
    if (verb === 'RCPT') return this.#answerRcpt(/<([^>]*)>/.exec(argument)?.[1] ?? '');
    return verb === '.' ? this.#answerContent(host, session) : undefined;
  }

  #answerRcpt(address: string): ScriptedReply {
    const kind = kindOf(address);
    if (kind === 'refuses') return '550 5.1.1 Nobody of this name';
    if (kind !== 'later') return undefined;
    const tries = (this.#tries.get(address) ?? 0) + 1;
    this.#tries.set(address, tries);
    return tries <= TRIES_REFUSED ? '451 4.3.0 Later' : undefined;
  }

  #answerContent(host: string, session: MxSessionRecord): ScriptedReply {
    const recipients = (session.messages.at(-1)?.recipients ?? []).map(({ address }) => address);
    if (recipients.some((address) => kindOf(address) === 'spurns')) return '554 5.6.0 Not this';
    const { late, silent, closing, delayMs } = this.mood;
    const roll = this.#random.below(100);
    if (roll < late) {
      this.#take(host, session, true);
      return { delayMs: LATE_MS };
    }
    if (roll < late + silent + closing) {
      if (this.#random.below(2) === 0) this.#take(host, session, true);
      return { ending: roll < late + silent ? 'hang' : 'close' };
    }
    this.#take(host, session, false);
    return { delayMs: this.#random.below(delayMs) };
  }

  #take(host: string, session: MxSessionRecord, isLate: boolean): void {
    const message = session.messages.at(-1);
    if (message === undefined) return;
    const recipients = message.recipients.map(({ address }) => address);
    if (recipients.every((address) => address.endsWith(`@${SENDER_DOMAIN}`))) {
      for (const { recipient, action } of readDsn(message.data)) {
        if (action === 'failed') this.#ledger.bounced(recipient, isLate);
      }
      return;
    }
    this.#ledger.arrived({
      token: tokenOf(message.data),
      recipients,
      digest: digestOf(belowTrace(message.data)),
      overTls: message.tls !== undefined,
      host,
      isLate,
    });
  }
}

/** The content below the one trace field that the relay puts on top. */
function belowTrace(content: Buffer): Buffer {
  const head = content.subarray(0, 2048).toString('latin1');
  const [field] = /^Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*/.exec(head) ?? [''];
  return content.subarray(field.length);
}

/** Start the town; its listeners are open. */
export async function startTown(ledger: Ledger, random: Random): Promise<Town> {
  const town = new Town(await startPretendInternet(), ledger, random);
  try {
    for (const domain of DOMAINS) await town.add(domain);
    return town;
  } catch (error) {
    await town.close();
    throw error;
  }
}
