/** Starts the outside world of the bench (outside-main.ts) and says where it is. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { spawnTied } from '../../support/tied-child.ts';

const PROGRAM = fileURLToPath(new URL('outside-main.ts', import.meta.url));

export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

export interface Outside {
  /** Where the DNS server listens. */
  readonly dnsAddress: string;
  readonly dnsPort: number;
  /** The policy hosts listen there, at the same address. */
  readonly httpsPort: number;
  /** PEM file of the root that signs everything. */
  readonly caFile: string;
  /** PEM files of the MX host, and of one that nobody trusts. */
  readonly mx: CertificateFiles;
  readonly impostor: CertificateFiles;
}

/** `domains`: how many `dN.many.test` there shall be. Ends with this process. */
export async function startOutside(folder: string, domains: number): Promise<Outside> {
  const child = spawnTied(process.execPath, [PROGRAM, folder, String(domains)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  if (child.stdout === null) throw new Error('the outside world has no stdout');
  const lines = createInterface({ input: child.stdout });
  const ended = once(child, 'exit').then(() => {
    throw new Error('the outside world ended before it was ready');
  });
  const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string];
  ended.catch(() => {}); // at the end of the bench
  return JSON.parse(line) as Outside;
}
