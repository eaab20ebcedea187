/**
 * The ledger, kept outside the program: what was handed to the relay and what it answered, what
 * MX hosts took, what DSNs reported, what was recorded. Pure: it is told facts in the order they
 * happen and says which promise one of them breaks.
 *
 * - What was acknowledged is delivered to each recipient or bounced by a DSN (`waiting` until then),
 *   octet for octet. What an MX host would take never bounces.
 * - It arrives once. Twice is for what was under way when something happened that leaves the relay
 *   no way to know (`mayRepeat`), or what the MX host itself answered too late; both are counted.
 *   What was recorded as delivered is never sent again.
 * - What was refused or not sent to its end never arrives; a refusal while something went wrong
 *   (`mayRepeat`) is counted.
 */
import {
  type Answer,
  type Arrival,
  COUNTS,
  type Counts,
  type Entry,
  type Fate,
  idsOf,
  isTaken,
  Violation,
  type Window,
} from './ledger-facts.ts';
import type { Mail } from './mail.ts';

/** So long before a disturbance what was taken may not be recorded yet. */
const IN_FLIGHT_MS = 3000;

export class Ledger {
  readonly counts: Counts = Object.fromEntries(COUNTS.map((name) => [name, 0])) as Counts;
  readonly #entries = new Map<string, Entry>();
  readonly #fates = new Map<string, Fate>();
  readonly #waiting = new Set<Fate>();
  /** Taken by an MX host, and the relay has not said that it recorded it. */
  readonly #unrecorded = new Set<Fate>();
  readonly #ids = new Map<string, string>();
  readonly #windows: Window[] = [];
  readonly #mustBeSecure: ReadonlySet<string>;
  readonly #onViolation: (violation: Violation) => void;
  readonly #now: () => number;

  /** `mustBeSecure`: the domains whose policy says enforce. */
  constructor(parts: {
    readonly mustBeSecure: Iterable<string>;
    readonly onViolation: (violation: Violation) => void;
    readonly now?: () => number;
  }) {
    this.#mustBeSecure = new Set(parts.mustBeSecure);
    this.#onViolation = parts.onViolation;
    this.#now = parts.now ?? Date.now;
  }

  /** Recipients of acknowledged messages without an end. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Something happens from now on, or has for `sinceMs` milliseconds, until the function given
   * back is called.
   */
  disturb(what: string, mayRepeat: boolean, sinceMs = 0): () => void {
    const fromMs = this.#now() - sinceMs;
    const window = { what, mayRepeat, fromMs, toMs: Number.POSITIVE_INFINITY };
    this.#windows.push(window);
    return () => {
      window.toMs = this.#now();
    };
  }

  /** A message is about to be handed over. */
  begin(mail: Mail): void {
    const fates: Fate[] = [];
    const entry: Entry = {
      token: mail.token,
      digest: mail.digest,
      octets: mail.content.length,
      fates,
      begunAtMs: this.#now(),
      answer: undefined,
      answeredAtMs: 0,
    };
    for (const addressee of mail.to) {
      const fate = { ...addressee, entry, arrivals: [], bounces: [], recorded: 0, isOwed: false };
      fates.push(fate);
      this.#fates.set(fate.address, fate);
    }
    this.#entries.set(mail.token, entry);
    this.counts.sent += 1;
  }

  isAnswered(token: string): boolean {
    return this.#entries.get(token)?.answer !== undefined;
  }

  answered(token: string, answer: Answer): void {
    const entry = this.#entries.get(token);
    if (!entry || entry.answer) {
      this.#broken(`${token} was answered twice`);
      return;
    }
    entry.answer = answer;
    entry.answeredAtMs = this.#now();
    switch (answer.kind) {
      case 'acknowledged':
        this.#acknowledged(entry, answer);
        return;
      case 'refused':
        this.counts.refused += 1;
        break;
      case 'unsure':
        this.counts.unsure += 1;
    }
    for (const fate of entry.fates) if (fate.arrivals.length > 0) this.#mayHaveArrived(fate);
  }

