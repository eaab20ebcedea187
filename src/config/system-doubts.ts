/**
 * Doubts that need a look at this system: files that were named and cannot be read, a host
 * name that is none. Only warnings, because a file may be checked elsewhere than it is used.
 */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  statSync,
} from 'node:fs';
import { parseToken } from '../protocol/bearer-token.ts';
import { MOST_KEY_OCTETS, parseSigningKey } from '../protocol/dkim/signing-key.ts';
import type { Doubt } from './checks.ts';
import type { Settings } from './settings.ts';
import { elementAt, type KeyPath } from './structure.ts';

/** Larger secrets are not read when they are needed, either (platform/secret-file.ts). */
const MOST_OCTETS = 4096;

export function findSystemDoubts(settings: Settings): readonly Doubt[] {
  return [
    ...hostnameDoubts(settings),
    ...fileDoubts(settings),
    ...secretDoubts(settings),
    ...tokenDoubts(settings),
    ...signingKeyDoubts(settings),
  ];
}

function hostnameDoubts({ hostname }: Settings): Doubt[] {
  if (hostname.includes('.')) return [];
  const text = `the name of this relay is "${hostname}", which is not fully qualified; many MX hosts refuse such an EHLO name (RFC 5321 §2.3.5)`;
  return [{ path: ['hostname'], text }];
}

function fileDoubts({ tls, outbound, routes, http, dkim }: Settings): Doubt[] {
  const named: readonly (readonly [KeyPath, string])[] = [
    [['tls', 'certFile'], tls.certFile],
    [['tls', 'keyFile'], tls.keyFile],
    ...outbound.trustedCaFiles.map((file, i) => [['outbound', 'trustedCaFiles', i], file] as const),
    ...routes.map(({ passwordFile }, i) => [['routes', i, 'passwordFile'], passwordFile] as const),
    [['http', 'tokenFile'], http.tokenFile],
    ...dkim.map(({ keyFile }, i) => [['dkim', i, 'keyFile'], keyFile] as const),
  ];
  return named.flatMap(([path, file]) => {
    // A default file that is not there was asked for by nobody.
    if (file === '' || file === elementAt(path)?.default) return [];
    const reason = whyUnreadable(file);
    return reason === undefined ? [] : [{ path, text: `${file} cannot be read (${reason})` }];
  });
}

/** Secrets that others on this machine can read are none. */
function secretDoubts({ routes, http, dkim }: Settings): Doubt[] {
  const named: readonly (readonly [KeyPath, string, string])[] = [
    ...routes.map(
      ({ passwordFile }, i) => [['routes', i, 'passwordFile'], passwordFile, 'a password'] as const,
    ),
    [['http', 'tokenFile'], http.tokenFile, 'a token'],
    ...dkim.map(({ keyFile }, i) => [['dkim', i, 'keyFile'], keyFile, 'a private key'] as const),
  ];
  return named.flatMap(([path, file, what]) => {
    const mode = file === '' ? 0 : modeOf(file);
    if ((mode & 0o077) === 0) return [];
    const text = `${file} holds ${what} and is open to other users (mode ${(mode & 0o777).toString(8)}); chmod 600 closes it`;
    return [{ path, text }];
  });
}

/** A token nobody gets in with. */
function tokenDoubts({ http: { tokenFile } }: Settings): Doubt[] {
  const why = tokenFile === '' ? undefined : whyNot(tokenFile, parseToken, MOST_OCTETS);
  if (why === undefined) return [];
  const text = `${tokenFile} ${why}; until then nobody can use the API over HTTP`;
  return [{ path: ['http', 'tokenFile'], text }];
}

/** A key that nothing can be signed with. */
function signingKeyDoubts({ dkim }: Settings): Doubt[] {
  return dkim.flatMap(({ domain, keyFile }, i) => {
    const why = whyNot(keyFile, parseSigningKey, MOST_KEY_OCTETS);
    if (why === undefined) return [];
    const text = `${keyFile} ${why}; until then mail from ${domain} goes without a signature`;
    return [{ path: ['dkim', i, 'keyFile'], text }];
  });
}

/** Why what a file holds is of no use. Undefined also where it cannot be opened, which is told already. */
function whyNot(
  file: string,
  parse: (text: string) => { readonly ok: true } | { readonly ok: false; readonly why: string },
  mostOctets: number,
): string | undefined {
  try {
    // Opening a FIFO without O_NONBLOCK would wait for somebody to write to it.
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const facts = fstatSync(fd);
      if (!facts.isFile()) return 'is no regular file';
      if (facts.size > mostOctets) return `is larger than ${mostOctets} octets`;
      const parsed = parse(readFileSync(fd, 'utf8'));
      return parsed.ok ? undefined : parsed.why;
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

/** 0 where nobody can say: that the file cannot be read is told already. */
function modeOf(file: string): number {
  try {
    return statSync(file).mode;
  } catch {
    return 0;
  }
}

function whyUnreadable(file: string): string | undefined {
  try {
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
