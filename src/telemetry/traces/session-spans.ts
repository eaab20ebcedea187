/**
 * What came of a host, as spans: a session with its parts, or why there was none.
 */
import type { Failure } from '../../mail/failure.ts';
import type { SessionResult, SessionTimes } from '../../mail/session-result.ts';
import { tlsWordsOf } from '../../mail/tls-outcome.ts';
import { formatReply } from '../../protocol/smtp/reply.ts';
import { describePolicy } from '../outcome-events.ts';
import { type SpanAttributes, type SpanProblem, type SpanTree, spanText } from './span-tree.ts';

/** A session, from `startMs` to `endMs` as the attempt saw it; its parts by the times that came with it. */
export function sessionSpan(
  result: SessionResult,
  { startMs, endMs }: { readonly startMs: number; readonly endMs: number },
): SpanTree {
  const { candidate, address, reused, tls, times } = result.facts;
  const verdict = tls && !tls.verdict.verified ? tls.verdict.detail : undefined;
  return {
    name: 'session',
    kind: 'client',
    ...{ startMs, endMs },
    attributes: {
      ...hostOf(result),
      'network.peer.address': address,
      'network.peer.port': address === undefined ? undefined : candidate.port,
      'network.transport': 'tcp',
      'network.protocol.name': 'smtp',
      'stsrelay.reused': reused,
      'stsrelay.smtp.reply': acceptedWith(result),
      'tls.established': tls !== undefined,
      'tls.protocol.name': tls && 'tls',
      'tls.protocol.version': tls && tlsVersion(tls.version),
      'tls.cipher': tls?.cipher,
      'tls.resumed': tls?.resumed,
      'tls.server.hash.sha256': tls?.certSha256?.toUpperCase(),
      'stsrelay.tls.verdict': verdict === undefined ? undefined : spanText(verdict),
    },
    problem: result.kind === 'ended-early' ? problemOf(result.failure) : refusedWith(result),
    children: times ? parts(times) : [],
  };
}

/** A host that was not connected to. */
export function skipSpan(
  result: SessionResult & { readonly kind: 'ended-early' },
  atMs: number,
): SpanTree {
  return {
    name: 'skip',
    startMs: atMs,
    endMs: atMs,
    attributes: hostOf(result),
    problem: problemOf(result.failure),
  };
}

export function problemOf(failure: Failure): SpanProblem {
  if (failure.kind === 'local') return { type: failure.cause, text: spanText(failure.detail) };
  return { type: String(failure.reply.code), text: spanText(formatReply(failure.reply)) };
}

/** `TLSv1.3` as the conventions have it. */
export function tlsVersion(name: string): string {
  return name.replace(/^TLSv/, '');
}

function hostOf(result: SessionResult): SpanAttributes {
  const { candidate, requirement } = result.facts;
  const { policy, policyDomain, policyId, policyMode } = describePolicy(requirement);
  return {
    'server.address': candidate.host ?? candidate.address,
    'server.port': candidate.port,
    'stsrelay.tls': tlsWordsOf(result),
    'stsrelay.policy.type': policy,
    'stsrelay.policy.domain': policyDomain,
    'stsrelay.policy.id': policyId,
    'stsrelay.policy.mode': policyMode,
  };
}

function acceptedWith(result: SessionResult): string | undefined {
  if (result.kind === 'ended-early') return undefined;
  for (const one of result.recipients.values()) {
    if (one.kind === 'accepted') return spanText(formatReply(one.reply));
  }
  return undefined;
}

/** The first recipient whom the host did not take. */
function refusedWith(result: SessionResult & { readonly kind: 'transacted' }) {
  for (const one of result.recipients.values()) {
    if (one.kind === 'failed') return problemOf(one.failure);
  }
  return undefined;
}

/** What there was of a session, each part until the next one begins. */
function parts({
  started,
  connected,
  securing,
  secured,
  opened,
  transaction,
  ended,
}: SessionTimes): readonly SpanTree[] {
  const open = opened ?? transaction ?? ended;
  // A session that was open has its transaction alone.
  const wasOpen = connected === undefined && transaction !== undefined;
  return [
    ...(wasOpen ? [] : part('connect', started, connected ?? ended)),
    ...part('greeting', connected, securing ?? open),
    ...part('tls', securing, secured ?? ended),
    ...part('login', secured, open),
    ...part('transaction', transaction, ended),
  ];
}

function part(
  name: 'connect' | 'greeting' | 'tls' | 'login' | 'transaction',
  startMs: number | undefined,
  endMs: number | undefined,
): readonly SpanTree[] {
  return startMs === undefined || endMs === undefined ? [] : [{ name, startMs, endMs }];
}
