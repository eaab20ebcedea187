/**
 * Key and certificate of the listeners: the two files of the configuration, looked at every few
 * seconds and read again when they changed. Where neither exists, a self-signed pair made once
 * under `dataDir/tls`; the files are used as soon as they appear.
 *
 * A changed pair that does not work (unreadable, half-written, key and certificate that do
 * not belong together, gone) is reported once, and the one before stays in use. At start it
 * is an error: nobody wants a relay that runs without the certificate it was given.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Clock } from '../platform/clock.ts';
import { makeDirectory, replaceFile } from '../platform/durable-file.ts';

/** PEM texts: the chain, leaf first, and the leaf's private key. */
export interface PemPair {
  readonly cert: string;
  readonly key: string;
}

export interface TlsMaterialOptions {
  /** `tls.certFile` and `tls.keyFile`. */
  readonly files: PairFiles;
  readonly dataDir: string;
  readonly hostname: string;
  readonly clock: Clock;
  /** A new pair was read and works. */
  readonly changed: (pem: PemPair) => void;
  /** A new pair does not work; the old one stays. */
  readonly failed: (reason: string) => void;
}

export interface PairFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TlsMaterial {
  /** What is in use now. */
  current(): PemPair;
  /** For the log, when the pair of the start is self-signed. */
  readonly warning: string | undefined;
  /** Stop looking at the files. */
  close(): void;
}

const LOOK_EVERY_MS = 5_000;
/** A self-signed pair that ends sooner is made again. */
const RENEW_BEFORE_MS = 30 * 86_400_000;
/** What `look` gives where neither file exists. */
const BOTH_ABSENT = 'absent absent';

/** Read or make the pair. Throws an Error that names the file when a configured one does not work. */
export async function openTlsMaterial(options: TlsMaterialOptions): Promise<TlsMaterial> {
  const seen = await look(options.files);
  if (seen !== BOTH_ABSENT) {
    return new WatchedPair(options, {
      seen,
      pem: await readPair(options.files),
      warning: undefined,
    });
  }
  const pem = await selfSignedPair(options);
  const { certFile, keyFile } = options.files;
  const warning = `neither ${certFile} nor ${keyFile} exists (tls.certFile, tls.keyFile): the listeners use a self-signed certificate, which clients that check it refuse`;
  return new WatchedPair(options, { seen, pem, warning });
}

class WatchedPair implements TlsMaterial {
  readonly warning: string | undefined;
  readonly #options: TlsMaterialOptions;
  #seen: string;
  #pem: PemPair;
  #cancel: () => void = () => {};
  #closed = false;

  constructor(
    options: TlsMaterialOptions,
    start: { seen: string; pem: PemPair; warning: string | undefined },
  ) {
    this.#options = options;
    this.#seen = start.seen;
    this.#pem = start.pem;
    this.warning = start.warning;
    this.#lookLater();
  }

  current(): PemPair {
    return this.#pem;
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  #lookLater(): void {
    if (this.#closed) return;
    this.#cancel = this.#options.clock.after(LOOK_EVERY_MS, () => {
      void this.#readIfChanged().finally(() => this.#lookLater());
    });
  }

  async #readIfChanged(): Promise<void> {
    const { files, changed, failed } = this.#options;
    const seen = await look(files);
    if (seen === this.#seen) return;
    this.#seen = seen;
    try {
      this.#pem = await readPair(files);
    } catch (error) {
      failed((error as Error).message);
      return;
    }
    if (!this.#closed) changed(this.#pem);
  }
}

/** What a change of either file changes. */
async function look({ certFile, keyFile }: PairFiles): Promise<string> {
  const facts = [certFile, keyFile].map((file) =>
    stat(file, { bigint: true }).then(
      ({ ino, size, mtimeNs }) => `${ino}.${size}.${mtimeNs}`,
      () => 'absent',
    ),
  );
  return (await Promise.all(facts)).join(' ');
}

async function readPair(files: PairFiles): Promise<PemPair> {
  const cert = await readPem('tls.certFile', files.certFile);
  const key = await readPem('tls.keyFile', files.keyFile);
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(cert);
  } catch (error) {
    throw new Error(`tls.certFile ${files.certFile} is no PEM certificate`, { cause: error });
  }
  try {
    if (leaf.checkPrivateKey(createPrivateKey(key))) return { cert, key };
  } catch (error) {
    throw new Error(`tls.keyFile ${files.keyFile} is no PEM private key`, { cause: error });
  }
  throw new Error(
    `the key in ${files.keyFile} does not belong to the certificate in ${files.certFile}`,
  );
}

async function readPem(option: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new Error(`${option} ${file} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** The pair under `dataDir/tls`; made when there is none, when it names another host or is about to end. */
async function selfSignedPair(options: TlsMaterialOptions): Promise<PemPair> {
  const directory = join(options.dataDir, 'tls');
  const files = {
    certFile: join(directory, 'self-signed.crt'),
    keyFile: join(directory, 'self-signed.key'),
  };
  const kept = await readPair(files).catch(() => undefined);
  if (kept && isFit(kept, options)) return kept;
  await makeDirectory(directory);
  // Loaded here: it brings a large library, and is needed once in a pair's life.
  const { makeSelfSigned } = await import('./self-signed.ts');
  const pem = await makeSelfSigned(options.hostname, options.clock.now());
  await replaceFile(files.keyFile, pem.key);
  await replaceFile(files.certFile, pem.cert);
  return pem;
}

function isFit(pem: PemPair, { hostname, clock }: TlsMaterialOptions): boolean {
  const leaf = new X509Certificate(pem.cert);
  const named = isIP(hostname) ? leaf.checkIP(hostname) : leaf.checkHost(hostname);
  return named !== undefined && leaf.validToDate.getTime() - clock.now() > RENEW_BEFORE_MS;
}