  #acknowledged(entry: Entry, { id, to }: Extract<Answer, { kind: 'acknowledged' }>): void {
    this.counts.acknowledged += 1;
    const other = this.#ids.get(id);
    if (other !== undefined) this.#broken(`${entry.token} and ${other} have the same id`, [id]);
    this.#ids.set(id, entry.token);
    for (const fate of entry.fates) {
      fate.isOwed = to.includes(fate.address);
      const isOver = fate.arrivals.length + fate.bounces.length > 0;
      if (fate.isOwed && !isOver) this.#waiting.add(fate);
    }
  }

  /** An MX host took a message. */
  arrived(arrival: Arrival): void {
    const entry = this.#entries.get(arrival.token ?? '');
    if (!entry || arrival.digest !== entry.digest) {
      const what = entry ? `${entry.token} changed` : 'a message nobody sent';
      this.#broken(`${arrival.host} took ${what}`, entry ? idsOf(entry) : []);
      return;
    }
    for (const recipient of arrival.recipients) {
      const fate = this.#fates.get(recipient.toLowerCase());
      if (fate?.entry !== entry) {
        this.#broken(`${entry.token} arrived for ${recipient}`, idsOf(entry));
        continue;
      }
      if (!arrival.overTls && this.#mustBeSecure.has(fate.domain)) {
        this.#broken(`${entry.token} went in clear to ${fate.address}`, idsOf(entry));
      }
      this.#arrivedFor(fate, arrival);
    }
  }

  #arrivedFor(fate: Fate, { isLate }: Arrival): void {
    const before = fate.arrivals.at(-1);
    fate.arrivals.push({ atMs: this.#now(), isLate });
    this.#waiting.delete(fate);
    if (fate.recorded === 0) this.#unrecorded.add(fate);
    if (before === undefined) {
      this.counts.delivered += 1;
      this.#mayHaveArrived(fate);
      return;
    }
    this.counts.duplicates += 1;
    if (before.isLate || this.#isExcused(before.atMs)) return;
    const apart = this.#now() - before.atMs;
    this.#broken(
      `${fate.address} got ${fate.entry.token} again after ${apart} ms, and nothing had happened`,
      idsOf(fate.entry),
    );
  }

  /** Whether this message was to arrive at all; asked when either of the two is known. */
  #mayHaveArrived({ entry, address }: Fate): void {
    const { answer } = entry;
    if (answer?.kind === 'cut-off') {
      this.#broken(`${address} got ${entry.token}, which was not sent to its end`);
    }
    if (answer?.kind !== 'refused') return;
    this.counts.refusedYetDelivered += 1;
    if (this.#isExcused(entry.answeredAtMs)) return;
    this.#broken(`${address} got ${entry.token}, which was answered ${answer.reply}`);
  }

  /** Content came in clear to a host of a domain that enforces TLS. */
  wentInClear(host: string, octets: number): void {
    this.#broken(`${octets} octets of content went in clear to ${host}`);
  }

  /** The relay broke the rules of SMTP in a session with this host. */
  misbehaved(host: string, what: string): void {
    this.#broken(`${host} saw: ${what}`);
  }

  /** A DSN came back that says the recipient's mail failed. `isLate`: as with an arrival. */
  bounced(recipient: string, isLate: boolean): void {
    const fate = this.#fates.get(recipient.toLowerCase());
    if (!fate) {
      this.#broken(`a DSN came about ${recipient}, to whom nobody wrote`);
      return;
    }
    const before = fate.bounces.at(-1);
    fate.bounces.push({ atMs: this.#now(), isLate });
    this.#waiting.delete(fate);
    const { entry } = fate;
    if (isTaken(fate.kind)) {
      this.#broken(`${fate.address} bounced, and its host takes mail`, idsOf(entry));
    }
    if (before === undefined) this.counts.bounced += 1;
    else {
      this.counts.duplicates += 1;
      if (!before.isLate && !this.#isExcused(before.atMs)) {
        this.#broken(`${fate.address} was bounced again`, idsOf(entry));
      }
    }
  }

  /** The relay said in its log that it recorded the end of a recipient's mail. */
  recorded(recipient: string): void {
    const fate = this.#fates.get(recipient.toLowerCase());
    if (!fate) return; // of a DSN
    fate.recorded += 1;
    this.#unrecorded.delete(fate);
    if (fate.recorded > 1) {
      const text = `${fate.address}: recorded as delivered or bounced, and once more`;
      this.#broken(text, idsOf(fate.entry));
    }
  }

  /** How many deliveries were taken and, for all that is known, not recorded; forgets them. */
  takeInFlight(): number {
    const count = this.#unrecorded.size;
    this.#unrecorded.clear();
    return count;
  }

  /** There was time enough: what is without an end has none. */
  judgeWaiting(): void {
    const late = [...this.#waiting];
    if (late.length === 0) return;
    const some = late.slice(0, 20).map(({ address }) => address);
    const ids = late.slice(0, 20).flatMap(({ entry }) => idsOf(entry));
    this.#broken(`${late.length} acknowledged and without an end: ${some.join(' ')}`, ids);
  }

  /**
   * Everything without an end must be among the messages that the spool holds; save what may be
   * there as a DSN by now.
   */
  judgeSpool(ids: ReadonlySet<string>): void {
    const owed = [...this.#waiting].filter(({ kind }) => isTaken(kind));
    const lost = owed.filter(({ entry }) => !idsOf(entry).some((id) => ids.has(id)));
    const [first] = lost;
    if (first === undefined) return;
    this.#broken(
      `${lost.length} acknowledged and without an end are not in the spool, as ${first.address}`,
      lost.slice(0, 20).flatMap(({ entry }) => idsOf(entry)),
    );
  }

  #isExcused(atMs: number): boolean {
    return this.#windows.some(
      ({ mayRepeat, fromMs, toMs }) =>
        mayRepeat && atMs >= fromMs - IN_FLIGHT_MS && atMs <= toMs + IN_FLIGHT_MS,
    );
  }

  #broken(message: string, ids: readonly string[] = []): void {
    const last = this.#windows.at(-1);
    const after = last === undefined ? '' : ` (disturbance: ${last.what})`;
    this.#onViolation(new Violation(message + after, ids));
  }
}
