/** The events of the `dsn` vectors as outcomes of an attempt. */
import { type LocalCause, localFailure } from '../../../src/mail/failure.ts';
import type { Outcome } from '../../../src/mail/outcome.ts';
import type { RecipientReply, SessionFacts } from '../../../src/mail/session-result.ts';
import { conclude, concludeWithoutSession } from '../../../src/outcome/conclude.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { parseReply } from '../../../src/protocol/smtp/reply.ts';
import { NotSupported } from './vector.ts';

export type DsnEvent =
  | {
      readonly kind: 'remote';
      readonly stage: string;
      readonly peer: string;
      readonly code: number;
      readonly enhanced: string | null;
      readonly text: string;
    }
  | { readonly kind: 'local'; readonly reason: string }
  | { readonly kind: 'connect'; readonly peer: string | null; readonly text: string }
  | { readonly kind: 'accepted'; readonly peer: string; readonly peer_lists_dsn: boolean }
  | { readonly kind: 'expired'; readonly last: DsnEvent }
  /** It has waited for `retry.delayWarning`, and goes on waiting. */
  | { readonly kind: 'delay-warning'; readonly last: DsnEvent; readonly retry_until: string };

const STAGES = { MAIL: 'mail', RCPT: 'rcpt', DATA: 'data', 'DATA-END': 'end-of-data' } as const;

/** For the words of the vectors. */
const REASONS: Readonly<Record<string, LocalCause>> = {
  'null-mx': 'null-mx',
  'mail-loop': 'mail-loops-back',
  'no-smtputf8': 'smtputf8-not-offered',
  'no-smtputf8-header': 'smtputf8-header-not-offered',
  'no-8bitmime': 'eightbitmime-not-offered',
  'too-large': 'message-too-large',
  'requiretls-unsupported': 'requiretls-unsupported',
  nxdomain: 'domain-not-found',
  'dane-failed': 'tlsa-mismatch',
  'dane-mismatch': 'tlsa-mismatch',
  'no-mx-usable': 'no-usable-mx',
  'sts-enforce-failed': 'certificate-untrusted',
  'sts-enforce-cert-invalid': 'certificate-untrusted',
  'sts-enforce-no-starttls': 'starttls-not-offered',
  'sts-enforce-mx-mismatch': 'mx-outside-policy',
};

export function outcomeOf(event: DsnEvent, index: number): Outcome {
  switch (event.kind) {
    case 'expired':
    case 'delay-warning':
      return outcomeOf(event.last, index);
    case 'local': {
      const cause = REASONS[event.reason];
      if (!cause) throw new NotSupported(`event reason ${event.reason}`);
      return only(concludeWithoutSession(localFailure(cause, event.reason), [index]));
    }
    case 'connect':
      return only(concludeWithoutSession(localFailure('timeout', event.text), [index]));
    case 'accepted':
      return transacted(event.peer, index, {
        kind: 'accepted',
        reply: replyOf('250 2.0.0 ok'),
        dsnOffered: event.peer_lists_dsn,
      });
    case 'remote': {
      const stage = STAGES[event.stage as keyof typeof STAGES];
      if (!stage) throw new NotSupported(`stage ${event.stage}`);
      const reply = replyOf([event.code, event.enhanced, event.text].filter(Boolean).join(' '));
      const failure = { kind: 'reply', stage, reply } as const;
      return transacted(event.peer, index, { kind: 'failed', failure });
    }
    default:
      throw new NotSupported(`event ${(event as { kind: string }).kind}`);
  }
}

function replyOf(text: string) {
  const reply = parseReply(text);
  if (!reply) throw new Error(`${text} is no reply`);
  return reply;
}

function transacted(peer: string, index: number, reply: RecipientReply): Outcome {
  const recipients = new Map([[index, reply]]);
  return only(conclude([{ kind: 'transacted', facts: factsOf(peer), recipients }], [index]));
}

function factsOf(peer: string): SessionFacts {
  const address = /^\[(?:IPv6:)?(.*)\]$/i.exec(peer)?.[1];
  const host = address === undefined ? parseDomain(peer) : undefined;
  return {
    candidate: { host, preference: 10, port: 25 },
    address: address ?? '192.0.2.1',
    localAddress: undefined,
    requirement: { level: 'opportunistic', minVersion: 'TLSv1.2', source: { kind: 'default' } },
    tls: undefined,
  };
}

function only(outcomes: ReadonlyMap<number, Outcome>): Outcome {
  const [outcome] = outcomes.values();
  if (!outcome) throw new Error('no outcome');
  return outcome;
}
