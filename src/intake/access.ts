/**
 * Who may relay, and as whom: trusted networks, authenticated users, and the senders each may
 * use (product contract, `access`). Pure; compiled once per configuration.
 *
 * Patterns for senders, in `allowedSenders` of a user: `*` (any), `alice@example.com`,
 * `*@example.com` or `example.com` (that domain, not the ones below it), `*.example.com` (any
 * domain below it). Domains compare as A-labels; local parts without regard to case, since one
 * mailbox under two spellings is the rule and two mailboxes the exception. The null
 * reverse-path always passes: without it no bounce could be relayed (RFC 5321 §4.5.5).
 */
import { parseDomain } from '../protocol/domain.ts';
import { parseMailbox } from '../protocol/mailbox.ts';
import { compileNetworks } from './networks.ts';

export interface AccessSettings {
  /** CIDR notation; a plain address is a network of one. */
  readonly trustedNetworks: readonly string[];
  /** Empty: any. */
  readonly allowedSenderDomains: readonly string[];
}

/** Somebody who proved a password. */
export interface User {
  readonly name: string;
  /** Empty: none. */
  readonly allowedSenders: readonly string[];
}

/** The users the relay knows; the file behind it is read elsewhere. */
export interface Users {
  /** The user when name and password are right, undefined when not; rejects when it cannot tell. */
  verify(name: string, password: string): Promise<User | undefined>;
}

export interface Access {
  /** Whether a client at this address may relay without AUTH. */
  trusts(clientAddress: string): boolean;
  /** Whether `allowedSenderDomains` lets this reverse-path pass. */
  allowsSender(reversePath: string): boolean;
}

/** Throws on a network that is none; the configuration has been checked for that. */
export function compileAccess(settings: AccessSettings): Access {
  const trusted = compileNetworks(settings.trustedNetworks);
  const patterns = settings.allowedSenderDomains.map((domain) => `*@${domain}`);
  return {
    trusts: (clientAddress) => trusted.has(clientAddress),
    allowsSender: (reversePath) => patterns.length === 0 || matchesAny(reversePath, patterns),
  };
}

/** Whether `user` may use this reverse-path. */
export function userMaySend(user: User, reversePath: string): boolean {
  return matchesAny(reversePath, user.allowedSenders);
}

function matchesAny(reversePath: string, patterns: readonly string[]): boolean {
  return reversePath === '' || patterns.some((pattern) => matchesSender(pattern, reversePath));
}

function matchesSender(pattern: string, reversePath: string): boolean {
  if (pattern === '*') return true;
  const sender = parseMailbox(reversePath);
  if (sender === undefined) return false;
  const at = pattern.lastIndexOf('@');
  const localPart = at > 0 ? pattern.slice(0, at) : '*';
  if (localPart !== '*' && localPart.toLowerCase() !== sender.localPart.toLowerCase()) return false;
  const { domain } = sender;
  if (domain.kind === 'literal') return pattern.slice(at + 1).toLowerCase() === literalText(domain);
  return matchesDomain(pattern.slice(at + 1), domain.name);
}

function literalText(domain: { address: string; family: 4 | 6 }): string {
  return domain.family === 6 ? `[ipv6:${domain.address}]` : `[${domain.address}]`;
}

function matchesDomain(pattern: string, name: string): boolean {
  if (pattern === '*') return true;
  const below = pattern.startsWith('*.');
  const domain = parseDomain(below ? pattern.slice(2) : pattern);
  if (domain === undefined) return false;
  return below ? name.endsWith(`.${domain}`) : name === domain;
}
