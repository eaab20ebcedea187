/**
 * DKIM (RFC 6376): signs messages whose author's domain has a key in `dkim`, and leaves all others alone.
 *
 *   gather    the header, while the message streams by
 *   decide    when it is complete: one author, in a domain that is configured (exactly, no parent domain);
 *             whoever hands the message over may write as that author; no signature of the domain yet
 *   hash      the body of those that are to be signed, as it streams by
 *   sign      when the message is complete: the field that goes on top
 *
 * The message itself is never changed. What cannot be signed (no key that works, a header
 * beyond all measure, as far as its author is known) goes without, and is told: a signature helps mail, its absence must not stop it.
 * Memory: a header, for as long as its message comes in.
 */
import type { Clock } from '../platform/clock.ts';
import { type HeaderField, HeaderGatherer, signingDomainOf } from '../protocol/dkim/header.ts';
import { dkimSignature, isCovered } from '../protocol/dkim/signature.ts';
import type { DomainName } from '../protocol/domain.ts';
import { authorOf } from './author.ts';
import { type DkimSetting, type KeyEvents, KeyRing } from './key-ring.ts';
import { BodyHash } from './nodemailer-dkim.ts';

export interface DkimEvents extends KeyEvents {
  signed(): void;
  /** A message was to be signed, and was not. */
  unsigned(facts: { readonly domain: DomainName; readonly reason: string }): void;
  /** A message of a domain with a key has lines in its header that are no fields. */
  malformed(facts: { readonly domain: DomainName }): void;
}

export type Signed =
  /** `fields`: one DKIM-Signature field or more, ASCII, each with its CRLF, to go on top of the message. */
  | { readonly kind: 'signed'; readonly fields: string; readonly domain: DomainName }
  /** Nothing of `dkim` is about this message. */
  | { readonly kind: 'not-meant' }
  /** Its author's domain has a key, and it goes without. */
  | { readonly kind: 'failed'; readonly reason: string };

/** Whether whoever hands a message over may write as this author. */
export type MaySignFor = (author: string) => boolean;

export class DkimSigner {
  readonly #keys: KeyRing;
  readonly #events: DkimEvents;

  constructor(parts: { readonly clock: Clock; readonly events: DkimEvents }) {
    this.#keys = new KeyRing(parts);
    this.#events = parts.events;
  }

  /** The `dkim` section in force from now on; messages that were begun are signed as it was. */
  use(settings: readonly DkimSetting[]): void {
    this.#keys.use(settings);
  }

  /** Begin with a message that streams by. Undefined when there is nothing to sign with at all. */
  begin(maySignFor: MaySignFor = () => true): Signing | undefined {
    if (this.#keys.isEmpty) return undefined;
    return new Signing({ keys: this.#keys, events: this.#events, maySignFor });
  }

  /** Sign a message of our own that is complete. */
  async sign(message: Buffer): Promise<Signed> {
    const signing = this.begin();
    signing?.push(message);
    return (await signing?.end()) ?? { kind: 'not-meant' };
  }

  /** Whether mail from this domain, in A-labels, would be signed now. */
  async canSignFor(domain: string): Promise<boolean> {
    return (await this.#keys.keysOf(domain)).length > 0;
  }
}

interface SigningParts {
  readonly keys: KeyRing;
  readonly events: DkimEvents;
  readonly maySignFor: MaySignFor;
}

/** A message that is to be signed: of what, or why it cannot be. */
type Meant = { readonly domain: DomainName } & (
  | {
      readonly kind: 'signable';
      readonly header: readonly HeaderField[];
      readonly body: BodyHash;
    }
  | { readonly kind: 'too-large' }
  | { readonly kind: 'malformed' }
);

/** One message. */
export class Signing {
  readonly #parts: SigningParts;
  #gatherer: HeaderGatherer | undefined = new HeaderGatherer();
  #meant: Meant | undefined;

  constructor(parts: SigningParts) {
    this.#parts = parts;
  }

  /** The next octets of the message. */
  push(chunk: Buffer): void {
    const body = this.#gatherer ? this.#gather(this.#gatherer, chunk) : chunk;
    if (body && this.#meant?.kind === 'signable') this.#meant.body.update(body);
  }

  /** The message is complete. Never rejects. */
  async end(): Promise<Signed> {
    if (this.#gatherer) this.#decide(this.#gatherer); // a header and nothing else
    if (!this.#meant) return { kind: 'not-meant' };
    const { domain, kind } = this.#meant;
    if (kind === 'too-large') return this.#fail('the header is too large to be signed', domain);
    if (kind === 'malformed') {
      this.#parts.events.malformed({ domain });
      return { kind: 'failed', reason: 'lines of the header are no fields' };
    }
    const { header, body } = this.#meant;
    const bodyHash = body.digest();
    const keys = await this.#parts.keys.keysOf(domain);
    const fields = keys.flatMap((key) => dkimSignature({ header, bodyHash }, key) ?? []);
    if (fields.length === 0) return this.#fail('there is no key that works', domain);
    this.#parts.events.signed();
    return { kind: 'signed', fields: fields.join(''), domain };
  }

  #gather(gatherer: HeaderGatherer, chunk: Buffer): Buffer | undefined {
    const body = gatherer.push(chunk);
    if (body || gatherer.isTooLarge) this.#decide(gatherer);
    return body;
  }

  #decide(gatherer: HeaderGatherer): void {
    this.#gatherer = undefined;
    const { keys, maySignFor } = this.#parts;
    const { fields, isWellFormed } = gatherer.header();
    const author = authorOf(fields);
    if (!author || !keys.has(author.domain) || !maySignFor(author.address)) return;
    // Whoever signed for the domain already knew what it wanted covered.
    const isSigned = ({ key }: HeaderField) => key === 'dkim-signature';
    if (fields.filter(isSigned).some((field) => signingDomainOf(field) === author.domain)) return;
    const { domain } = author;
    if (gatherer.isTooLarge) this.#meant = { kind: 'too-large', domain };
    // Hosts on the way mend such a header, or take the line for its end: no signature would hold.
    else if (!isWellFormed) this.#meant = { kind: 'malformed', domain };
    else {
      const header = fields.filter(isCovered);
      this.#meant = { kind: 'signable', domain, header, body: new BodyHash() };
    }
  }

  #fail(reason: string, domain: DomainName): Signed {
    this.#parts.events.unsigned({ domain, reason });
    return { kind: 'failed', reason };
  }
}
