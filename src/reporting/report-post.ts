/**
 * A report by HTTPS: one POST to an `https:` URI of a TLSRPT record (RFC 8460 §5.4).
 *
 * The URI is a stranger's: only https, a host with a name whose certificate holds for it (RFC 8460 §3 would
 * let errors pass, but whoever can forge the host would read who fails to reach whom), public addresses unless
 * `outbound.allowPrivateAddresses` says otherwise, no redirect, one deadline for all of it. Failures are values,
 * and say whether another attempt can help (RFC 8460 §5.5).
 */
import type { Clock } from '../platform/clock.ts';
import { withDeadline } from '../platform/deadline.ts';
import type { HttpsFailure } from '../platform/https-connect.ts';
import type { HttpsPost } from '../platform/https-post.ts';
import { type DomainName, parseDomain } from '../protocol/domain.ts';

export type ReportPosted =
  | { readonly kind: 'sent'; readonly status: number }
  | {
      readonly kind: 'failed';
      /** `bad-uri`: nothing can be sent there; `status`: an answer other than 2xx. */
      readonly cause: 'bad-uri' | 'status' | HttpsFailure['cause'];
      /** For people; one line. */
      readonly detail: string;
      /** The same again would fail the same way. */
      readonly permanent: boolean;
    };

export interface ReportPostParts {
  readonly post: HttpsPost;
  readonly clock: Clock;
  /** Patience with the whole of it; a minute when absent. */
  readonly waitMs?: number;
}

const WAIT_MS = 60_000;
/** Statuses of 4xx that are about the moment (RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4). */
const OF_THE_MOMENT: ReadonlySet<number> = new Set([408, 421, 425, 429]);

/** Post `gzip` (the report, compressed) to `uri`, as the record has it. */
export async function postReport(
  { uri, gzip }: { readonly uri: string; readonly gzip: Buffer },
  { post, clock, waitMs = WAIT_MS }: ReportPostParts,
  signal: AbortSignal,
): Promise<ReportPosted> {
  const target = targetOf(uri);
  if (typeof target === 'string') {
    return { kind: 'failed', cause: 'bad-uri', detail: target, permanent: true };
  }
  const contentType = 'application/tlsrpt+gzip'; // RFC 8460 §5.4
  const result = await withDeadline({ clock, waitMs }, signal, (deadline) =>
    post({ ...target, contentType, body: gzip, signal: deadline }),
  );
  if (result.kind === 'failed') {
    const { cause, detail } = result;
    return { kind: 'failed', cause, detail, permanent: false };
  }
  const { status } = result;
  // RFC 8460 §5.4
  if (status >= 200 && status < 300) return { kind: 'sent', status };
  const permanent = status >= 300 && status < 500 && !OF_THE_MOMENT.has(status);
  const isRedirect = status >= 300 && status < 400;
  const detail = `${target.host} answered ${status}${isRedirect ? ', a redirect, which is not followed' : ''}`;
  return { kind: 'failed', cause: 'status', detail, permanent };
}

interface Target {
  readonly host: DomainName;
  readonly port: number;
  readonly path: string;
}

/** Where to; or why nowhere, in a sentence. */
function targetOf(uri: string): Target | string {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url?.protocol !== 'https:') return 'the URI is not one of https';
  if (url.username !== '' || url.password !== '') return 'the URI holds a login';
  const host = parseDomain(url.hostname);
  if (!host) return `the URI names no host: ${url.hostname}`;
  const port = url.port === '' ? 443 : Number(url.port);
  // RFC 9110 §4.2.4: a fragment is not sent.
  return { host, port, path: `${url.pathname}${url.search}` };
}
