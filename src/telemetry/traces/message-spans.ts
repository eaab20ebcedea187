/** What becomes of a message outside its sessions, as spans. */
import type { Envelope } from '../../mail/envelope.ts';
import type { Diagnosis, Outcome } from '../../mail/outcome.ts';
import { problemOf, tlsVersion } from './session-spans.ts';
import type { SpanAttributes, SpanProblem, SpanTree } from './span-tree.ts';
import type { SpanName } from './vocabulary.ts';

/** When a message that was taken came how far; milliseconds since the epoch. */
export interface IntakeTimes {
  readonly mailMs: number;
  /** 354 was said. */
  readonly contentMs: number;
  readonly commitMs: number;
  readonly committedMs: number;
}

/** What the envelope does not say of the client's connection. */
export interface IntakePlace {
  readonly listener: { readonly address: string; readonly port: number } | undefined;
  readonly tls: { readonly version: string; readonly cipher: string } | undefined;
}

/** A client handed the message over, and it is on disk. */
export function receiveSpan(
  envelope: Envelope,
  sizeBytes: number,
  { listener, tls, times }: IntakePlace & { readonly times: IntakeTimes },
): SpanTree {
  const { mailMs, contentMs, commitMs, committedMs } = times;
  return {
    name: 'receive',
    kind: 'server',
    startMs: mailMs,
    endMs: committedMs,
    attributes: {
      ...aboutMessage('receive', envelope.id),
      'messaging.message.body.size': sizeBytes,
      'stsrelay.recipients': envelope.recipients.length,
      'stsrelay.signed': envelope.signature === undefined ? undefined : true,
      'client.address': envelope.client?.address,
      'user.name': envelope.client?.user,
      'server.address': listener?.address,
      'server.port': listener?.port,
      'network.transport': 'tcp',
      'network.protocol.name': 'smtp',
      'tls.established': envelope.client?.tls,
      'tls.protocol.name': tls && 'tls',
      'tls.protocol.version': tls && tlsVersion(tls.version),
      'tls.cipher': tls?.cipher,
    },
    children: [
      { name: 'content', startMs: contentMs, endMs: commitMs },
      { name: 'commit', startMs: commitMs, endMs: committedMs },
    ],
  };
}

/** The relay made the message `id` itself. */
export function madeSpan(
  name: 'compose dsn' | 'compose tls report',
  { id, atMs, attributes }: { id: string; atMs: number; attributes: SpanAttributes },
): SpanTree {
  return {
    ...{ name, startMs: atMs, endMs: atMs },
    attributes: { ...aboutMessage(name, id), ...attributes },
  };
}

/** Every recipient has an answer. */
export function settledSpan(
  { id, recipients }: Pick<Envelope, 'id' | 'recipients'>,
  { startMs, endMs, delivered }: { startMs: number; endMs: number; delivered: number },
): SpanTree {
  const bounced = recipients.length - delivered;
  return {
    ...{ name: 'settled', startMs, endMs },
    attributes: {
      ...aboutMessage('settled', id),
      'stsrelay.recipients': recipients.length,
      'stsrelay.recipients.delivered': delivered,
      'stsrelay.recipients.bounced': bounced,
    },
    problem:
      bounced > 0 ? { type: 'bounced', text: `${bounced} recipients did not get it` } : undefined,
  };
}

export function aboutMessage(name: SpanName, id: string): SpanAttributes {
  return {
    'messaging.system': 'stsrelay',
    'messaging.operation.name': name,
    'messaging.message.id': id,
  };
}

/** How many recipients had which fate; an outcome that is deferred at the end of its lifetime is a bounce. */
export interface Fates {
  readonly delivered: number;
  readonly deferred: number;
  readonly bounced: number;
}

export function fateAttributes({ delivered, deferred, bounced }: Fates): SpanAttributes {
  return {
    'stsrelay.recipients.delivered': delivered,
    'stsrelay.recipients.deferred': deferred,
    'stsrelay.recipients.bounced': bounced,
  };
}

/** Of the first recipient who did not get it. */
export function problemAmong(outcomes: Iterable<Outcome>): SpanProblem | undefined {
  for (const outcome of outcomes) {
    if (outcome.kind !== 'delivered') return diagnosed(outcome.diagnosis);
  }
  return undefined;
}

function diagnosed({ failure }: Diagnosis): SpanProblem {
  return problemOf(failure);
}
