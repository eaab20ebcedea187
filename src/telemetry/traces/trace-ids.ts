/**
 * The ids of a message's trace are computed from the id of the message, so that every process, before and
 * after a restart, names the same trace without being told:
 *
 *     printf %s ID | sha256sum | cut -c 1-32
 */
import { hash } from 'node:crypto';

export interface TraceIds {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of the span all others hang below; 16 hexadecimal digits. */
  readonly rootSpanId: string;
}

export function traceIdsOf(id: string): TraceIds {
  const digest = hash('sha256', id);
  return { traceId: digest.slice(0, 32), rootSpanId: digest.slice(32, 48) };
}
