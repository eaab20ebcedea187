/**
 * The verdict of DANE on the peer of a finished handshake (RFC 7672 §3): the chain it sent against the
 * TLSA records of the requirement. Local roots, and what OpenSSL thinks of the chain, have no say.
 */
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';
import type { PeerVerdict } from '../mail/session-result.ts';
import type { DaneSource } from '../mail/tls-requirement.ts';
import { authenticateDane, type DanePeer } from '../protocol/dane/authenticate.ts';
import { formatTlsa, parseTlsaText } from '../protocol/dane/tlsa.ts';

/** The verdict; pure. What cannot be read authenticates nobody. */
export function judgeByDane(
  peer: DanePeer,
  { baseDomain, usable, names }: DaneSource,
): PeerVerdict {
  const records = usable.map(parseTlsaText).filter((record) => record !== undefined);
  const verdict = authenticateDane(peer, { records, names });
  if (!verdict.authenticated) {
    const { cause, detail } = verdict;
    return { verified: false, cause, detail: `${detail} (DANE, ${baseDomain})` };
  }
  const tlsa = formatTlsa(verdict.record);
  return { verified: true, matchedName: verdict.matchedName ?? baseDomain, tlsa };
}

const MOST_CERTIFICATES = 12;

/**
 * The certificates of the peer, its own first. Node puts them in the order of their issuers and adds a root of
 * ours where the chain ends in one: it does not matter, for DNS says which of them counts. Of several issuers of
 * one name it has the first that was sent (docs/decisions.md, "A DANE-TA chain is verified here").
 */
export function chainOf(socket: TLSSocket): readonly Buffer[] {
  const chain: Buffer[] = [];
  let at: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true);
  while (at?.raw !== undefined && chain.length < MOST_CERTIFICATES) {
    chain.push(at.raw);
    // A root is its own issuer.
    at = at.issuerCertificate === at ? undefined : at.issuerCertificate;
  }
  return chain;
}
