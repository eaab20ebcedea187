/**
 * Names for what goes wrong on the way to TLS, from the errors of Node's TLS and of the client
 * library. Pure.
 */
import { type LocalFailure, localFailure } from '../mail/failure.ts';
import type { WireError } from './transaction.ts';

/** What OpenSSL says to octets that are no TLS at all. */
const NO_TLS_TEXT = /wrong[ _]version[ _]number/i;
const VERSION_TEXT = /unsupported[ _]protocol|protocol[ _]version|no[ _]protocols/i;

/** The failure of a handshake that began and did not finish. `isStartTls`: the peer had agreed to it. */
export function handshakeFailure(
  error: WireError,
  { isStartTls = true }: { readonly isStartTls?: boolean } = {},
): LocalFailure {
  if (isStartTls && NO_TLS_TEXT.test(error.message)) {
    const detail = 'clear text came in place of TLS after the reply to STARTTLS';
    return localFailure('clear-text-after-starttls', detail);
  }
  const text = opensslText(error.message);
  const cause = VERSION_TEXT.test(error.message) ? 'tls-version-too-low' : 'tls-handshake-failed';
  const detail =
    error.code === 'ETIMEDOUT'
      ? 'the TLS handshake did not finish in time'
      : `TLS handshake: ${text}`;
  return localFailure(cause, detail);
}

/** `…:SSL routines:ssl3_read_bytes:tlsv1 alert protocol version:../deps/…` -> its readable part. */
function opensslText(message: string): string {
  const parts = message.split(':');
  const at = parts.indexOf('SSL routines');
  const reason = at >= 0 ? parts[at + 2] : undefined;
  return (reason || message).replace(/\s+/g, ' ').trim().slice(0, 200);
}
