/**
 * Doubts that need a look at this system: files that were named and cannot be read, a host
 * name that is none. Only warnings, because a file may be checked elsewhere than it is used.
 */
import { accessSync, constants } from 'node:fs';
import type { Doubt } from './checks.ts';
import type { Settings } from './settings.ts';
import { elementAt, type KeyPath } from './structure.ts';

export function findSystemDoubts(settings: Settings): readonly Doubt[] {
  return [...hostnameDoubts(settings), ...fileDoubts(settings)];
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

function whyUnreadable(file: string): string | undefined {
  try {
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
