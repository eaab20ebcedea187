/**
 * Doubts that need a look at this system: files that were named and cannot be read, a host
 * name that is none. Only warnings, because a file may be checked elsewhere than it is used.
 */
import { accessSync, constants, statSync } from 'node:fs';
import type { Doubt } from './checks.ts';
import type { Settings } from './settings.ts';
import { elementAt, type KeyPath } from './structure.ts';

export function findSystemDoubts(settings: Settings): readonly Doubt[] {
  return [...hostnameDoubts(settings), ...fileDoubts(settings), ...secretDoubts(settings)];
}

function hostnameDoubts({ hostname }: Settings): Doubt[] {
  if (hostname.includes('.')) return [];
  const text = `the name of this relay is "${hostname}", which is not fully qualified; many MX hosts refuse such an EHLO name (RFC 5321 §2.3.5)`;
  return [{ path: ['hostname'], text }];
}

function fileDoubts({ tls, outbound, routes }: Settings): Doubt[] {
  const named: readonly (readonly [KeyPath, string])[] = [
    [['tls', 'certFile'], tls.certFile],
    [['tls', 'keyFile'], tls.keyFile],
    ...outbound.trustedCaFiles.map((file, i) => [['outbound', 'trustedCaFiles', i], file] as const),
    ...routes.map(({ passwordFile }, i) => [['routes', i, 'passwordFile'], passwordFile] as const),
  ];
  return named.flatMap(([path, file]) => {
    // A default file that is not there was asked for by nobody.
    if (file === '' || file === elementAt(path)?.default) return [];
    const reason = whyUnreadable(file);
    return reason === undefined ? [] : [{ path, text: `${file} cannot be read (${reason})` }];
  });
}

/** Passwords that others on this machine can read are none. */
function secretDoubts({ routes }: Settings): Doubt[] {
  return routes.flatMap(({ passwordFile: file }, i) => {
    const mode = file === '' ? 0 : modeOf(file);
    if ((mode & 0o077) === 0) return [];
    const text = `${file} holds a password and is open to other users (mode ${(mode & 0o777).toString(8)}); chmod 600 closes it`;
    return [{ path: ['routes', i, 'passwordFile'], text }];
  });
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
