/**
 * What makes two sessions the same: the plan they are opened under. A session carries only
 * messages whose plan has its key, so a domain's policy never reaches another one's mail, and a
 * changed policy, text included, never finds an old session.
 */
import { hash } from 'node:crypto';
import type { DaneSource, TlsRequirement } from '../mail/tls-requirement.ts';
import { digestOf as identityOf } from './credentials.ts';
import type { SessionPlan } from './session.ts';

/**
 * The key of a session: host name, address, port, way to TLS, the whole requirement (RFC 8461 §5), in
 * which REQUIRETLS and `TLS-Required: No` have their say (RFC 8689 §4.2.1, §4.2.2), and what we are to the peer. Whatever else gets a say in how a session is opened belongs in here.
 *
 * The requirement is plain data; were its members in another order, there would be another key.
 */
export function sessionKey(
  { candidate, address, mode, requirement, implicitTls, credentials }: SessionPlan,
  own: { readonly heloName: string; readonly localAddress: string | undefined },
): string {
  const { host, port } = candidate;
  const { heloName, localAddress } = own;
  const plan = [host, address, port, mode, digestOf(requirement), heloName, localAddress];
  // Whose mail it is matters to a server that knows who we are.
  const asWhom = [implicitTls, credentials && identityOf(credentials)];
  // JSON puts null for what is undefined, and keeps the rest apart.
  return JSON.stringify([...plan, ...asWhom]);
}

/** Requirements never change, and the same one is asked about for many messages. */
const digests = new WeakMap<TlsRequirement, string>();

function digestOf(requirement: TlsRequirement): string {
  const known = digests.get(requirement);
  if (known !== undefined) return known;
  const { source } = requirement;
  const stable =
    source.kind === 'dane' ? { ...requirement, source: stableDane(source) } : requirement;
  const digest = hash('sha256', JSON.stringify(stable));
  digests.set(requirement, digest);
  return digest;
}

/**
 * DNS gives records in an order drawn anew each time. Names have a say with a usable trust anchor alone
 * (RFC 7672 §3.1.1): without one the same records ask the same of the host, whoever's mail it is.
 */
function stableDane(source: DaneSource): DaneSource {
  const [records, usable] = [[...source.records].sort(), [...source.usable].sort()];
  const names = usable.some((record) => record.startsWith('2 ')) ? source.names : [];
  return { ...source, records, usable, names };
}
