/**
 * Whose a message is, to a signer: the author in its From field (RFC 5322 §3.6.2), whose domain readers
 * see and DMARC compares with `d=`.
 */
import addressparser from 'nodemailer/lib/addressparser';
import { type HeaderField, unfoldedValue } from '../protocol/dkim/header.ts';
import type { DomainName } from '../protocol/domain.ts';
import { parseMailbox } from '../protocol/mailbox.ts';

export interface Author {
  /** As written. */
  readonly address: string;
  readonly domain: DomainName;
}

/** Of a From field; a longer one has more authors than a signature could speak for. */
const MOST_CHARACTERS = 2048;

/**
 * The one author. Undefined when there is none, or more than one: with several From fields, or several
 * mailboxes, a reader may be shown another than the one that was signed for (RFC 6376 §8.15).
 */
export function authorOf(header: readonly HeaderField[]): Author | undefined {
  const [from, another] = header.filter(({ key }) => key === 'from');
  if (!from || another) return undefined;
  // Addresses may be UTF-8 (RFC 6532 §3.2).
  const value = Buffer.from(unfoldedValue(from), 'latin1').toString('utf8');
  if (value.length > MOST_CHARACTERS) return undefined;
  const [only, ...others] = addressparser(value, { flatten: true });
  const address = only?.address;
  if (address === undefined || others.length > 0) return undefined;
  const domain = parseMailbox(address)?.domain;
  return domain?.kind === 'domain' ? { address, domain: domain.name } : undefined;
}
