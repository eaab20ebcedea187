/**
 * What queued mail can be chosen by that stays the same for as long as it is queued: destination,
 * sender, recipient. Pure.
 */
import type { Destination } from '../mail/route.ts';

export interface MailPattern {
  /** In each `*` stands for any characters; upper and lower case are the same. */
  readonly domain?: string | undefined;
  /** `<>` is the null reverse-path. */
  readonly sender?: string | undefined;
  readonly recipient?: string | undefined;
}

/** What a pattern is held against. */
export interface MailFacts {
  readonly destination: Destination;
  /** Reverse-path. */
  readonly sender: string;
  /** Undefined: they are not known here. */
  readonly recipients: readonly string[] | undefined;
}

/** `unknown`: the recipients decide, and are not known here. */
export type Match = boolean | 'unknown';

/** A pattern made ready to be held against many. */
export function matcherOf(pattern: MailPattern): (facts: MailFacts) => Match {
  const { domain, sender, recipient } = pattern;
  const isDomain = domain === undefined ? undefined : addressMatcher(domain);
  const isSender = sender === undefined ? undefined : addressMatcher(sender);
  const isRecipient = recipient === undefined ? undefined : addressMatcher(recipient);
  return (facts) => {
    if (isDomain && !isDomain(facts.destination)) return false;
    if (isSender && !isSender(facts.sender)) return false;
    if (!isRecipient) return true;
    return facts.recipients === undefined ? 'unknown' : facts.recipients.some(isRecipient);
  };
}

/** Whether an address, a domain or another name fits `pattern`. Takes time in the length of the address, whatever the pattern. */
export function addressMatcher(pattern: string): (address: string) => boolean {
  if (pattern === '<>') return (address) => address === '';
  const parts = pattern.toLowerCase().split('*');
  const [first = '', ...rest] = parts;
  const last = rest.pop();
  if (last === undefined) return (address) => address.toLowerCase() === first;
  return (address) => {
    const text = address.toLowerCase();
    if (!text.startsWith(first)) return false;
    let at = first.length;
    for (const part of rest) {
      const found = text.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return text.length - last.length >= at && text.endsWith(last);
  };
}

/** In words, for people: `mail from *@shop.example to partner.example`. */
export function describePattern({ domain, sender, recipient }: MailPattern): string {
  const parts = [
    sender === undefined ? '' : `from ${sender}`,
    recipient === undefined ? '' : `to ${recipient}`,
    domain === undefined ? '' : `for ${domain}`,
  ].filter((part) => part !== '');
  return parts.length === 0 ? 'all mail' : `mail ${parts.join(' ')}`;
}
