/**
 * What queued mail can be chosen by that stays the same for as long as it is queued: destination,
 * sender, recipient, and who handed it over. Pure.
 */
import { LRUCache } from 'lru-cache';
import type { Destination } from '../mail/route.ts';
import { type Address, isWithin, parseNetwork, unmapped } from '../platform/network.ts';

export interface MailPattern {
  /** In each `*` stands for any characters; upper and lower case are the same. */
  readonly domain?: string | undefined;
  /** `<>` is the null reverse-path. */
  readonly sender?: string | undefined;
  readonly recipient?: string | undefined;
  /** Address of the client, or its network (`10.0.0.0/8`); `<>` is mail that the relay made itself. */
  readonly client?: string | undefined;
  /** Name of the user who logged in; `<>` is mail without a login. */
  readonly user?: string | undefined;
}

/** Who handed a message over. */
export interface Origin {
  readonly address: string;
  readonly user?: string | undefined;
}

/** What a pattern is held against. */
export interface MailFacts {
  readonly destination: Destination;
  /** Reverse-path. */
  readonly sender: string;
  /** Undefined: they are not known here. */
  readonly recipients: readonly string[] | undefined;
  /** Undefined: the relay made it itself. */
  readonly origin: Origin | undefined;
}

/** `unknown`: the recipients decide, and are not known here. */
export type Match = boolean | 'unknown';

/** A pattern made ready to be held against many. */
export function matcherOf(pattern: MailPattern): (facts: MailFacts) => Match {
  const { domain, sender, recipient, client, user } = pattern;
  const isClient = client === undefined ? undefined : clientMatcher(client);
  const isUser = user === undefined ? undefined : nameMatcher(user);
  const isDomain = domain === undefined ? undefined : addressMatcher(domain);
  const isSender = sender === undefined ? undefined : addressMatcher(sender);
  const isRecipient = recipient === undefined ? undefined : addressMatcher(recipient);
  return (facts) => {
    if (isDomain && !isDomain(facts.destination)) return false;
    if (isSender && !isSender(facts.sender)) return false;
    if (isClient && !isClient(facts.origin?.address)) return false;
    if (isUser && !isUser(facts.origin?.user)) return false;
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

/** The same where there may be no name: that fits `<>`, and no other pattern. */
function nameMatcher(pattern: string): (name: string | undefined) => boolean {
  const matches = addressMatcher(pattern);
  return (name) => (name === undefined ? pattern === '<>' : matches(name));
}

/** Of those seen last: each is asked about by all rules in turn, and most mail comes from few. */
const addresses = new LRUCache<string, { readonly address: Address | undefined }>({ max: 10_000 });

/** The address of a client, without its zone (RFC 4007 §11), which is a matter of this host. */
function clientAddress(text: string): Address | undefined {
  const known = addresses.get(text);
  if (known) return known.address;
  const network = parseNetwork(text.split('%', 1)[0] ?? '');
  const address = network && unmapped(network)[0];
  addresses.set(text, { address });
  return address;
}

/** An address, however it is written, and a network fit by what they mean; all else as a text. */
function clientMatcher(pattern: string): (address: string | undefined) => boolean {
  const parsed = parseNetwork(pattern);
  if (parsed === undefined) return nameMatcher(pattern);
  const network = unmapped(parsed);
  return (text) => {
    const address = text === undefined ? undefined : clientAddress(text);
    return address !== undefined && isWithin(address, network);
  };
}

/** Whether `pattern` is meant as a network, and is none: it would fit nothing. */
export function isNoNetwork(pattern: string): boolean {
  return pattern.includes('/') && parseNetwork(pattern) === undefined;
}

/** In words, for people, and another text for each pattern: `mail from *@shop.example to partner.example`. */
export function describePattern(pattern: MailPattern): string {
  const { domain, sender, recipient, client, user } = pattern;
  const parts = [
    sender === undefined ? '' : `from ${shown(sender)}`,
    recipient === undefined ? '' : `to ${shown(recipient)}`,
    domain === undefined ? '' : `for ${shown(domain)}`,
    user === undefined ? '' : user === '<>' ? 'without a login' : `by user ${shown(user)}`,
    client === undefined
      ? ''
      : client === '<>'
        ? 'of the relay itself'
        : `of client ${shown(client)}`,
  ].filter((part) => part !== '');
  return parts.length === 0 ? 'all mail' : `mail ${parts.join(' ')}`;
}

/** What may hold words of ours stands in quotes. */
function shown(value: string): string {
  return /[\s"]/.test(value) ? JSON.stringify(value) : value;
}
