/**
 * Whether the records of a DNS message lie within it, each as long as it says (RFC 1035 §4.1.3). Pure.
 *
 * dns-packet gives the data of some types cut short, instead of an error, where the message ends early: a
 * TLSA record that is a few octets shorter would be another record. So the lengths are looked at first.
 */
const HEADER_BYTES = 12;
/** After the name: type, class, TTL, and the length of the data. */
const FIXED_BYTES = 10;
const TLSA = 52;
/** Usage, selector and matching type (RFC 6698 §2.1). */
const LEAST_TLSA = 3;

/** Walk over all records of `message`, at most as many as its header counts. */
export function isWellFramed(message: Buffer): boolean {
  if (message.length < HEADER_BYTES) return false;
  let at: number | undefined = HEADER_BYTES;
  for (let left = message.readUInt16BE(4); left > 0; left--) {
    at = endOfName(message, at);
    if (at === undefined || at + 4 > message.length) return false;
    at += 4;
  }
  const records = message.readUInt16BE(6) + message.readUInt16BE(8) + message.readUInt16BE(10);
  for (let left = records; left > 0; left--) {
    at = endOfName(message, at);
    if (at === undefined || at + FIXED_BYTES > message.length) return false;
    const type = message.readUInt16BE(at);
    const length = message.readUInt16BE(at + FIXED_BYTES - 2);
    if (type === TLSA && length < LEAST_TLSA) return false;
    at += FIXED_BYTES + length;
    if (at > message.length) return false;
  }
  return true;
}

/** Where the name at `at` ends: after its root label, or the pointer that stands for the rest (RFC 1035 §4.1.4). */
function endOfName(message: Buffer, start: number): number | undefined {
  for (let at = start; ; ) {
    const length = message[at];
    if (length === undefined) return undefined;
    if (length >= 0xc0) return at + 2;
    if (length === 0) return at + 1;
    at += 1 + length;
  }
}
