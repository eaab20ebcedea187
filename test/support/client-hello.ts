/**
 * Looks at the first octets of a TLS connection for the server name (RFC 6066 §3), so that one
 * listener can choose certificate, protocol versions and misbehaviour per name before the
 * handshake starts. The octets are put back: the handshake then begins with them.
 */
import type { Socket } from 'node:net';

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const LONGEST_RECORD = 5 + 16_384;

/**
 * Wait for the ClientHello; its server name in lower case, `''` when it has none or is no TLS.
 * Undefined when the peer went away first. The socket is left paused, its octets unread.
 */
export async function peekServerName(socket: Socket): Promise<string | undefined> {
  let seen: Buffer = Buffer.alloc(0);
  for (;;) {
    const chunk = await nextChunk(socket);
    if (chunk === undefined) return undefined;
    seen = Buffer.concat([seen, chunk]);
    const whole = seen.length >= 5 && seen.length >= 5 + seen.readUInt16BE(3);
    if (seen[0] !== HANDSHAKE || whole || seen.length > LONGEST_RECORD) {
      socket.unshift(seen);
      return serverNameOf(seen) ?? '';
    }
  }
}

function nextChunk(socket: Socket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const settle = (chunk: Buffer | undefined) => {
      socket.off('data', onData).off('close', onEnd).off('end', onEnd);
      socket.pause();
      resolve(chunk);
    };
    const onData = (chunk: Buffer) => settle(chunk);
    const onEnd = () => settle(undefined);
    if (socket.destroyed) resolve(undefined);
    else socket.on('data', onData).on('close', onEnd).on('end', onEnd);
  });
}

/** The host name in a ClientHello record; undefined when there is none to be found. */
export function serverNameOf(record: Buffer): string | undefined {
  try {
    if (record[0] !== HANDSHAKE || record[5] !== CLIENT_HELLO) return undefined;
    let at = 5 + 4 + 2 + 32; // record header, handshake header, version, random
    at += 1 + record.readUInt8(at); // session id
    at += 2 + record.readUInt16BE(at); // cipher suites
    at += 1 + record.readUInt8(at); // compression methods
    const end = at + 2 + record.readUInt16BE(at);
    at += 2;
    while (at < end) {
      const type = record.readUInt16BE(at);
      const length = record.readUInt16BE(at + 2);
      if (type === SERVER_NAME) {
        const nameLength = record.readUInt16BE(at + 7);
        return record.toString('latin1', at + 9, at + 9 + nameLength).toLowerCase();
      }
      at += 4 + length;
    }
  } catch {
    // Cut short: no name.
  }
  return undefined;
}
