/**
 * A relay process and a pretend internet around it, and the questions the tests of the
 * promises ask of the two: what became of a recipient, and whether an MX host saw anything
 * of a message.
 */
import assert from 'node:assert/strict';
import type { MxHost, ReceivedMessage } from './mx-host.ts';
import { type PretendInternet, startPretendInternet } from './pretend-internet.ts';
import {
  type LogLine,
  type RelayOptions,
  type RelayProcess,
  type Settings,
  startRelay,
} from './relay-process.ts';
import { connect, type Delivery } from './smtp-client.ts';

/** What the log says became of one recipient. */
export type Answer = LogLine & {
  readonly event: 'delivery.delivered' | 'delivery.deferred' | 'outcome.bounced';
};
const ANSWERS: readonly string[] = ['delivery.delivered', 'delivery.deferred', 'outcome.bounced'];

export interface Sent {
  readonly id: string;
  readonly to: readonly string[];
  /** The content as handed over. */
  readonly data: Buffer;
}

export class RelayWorld implements AsyncDisposable {
  readonly internet: PretendInternet;
  readonly relay: RelayProcess;
  #messages = 0;

  constructor(internet: PretendInternet, relay: RelayProcess) {
    this.internet = internet;
    this.relay = relay;
  }

  /** Hand over a message on a connection of its own; it must be acknowledged. */
  async send(delivery: Partial<Delivery> & { readonly to: Delivery['to'] }): Promise<Sent> {
    this.#messages += 1;
    const data = Buffer.from(delivery.data ?? plainMessage(this.#messages));
    using client = await connect({ port: this.relay.smtpPort });
    await client.send('EHLO client.example.net');
    const result = await client.deliver({ from: 'sender@client.test', ...delivery, data });
    assert.ok(result.accepted && result.id !== undefined, result.reply.raw);
    const to = typeof delivery.to === 'string' ? [delivery.to] : delivery.to;
    return { id: result.id, to, data };
  }

  /** Everything the log of this run says about a message's recipient, in order. */
  answers({ id, to }: Sent, recipient = to[0]): readonly Answer[] {
    return this.relay.log.filter(
      (line): line is Answer =>
        ANSWERS.includes(line.event) && line.id === id && line['recipient'] === recipient,
    );
  }

  /** Wait for the n-th answer of this run about a message's (first) recipient. */
  async answer(
    sent: Sent,
    { recipient = sent.to[0], nth = 1, timeoutMs }: AnswerOptions = {},
  ): Promise<Answer> {
    const what = `answer ${nth} for ${recipient} of ${sent.id}`;
    return this.relay.waitForLog(what, () => this.answers(sent, recipient)[nth - 1], timeoutMs);
  }

  async close(): Promise<void> {
    await this.relay.close();
    await this.internet.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

export interface AnswerOptions {
  readonly recipient?: string | undefined;
  readonly nth?: number;
  readonly timeoutMs?: number;
}

/** An internet without domains, and a relay in it. */
export function startWorld(...settings: readonly Settings[]): Promise<RelayWorld> {
  return startWorldWith({}, ...settings);
}

/** The same, with a relay that is not started as usual. */
export async function startWorldWith(
  options: Omit<RelayOptions, 'settings'>,
  ...settings: readonly Settings[]
): Promise<RelayWorld> {
  const internet = await startPretendInternet();
  try {
    const relay = await startRelay({
      ...options,
      settings: [internet.relaySettings(), ...settings],
    });
    return new RelayWorld(internet, relay);
  } catch (error) {
    await internet.close();
    throw error;
  }
}

/** A small message nobody else sends. */
export function plainMessage(number: number): string {
  return `Subject: message ${number}\r\n\r\nThis is message ${number}.\r\n`;
}

/**
 * The host was told nothing of any message: no MAIL, no RCPT, no DATA, no octet of content.
 * `afterSession`: from the session behind that number on.
 */
export function assertToldNothing(host: MxHost, { afterSession = 0 } = {}): void {
  for (const session of host.sessions.slice(afterSession)) {
    const verbs = session.commands.map(({ verb }) => verb);
    const told = verbs.filter((verb) => !['EHLO', 'HELO', 'STARTTLS', 'QUIT'].includes(verb));
    assert.deepEqual(told, [], `${host.name} was told ${told.join(', ')}`);
    const { contentClear, contentEncrypted } = session.octets;
    assert.equal(contentClear + contentEncrypted, 0, `${host.name} got content`);
    assert.equal(session.messages.length, 0, `${host.name} got a message`);
  }
}

/** The content arrived as it was sent: octet for octet below the trace field on top. */
export function assertSameContent(received: ReceivedMessage | undefined, sent: Buffer): void {
  assert.ok(received !== undefined, 'the message did not arrive');
  const top = received.data.subarray(0, received.data.length - sent.length).toString('latin1');
  assert.match(top, /^Received: from [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*$/);
  assert.ok(received.data.subarray(top.length).equals(sent), 'the content was changed');
}
