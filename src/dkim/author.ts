/**
 * Whose a message is, to a signer: the author in its From field (RFC 5322 §3.6.2), whose domain readers
 * see and DMARC compares with `d=`.
 */
import { isUtf8 } from 'node:buffer';
import { parseFromMailbox } from '../protocol/dkim/from-mailbox.ts';
import { type HeaderField, unfoldedValue } from '../protocol/dkim/header.ts';
import type { DomainName } from '../protocol/domain.ts';
import { parseMailbox } from '../protocol/mailbox.ts';

export interface Author {
  /** As written. */
  readonly address: string;
  readonly domain: DomainName;
}

/**
 * The one author. Undefined when there is none, or more than one, or when readers may differ about who it is:
 * a reader must not be shown another than the one that was signed for (RFC 6376 §8.15).
 */
export function authorOf(header: readonly HeaderField[]): Author | undefined {
  const [from, another] = header.filter(({ key }) => key === 'from');
  if (!from || another) return undefined;
  const octets = Buffer.from(unfoldedValue(from), 'latin1');
  // Names and addresses may be UTF-8 (RFC 6532 §3.2); what else has eight bits, everybody guesses at.
  const address = isUtf8(octets) ? parseFromMailbox(octets.toString('utf8')) : undefined;
  if (address === undefined) return undefined;
  const domain = parseMailbox(address)?.domain;
  return domain?.kind === 'domain' ? { address, domain: domain.name } : undefined;
}
