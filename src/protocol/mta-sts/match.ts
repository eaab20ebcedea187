/**
 * Which MX hosts a policy allows (RFC 8461 §4.1). The name compared is the one in the MX
 * record (the domain itself where there is none), not what a CNAME makes of it. Says
 * nothing about certificates: those are held against the host name, never the pattern.
 */
import { parseDomain } from '../domain.ts';
import { isMxPattern, type StsPolicy } from './policy.ts';

/**
 * Whether `pattern` allows `host`. A `*.` stands for exactly one left-most label: not for
 * none, not for two. A malformed pattern allows nothing, and a name that is no domain
 * (an underscore, a star, an address) is allowed by nothing.
 */
export function matchesMxPattern(pattern: string, host: string): boolean {
  const name = parseDomain(host);
  if (name === undefined || !isMxPattern(pattern)) return false;
  const wanted = pattern.toLowerCase();
  if (!wanted.startsWith('*.')) return name === wanted;
  const firstDot = name.indexOf('.');
  return firstDot > 0 && name.slice(firstDot) === wanted.slice(1);
}

/** Whether any pattern of the policy allows `host`. */
export function isListedMx(policy: Pick<StsPolicy, 'mx'>, host: string): boolean {
  const name = parseDomain(host);
  if (name === undefined) return false;
  const { names, parents } = patternsOf(policy);
  return names.has(name) || parents.has(name.slice(name.indexOf('.') + 1 || name.length));
}

interface Patterns {
  readonly names: ReadonlySet<string>;
  /** What follows `*.`. */
  readonly parents: ReadonlySet<string>;
}

/** A policy may have thousands of patterns, and is asked about many hosts: they are read once. */
const patternsByPolicy = new WeakMap<object, Patterns>();

function patternsOf(policy: Pick<StsPolicy, 'mx'>): Patterns {
  const known = patternsByPolicy.get(policy.mx);
  if (known) return known;
  const patterns = policy.mx.filter(isMxPattern).map((pattern) => pattern.toLowerCase());
  const read: Patterns = {
    names: new Set(patterns.filter((pattern) => !pattern.startsWith('*.'))),
    parents: new Set(
      patterns.filter((pattern) => pattern.startsWith('*.')).map((pattern) => pattern.slice(2)),
    ),
  };
  patternsByPolicy.set(policy.mx, read);
  return read;
}
