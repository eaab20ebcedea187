/**
 * The content of a message as it is handed over: what the spool keeps, octet for octet, and on top of it
 * the DKIM-Signature that was made when the message came in (RFC 6376 §5.6). It is the same at every
 * attempt, whatever became of the key meanwhile.
 */
import type { Readable } from 'node:stream';
import type { Spool, StoredMessage } from '../spool/store.ts';
import type { Consignment } from './session.ts';

type Content = Required<Pick<Consignment, 'sizeBytes' | 'openBody' | 'bodyInMemory'>>;

/** Without a signature it is the spool's body, and nothing is done to it. */
export function outgoingContent(
  { envelope, sizeBytes }: Pick<StoredMessage, 'envelope' | 'sizeBytes'>,
  spool: Pick<Spool, 'openBody' | 'bodyInMemory'>,
): Content {
  const { id, signature } = envelope;
  if (signature === undefined) {
    const bodyInMemory = () => spool.bodyInMemory(id);
    return { sizeBytes, openBody: () => spool.openBody(id), bodyInMemory };
  }
  const top = Buffer.from(signature, 'latin1');
  return {
    sizeBytes: top.length + sizeBytes,
    openBody: async () => below(top, await spool.openBody(id)),
    bodyInMemory: () => {
      const body = spool.bodyInMemory(id);
      return body && Buffer.concat([top, body]);
    },
  };
}

/** A stream that nobody has read from yet takes the signature for its first octets. */
function below(top: Buffer, body: Buffer | Readable): Buffer | Readable {
  if (Buffer.isBuffer(body)) return Buffer.concat([top, body]);
  body.unshift(top);
  return body;
}
