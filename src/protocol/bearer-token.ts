/**
 * Bearer tokens (RFC 6750): which text may be one, and the header field that carries it. Pure.
 *
 * Any visible ASCII is taken, not only the b64token of RFC 6750 §2.1: who has a password with a `!`
 * in it can use it. What is too short to withstand guessing is refused.
 */

/** In characters. */
export const SHORTEST_TOKEN = 16;

export type TokenParsed =
  | { readonly ok: true; readonly secret: string }
  /** Continues a sentence about a file, and never shows what is in it. */
  | { readonly ok: false; readonly why: string };

/** The token that is the text of a file; white space around it does not count. */
export function parseToken(text: string): TokenParsed {
  const secret = text.trim();
  if (secret === '') return { ok: false, why: 'is empty' };
  if (/[\r\n]/.test(secret)) return { ok: false, why: 'holds more than one line' };
  if (!/^[\x21-\x7e]*$/.test(secret)) {
    return { ok: false, why: 'holds blanks, or characters that are not ASCII' };
  }
  if (secret.length < SHORTEST_TOKEN) {
    const why = `holds ${secret.length} characters, and a token has ${SHORTEST_TOKEN} or more; openssl rand -hex 32 makes a good one`;
    return { ok: false, why };
  }
  return { ok: true, secret };
}

/** The token in an Authorization header field (RFC 6750 §2.1); undefined where there is none. */
export function bearerOf(authorization: string): string | undefined {
  // The name of a scheme is written in any case (RFC 9110 §11.1).
  return /^bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1];
}
