/**
 * A policy host, looked at step by step: address, connection, TLS, certificate, response. The fetch
 * (policy/sts-fetch.ts) decides whether there is a policy; this finds out what a person would
 * have to mend where there is none, and when its certificate expires where there is one. So the
 * handshake goes on with a certificate that does not hold, and nothing that is read is used.
 */
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import { type CertificateFacts, describeCertificate } from '../delivery/certificate.ts';
import { describePeer } from '../delivery/peer-verdict.ts';
import { handshakeFailure } from '../delivery/tls-failure.ts';
import type { AddressGuard } from '../platform/address-guard.ts';
import { dial } from '../platform/dial.ts';
import { type IpFamily, judgeAddresses, lookupHostAddresses } from '../platform/host-addresses.ts';
import { exchangeHttp } from '../platform/http-exchange.ts';
import type { Resolver } from '../platform/resolver.ts';
import type { DomainName } from '../protocol/domain.ts';
import {
  type InvalidPolicy,
  judgeFetchResponse,
  MAX_POLICY_OCTETS,
} from '../protocol/mta-sts/policy.ts';
import { quoted } from '../protocol/quote.ts';
import { trimWsp } from '../protocol/wsp.ts';
import type { PolicyHostLook } from './types.ts';

export interface PolicyHostParts {
  readonly resolver: Resolver;
  readonly families: readonly IpFamily[];
  readonly guard: AddressGuard;
  readonly context: SecureContext;
  readonly httpsPort: number;
  /** Patience with each step, milliseconds. */
  readonly stepMs: number;
}

/** Of a line that is shown, in UTF-16 units. */
const MOST_CONTENT = 300;

type Trouble = NonNullable<PolicyHostLook['trouble']>;

/** Look at `host`. Never throws for what it does. */
export async function examinePolicyHost(
  host: DomainName,
  parts: PolicyHostParts,
  signal: AbortSignal,
): Promise<PolicyHostLook> {
  const { resolver, families, guard } = parts;
  const answers = await lookupHostAddresses(host, { resolver, families, signal });
  const found = judgeAddresses(answers, (address) => guard.check(address, host));
  if (found.addresses.length === 0) {
    if (found.failures.length > 0) return stuck({ at: 'dns', detail: found.failures.join('; ') });
    if (found.refused.length > 0) return stuck({ at: 'address', detail: found.refused.join('; ') });
    return stuck({ at: 'no-address', detail: `${host} has no address` });
  }
  let look: PolicyHostLook = {};
  for (const address of found.addresses) {
    look = await lookAt({ host, address }, parts, signal);
    // As the fetch does: the next address after one that gave no session.
    if (look.certificate && look.trouble?.at !== 'certificate') break;
  }
  return look;
}

async function lookAt(
  { host, address }: { readonly host: DomainName; readonly address: string },
  { context, httpsPort: port, stepMs }: PolicyHostParts,
  signal: AbortSignal,
): Promise<PolicyHostLook> {
  const ending = AbortSignal.any([signal, AbortSignal.timeout(2 * stepMs)]);
  const dialed = await dial({ address, port, timeoutMs: stepMs, signal: ending });
  if (dialed.kind === 'failed') return stuck({ at: 'connect', detail: dialed.detail });
  const secure = connect({
    socket: dialed.socket,
    secureContext: context,
    servername: host, // RFC 8461 §7.1
    ALPNProtocols: ['http/1.1'],
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  });
  try {
    const error = await handshake(secure, ending);
    if (error) return stuck({ at: 'handshake', detail: handshakeFailure(error).detail });
    const certificate = describeCertificate(secure);
    const { verdict } = describePeer(secure, host);
    if (!verdict.verified) {
      const { cause, detail } = verdict;
      return stuck({ at: 'certificate', cause, detail }, certificate);
    }
    const authority = port === 443 ? host : `${host}:${port}`;
    const path = '/.well-known/mta-sts.txt'; // RFC 8461 §3.2
    const maxBytes = MAX_POLICY_OCTETS;
    const answer = await exchangeHttp({
      socket: secure,
      authority,
      path,
      maxBytes,
      signal: ending,
    });
    return stuck(judgeAnswer(answer), certificate);
  } finally {
    secure.destroy();
    dialed.socket.destroy();
  }
}

/** Undefined when it is through. */
function handshake(secure: TLSSocket, signal: AbortSignal): Promise<Error | undefined> {
  return new Promise((resolve) => {
    // The listener stays for good: a second error without one would end the process.
    secure.on('error', resolve);
    secure.once('secureConnect', () => resolve(undefined));
    secure.once('close', () => resolve(new Error('connection closed in the handshake')));
    const onAbort = () => resolve(new Error('no handshake in time'));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

function judgeAnswer(answer: Awaited<ReturnType<typeof exchangeHttp>>): Trouble | undefined {
  if (answer.kind === 'too-large') {
    return { at: 'policy', reason: 'too-large', detail: answer.detail };
  }
  if (answer.kind === 'failed') return { at: 'http', detail: answer.detail };
  const judged = judgeFetchResponse(answer);
  if (judged.ok) return undefined;
  const { reason, detail } = judged;
  if (reason === 'status') return { at: 'status', status: answer.status, detail };
  const line = lineOf(judged);
  if (line === undefined) return { at: 'policy', reason, detail };
  const content = (judged.lines[line - 1] ?? '').slice(0, MOST_CONTENT);
  return { at: 'policy', reason, detail, line, content };
}

/** The first line that holds the value complained about; the parser names it in some cases only. */
export function lineOf({ detail, lines }: InvalidPolicy): number | undefined {
  const named = /^line (\d+) is malformed/.exec(detail)?.[1];
  if (named !== undefined) return Number(named);
  const [, field, value] = /^malformed (\w+) (".*")$/.exec(detail) ?? [];
  if (field === undefined) return undefined;
  // Compared as the parser shows it: what is not ASCII is written otherwise there.
  const at = lines.findIndex(
    (line) =>
      line.startsWith(`${field}:`) && quoted(trimWsp(line.slice(field.length + 1))) === value,
  );
  return at < 0 ? undefined : at + 1;
}

function stuck(trouble: Trouble | undefined, certificate?: CertificateFacts): PolicyHostLook {
  return { ...(certificate ? { certificate } : {}), ...(trouble ? { trouble } : {}) };
}
