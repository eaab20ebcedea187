/**
 * Who gets no TLS reports, as an administrator writes it: a policy domain, an address, or a `mailto:` or
 * `https:` URI (RFC 8460 §3). All spellings of one place have one normal form. Pure.
 */
import { parseDomain } from '../domain.ts';
import { parseMailbox } from '../mailbox.ts';

const MAX_CHARACTERS = 500;

/**
 * The normal form of an entry, or of a rua: a domain and an address in lower case and A-labels without a final
 * dot, `mailto:` as its address, `https:` without what makes no difference. Undefined: it is none of them.
 */
export function normalPlace(text: string): string | undefined {
  if (/^https:/i.test(text)) return normalUrl(text);
  if (/^mailto:/i.test(text)) return normalMailto(text);
  if (text.length > MAX_CHARACTERS) return undefined;
  return text.includes('@') ? normalAddress(text) : parseDomain(text);
}

function normalUrl(text: string): string | undefined {
  if (/\s/.test(text) || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  url.hash = ''; // RFC 9110 §4.2.4: it is not sent
  url.hostname = url.hostname.replace(/\.$/, '');
  return url.href.toLowerCase();
}

function normalMailto(text: string): string | undefined {
  try {
    const [, encoded = ''] = /^mailto:([^?#]*)/i.exec(text) ?? [];
    return normalAddress(decodeURIComponent(encoded));
  } catch {
    return undefined; // what is encoded is no UTF-8
  }
}

function normalAddress(text: string): string | undefined {
  const mailbox = parseMailbox(text.replace(/\.$/, ''));
  if (mailbox?.domain.kind !== 'domain') return undefined;
  return `${mailbox.localPart.toLowerCase()}@${mailbox.domain.name}`;
}
