/**
 * Password hashes: scrypt (RFC 7914) in the PHC notation, `$scrypt$ln=15,r=8,p=1$salt$key`, both
 * in base64 without padding. Passwords are compared in constant time, after Unicode NFC
 * (RFC 8265 §4.2.2), so that the same letters typed on two systems are the same password.
 *
 * The cost stands in the hash and may be raised later. Hashes that would need more than
 * MAX_MEMORY_BYTES are not read: the file could otherwise end the process.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

export interface PasswordHash {
  /** log2 of N. */
  readonly logN: number;
  /** r and p of RFC 7914 §2. */
  readonly blockSize: number;
  readonly parallel: number;
  readonly salt: Buffer;
  readonly key: Buffer;
}

/** Longer passwords match nothing. */
export const MAX_PASSWORD_OCTETS = 1024;

/** 32 MiB and about a tenth of a second for one guess. */
const COST = { logN: 15, blockSize: 8, parallel: 1 };
const SALT_BYTES = 16;
const KEY_BYTES = 32;
const MAX_MEMORY_BYTES = 256 * 1024 * 1024;
const NOTATION =
  /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/;

function memoryBytes({ logN, blockSize, parallel }: Omit<PasswordHash, 'salt' | 'key'>): number {
  return 128 * blockSize * (2 ** logN + parallel);
}

/** Undefined when it is no such hash, or one that costs too much. */
export function parsePasswordHash(text: string): PasswordHash | undefined {
  const match = NOTATION.exec(text);
  if (match === null) return undefined;
  const [, logN, blockSize, parallel, salt = '', key = ''] = match;
  const cost = { logN: Number(logN), blockSize: Number(blockSize), parallel: Number(parallel) };
  const isInRange = cost.logN >= 10 && cost.blockSize >= 1 && cost.parallel >= 1;
  if (!isInRange || memoryBytes(cost) > MAX_MEMORY_BYTES) return undefined;
  return { ...cost, salt: Buffer.from(salt, 'base64'), key: Buffer.from(key, 'base64') };
}

export function formatPasswordHash({ logN, blockSize, parallel, salt, key }: PasswordHash): string {
  const base64 = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '');
  return `$scrypt$ln=${logN},r=${blockSize},p=${parallel}$${base64(salt)}$${base64(key)}`;
}

/** A new hash with a salt of its own; tests lower the cost. */
export async function hashPassword(password: string, cost = COST): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const key = await derive(password, { ...cost, salt, key: Buffer.alloc(KEY_BYTES) });
  return formatPasswordHash({ ...cost, salt, key });
}

/** Whether `password` is the one behind `hash`. */
export async function matchesPassword(password: string, hash: PasswordHash): Promise<boolean> {
  const tooLong = Buffer.byteLength(password) > MAX_PASSWORD_OCTETS;
  const key = await derive(tooLong ? '' : password, hash);
  return timingSafeEqual(key, hash.key) && !tooLong;
}

/** What the password of somebody who does not exist is compared with: it costs as much and matches nothing. */
export const NOBODYS_HASH: PasswordHash = {
  ...COST,
  salt: randomBytes(SALT_BYTES),
  key: randomBytes(KEY_BYTES),
};

function derive(password: string, hash: PasswordHash): Promise<Buffer> {
  const { logN, blockSize: r, parallel: p, salt, key } = hash;
  // OpenSSL counts a little more than RFC 7914 §2 needs.
  const maxmem = memoryBytes(hash) + 1024 * 1024;
  return new Promise((resolve, reject) => {
    scrypt(
      password.normalize('NFC'),
      salt,
      key.length,
      { N: 2 ** logN, r, p, maxmem },
      (error, derived) => (error === null ? resolve(derived) : reject(error)),
    );
  });
}
