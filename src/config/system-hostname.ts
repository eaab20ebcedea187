/**
 * The system's fully qualified name, the default of `hostname`: what `hostname -f` says where
 * the name is in /etc/hosts (its first name on that line is the canonical one), else the plain
 * host name. Never fails: a system with no usable name is `localhost`.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parseDomain } from '../protocol/domain.ts';

/** The canonical name of `name` in the text of a hosts file. */
export function canonicalName(name: string, hosts: string): string | undefined {
  for (const line of hosts.split('\n')) {
    const [, ...names] = (line.split('#', 1)[0] ?? '').trim().split(/\s+/);
    if (names.includes(name)) return names.find((candidate) => candidate.includes('.'));
  }
  return undefined;
}

export function systemHostname(): string {
  const name = hostname();
  const full = name.includes('.') ? name : (canonicalName(name, readHosts()) ?? name);
  return parseDomain(full) ?? 'localhost';
}

function readHosts(): string {
  try {
    return readFileSync('/etc/hosts', 'utf8');
  } catch {
    // A container may have none; then the plain name has to do.
    return '';
  }
}
