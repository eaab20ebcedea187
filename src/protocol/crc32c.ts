/**
 * CRC-32C, Castagnoli's polynomial (RFC 3385 §3, RFC 9260 appendix A). Not the CRC-32 of node:zlib.
 */
const REVERSED_POLYNOMIAL = 0x82f63b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, octet) => {
  let sum = octet;
  for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? REVERSED_POLYNOMIAL : 0);
  return sum;
});

/** An unsigned number of 32 bits. */
export function crc32c(octets: Uint8Array): number {
  let sum = 0xffffffff;
  for (const octet of octets) sum = (sum >>> 8) ^ (TABLE[(sum ^ octet) & 0xff] ?? 0);
  return (sum ^ 0xffffffff) >>> 0;
}
