/**
 * The public API as the page asks it. A refusal is an ApiError with the sentence of the API; where the login is
 * over, the page shows the login again.
 */
import { signal } from '@preact/signals';
import { unhidden } from '../../protocol/quote.ts';
import type { SessionView } from '../api-login.ts';
import type { AuditEntry } from '../audit.ts';
import type { CheckSummary, CheckView } from '../checks.ts';
import type { PauseView } from '../domains.ts';
import type { FlowSample } from '../flow.ts';
import type { OverrideView } from '../overrides.ts';
import type { Overview } from '../overview.ts';
import type { PolicyListing, PolicyView, RefreshAnswer } from '../policies.ts';
import type { ActedAnswer, HoldView, PreviewView } from '../queue.ts';
import type { QueuePage } from '../queue-list.ts';
import type { MessageView } from '../queue-show.ts';
import type { QueueSummary } from '../queue-summary.ts';
import type { RelayStatus } from '../status.ts';
import type { ReportDays, ReportPage, SendAnswers } from './report-types.ts';

/** Who is logged in; undefined: not known yet. */
export const session = signal<SessionView | undefined>(undefined);

export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

type Values = Readonly<Record<string, string | number | undefined>>;
type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** Ask for what is below /api/v1. Rejects with an ApiError. */
export async function ask<T>(method: Method, path: string, body?: object): Promise<T> {
  const response = await fetch(`/api/v1${path}`, {
    method,
    headers: {
      'x-stsrelay-page': '1',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  }).catch(() => {
    throw new ApiError(0, 'The relay does not answer.');
  });
  const answer = parsed(await response.text().catch(() => ''));
  if (response.ok) return answer as T;
  if (response.status === 401 && path !== '/session') {
    session.value = { signedIn: false, by: 'login' };
  }
  const said = answer as { error?: string; problems?: readonly string[]; text?: string };
  const text = said.error ?? said.problems?.join('\n') ?? said.text ?? `HTTP ${response.status}`;
  throw new ApiError(response.status, text);
}

/** What strangers wrote, in replies or addresses, must not turn around what people read here. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text, (_name, value) =>
      typeof value === 'string' ? unhidden(value) : (value as unknown),
    );
  } catch {
    return {};
  }
}

/** `?a=1&b=2` of those that are there. */
export function query(values: Values): string {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== '');
  if (given.length === 0) return '';
  return `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

/** What a queue order is about. */
export type Which =
  | { readonly ids: readonly string[] }
  | { readonly filter: Values }
  | { readonly all: true };

const one = encodeURIComponent;

/** Every request that the page makes. */
export const api = {
  session: () => ask<SessionView>('GET', '/session'),
  logIn: (token: string, name: string) => ask<SessionView>('POST', '/session', { token, name }),
  logOut: () => ask<SessionView>('DELETE', '/session'),
  status: () => ask<RelayStatus>('GET', '/status'),
  reload: () => ask<{ readonly needRestart: readonly string[] }>('POST', '/reload'),
  overview: () => ask<Overview>('GET', '/overview'),
  flow: (after: string | undefined) =>
    ask<{ readonly samples: readonly FlowSample[] }>('GET', `/flow${query({ after })}`),
  summary: (values: Values) => ask<QueueSummary>('GET', `/queue/summary${query(values)}`),
  queue: (values: Values) => ask<QueuePage>('GET', `/queue${query(values)}`),
  message: (id: string) => ask<MessageView>('GET', `/queue/messages/${one(id)}`),
  holds: () =>
    ask<{ readonly holds: readonly HoldView[] }>('GET', `/queue/holds${query({ limit: 200 })}`),
  act: (action: string, order: Which & { readonly dryRun?: boolean; readonly reason?: string }) =>
    ask<Extract<ActedAnswer, { ok: true }>>('POST', `/queue/${action}`, order),
  pauses: (values: Values = {}) =>
    ask<{ readonly pauses: readonly PauseView[] }>('GET', `/pauses${query(values)}`),
  pause: (domain: string, wish: { readonly reason: string; readonly expires?: string }) =>
    ask<Changed>('PUT', `/domains/${one(domain)}/pause`, wish),
  checks: () => ask<{ readonly checks: readonly CheckSummary[] }>('GET', '/checks'),
  check: (domain: string) => ask<CheckView>('GET', `/domains/${one(domain)}/check`),
  startCheck: (domain: string, connect: boolean) =>
    ask<CheckView>('POST', `/domains/${one(domain)}/check`, { connect }),
  resume: (domain: string) => ask<Changed>('DELETE', `/domains/${one(domain)}/pause`),
  policies: (values: Values) =>
    ask<{ readonly policies: readonly PolicyListing[]; readonly next?: string }>(
      'GET',
      `/policies${query(values)}`,
    ),
  policy: (domain: string) => ask<PolicyView>('GET', `/policies/${one(domain)}`),
  refreshPolicy: (domain: string) => ask<RefreshAnswer>('POST', `/policies/${one(domain)}/refresh`),
  forgetPolicy: (domain: string) => ask<object>('DELETE', `/policies/${one(domain)}`),
  overrides: (values: Values = {}) =>
    ask<{ readonly overrides: readonly OverrideView[] }>('GET', `/overrides${query(values)}`),
  putOverride: (domain: string, wish: OverrideWish) =>
    ask<Changed>('PUT', `/overrides/${one(domain)}`, wish),
  removeOverride: (domain: string) => ask<Changed>('DELETE', `/overrides/${one(domain)}`),
  retry: () => ask<{ readonly retry: RetryText }>('GET', '/retry'),
  previewRetry: (retry: RetryText) => ask<PreviewView>('POST', '/retry/preview', { retry }),
  reportDays: () => ask<ReportDays>('GET', '/tlsrpt/days'),
  reports: (day: string, values: Values = {}) =>
    ask<ReportPage>('GET', `/tlsrpt/days/${one(day)}${query(values)}`),
  sendReports: (day: string, wish: { readonly dryRun: boolean; readonly domain?: string }) =>
    ask<SendAnswers>('POST', `/tlsrpt/days/${one(day)}/send`, wish),
  audit: (values: Values) =>
    ask<{ readonly entries: readonly AuditEntry[]; readonly next?: number }>(
      'GET',
      `/audit${query(values)}`,
    ),
};

export interface Changed {
  readonly domain: string;
  readonly result: string;
}

export interface OverrideWish {
  readonly tls: string;
  readonly owner: string;
  readonly reason: string;
  readonly expires: string;
}

/** The `retry` section in the notation of the configuration file. */
export interface RetryText {
  readonly schedule: readonly string[];
  readonly lifetime: string;
  readonly bounceLifetime: string;
  readonly classes: Readonly<Record<string, { readonly schedule: readonly string[] }>>;
  readonly domains: readonly object[];
}
