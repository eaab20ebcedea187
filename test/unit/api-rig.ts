/** The API over what stands in for the relay, for tests of what is asked and answered. */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RouteOptions } from 'fastify';
import type { ApiParts } from '../../src/admin/api.ts';
import { addApi } from '../../src/admin/api.ts';
import type { Access } from '../../src/admin/api-login.ts';
import type { AuditEntry } from '../../src/admin/audit.ts';
import type { CheckAdmin } from '../../src/admin/checks.ts';
import { closeApp, type HttpApp, newApp } from '../../src/admin/http-app.ts';
import type { OverviewAdmin } from '../../src/admin/overview-routes.ts';
import type { QueueAdmin } from '../../src/admin/queue.ts';
import type { MessageView } from '../../src/admin/queue-show.ts';
import type { RelayStatus } from '../../src/admin/status.ts';
import { createTlsReportAdmin, type TlsReportAdmin } from '../../src/admin/tlsrpt.ts';
import type { DomainFacts } from '../../src/check/types.ts';
import { settingsFrom } from '../../src/config/load.ts';
import { newMessageId } from '../../src/mail/message-id.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import { DayTally } from '../../src/reporting/day-tally.ts';
import type { ReportState } from '../../src/reporting/report-state.ts';
import { Reports } from '../../src/reporting/reports.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakePolicies, viewAt } from './fake-policies.ts';

export const STATUS: RelayStatus = {
  version: '0.0.0',
  uptimeSeconds: 1,
  node: 'a',
  listeners: [
    { address: '127.0.0.1', port: 2525, tls: 'starttls', auth: 'optional', connections: 0 },
  ],
  queue: { messages: 2, due: 1 },
  redis: { up: false, reason: 'connection refused' },
  spool: { ok: true },
  lastErrors: [{ time: '2026-01-10T12:00:00.000Z', event: 'redis.down', text: 'refused' }],
};

const COUNTS = { active: 0, due: 0, parked: 1, delayed: 1, held: 0 };
const FLOWS = { received: 3, delivered: 2, deferred: 1, bounced: 0 };

/** What the admin page shows first. */
export const OVERVIEW: OverviewAdmin = {
  overview: async () => ({
    ...{ at: '2026-01-10T12:00:00Z', messages: 2, deliveries: 2, counts: COUNTS, overdue: 0 },
    destinationCount: 1,
    destinations: [
      {
        ...{ domain: 'a.example', total: 2, counts: COUNTS, nextAttempt: '2026-01-10T12:00:00Z' },
        cause: 'tlsPolicy',
        closedBy: [{ kind: 'breaker', text: 'Away.', until: '2026-01-10T12:00:00Z' }],
      },
    ],
    attention: [{ level: 'warning', about: 'pause', text: 'Paused.', domain: 'a.example' }],
  }),
  flow: {
    samples: () => [
      {
        ...{ at: '2026-01-10T12:00:00.000Z', seconds: 10, ...FLOWS },
        ...{ verified: 1, encrypted: 1, clear: 0, queue: COUNTS },
      },
    ],
  },
};

const view = async () => ({
  ...{ signedIn: true, by: 'login' as const, actor: 'ann' },
  ends: '2026-01-10T12:00:00.000Z',
});

/** Lets everybody in. */
export const OPEN: Access = {
  admit: async () => {},
  door: { view, begin: view, end: async () => {} },
};

/** What an API speaks for that knows a.example alone; `actors` is who changed something. */
export function fakeParts(actors: string[] = []): ApiParts {
  const entries: readonly AuditEntry[] = [
    {
      id: 2,
      at: '2026-01-10T12:00:00.000Z',
      actor: 'ann uid 0',
      action: 'override.add',
      target: 'a.example',
      facts: { tls: 'none' },
    },
    { id: 1, at: '2026-01-09T12:00:00.000Z', actor: 'ann uid 0', action: 'x', target: 'y' },
  ];
  const change = async (domain: string, actor: string, result: string) => {
    actors.push(actor);
    if (domain === 'a.example') return { ok: true, result } as const;
    return { ok: false, status: 404, error: `nothing for ${domain}` } as const;
  };
  const policies = new FakePolicies().add(viewAt('a.example'), viewAt('b.example'));
  policies.refreshing = async (name) => ({
    ok: name === 'a.example',
    changed: false,
    text: 'unchanged',
    view: viewAt('a.example'),
  });
  return {
    relay: {
      status: async () => STATUS,
      reload: async () => ({ ok: false, problems: ['stsrelay.yaml:3: wrong'] }),
    },
    overview: OVERVIEW,
    policies,
    overrides: {
      list: () => [
        {
          domain: 'a.example',
          tls: 'none',
          owner: '',
          reason: 'old',
          expires: '2026-02-10T12:00:00.000Z',
          source: 'added',
          addedAt: '2026-01-10T12:00:00.000Z',
        },
        { domain: 'b.example', tls: 'verify', owner: 'ann', reason: 'new', source: 'file' },
      ],
      add: ({ domain }, actor) => change(domain, actor, 'added'),
      remove: (domain, actor) => change(domain, actor, 'removed'),
    },
    domains: {
      list: () => [
        { domain: 'a.example', reason: '', pausedAt: '2026-01-10T12:00:00.000Z', waiting: 3 },
      ],
      pause: ({ domain }, actor) => change(domain, actor, 'paused'),
      resume: (domain, actor) => change(domain, actor, 'resumed'),
    },
    checks: fakeChecks(actors),
    queue: fakeQueue(actors),
    tlsReports: fakeReports(),
    audit: { last: async (count) => entries.slice(0, count) },
  };
}

/** One that is done, of a.example; there is room for no other. */
function fakeChecks(actors: string[]): CheckAdmin {
  const domain = 'a.example' as DomainName;
  const at = '2026-01-10T12:00:00.000Z';
  const times = { startedAt: at, finishedAt: at };
  const done = { domain, state: 'done', connect: true, ok: true, ...times } as const;
  const findings = [
    { severity: 'ok', code: 'policy', subject: 'a.example', text: 'Fine.', rfc: 'RFC 8461 §3.2' },
  ] as const;
  const verdict = { outcome: 'delivered', how: 'verified-tls', why: 'It is.' } as const;
  const facts = { domain, connected: true } as unknown as DomainFacts;
  return {
    start: async (wish, actor) => {
      actors.push(actor);
      const begun = { ...wish, state: 'running', step: 'policy', startedAt: at } as const;
      if (wish.domain === domain && wish.connect) return { ok: true, check: begun };
      if (wish.domain === domain) return { ok: false, status: 409, error: 'the other kind' };
      return { ok: false, status: 503, error: 'too many' };
    },
    show: (name) => {
      const result = { domain, ok: true, verdict, findings, facts };
      return name === domain ? { ...done, result } : undefined;
    },
    list: () => [done, { ...done, state: 'failed', error: 'why' }],
  };
}

/** One day, with a report for a.example and one for b.example. */
function fakeReports(): TlsReportAdmin {
  const tally = new DayTally();
  const detail = { resultType: 'certificate-expired', mxHost: 'mx.a.example' } as const;
  for (const domain of ['a.example', 'b.example']) {
    const policy = { type: 'sts', domain, lines: ['version: STSv1'], mx: ['*.a.example'] } as const;
    tally.add({ domain, policy, successful: 2, failed: 1, details: [{ detail, sessions: 1 }] });
  }
  const at = { atMs: 0, attempts: 1 };
  const reason = 'connection refused';
  const known: ReportState = {
    ...{ domain: 'b.example', node: 'a', outcome: 'sending', ...at },
    ...{ nodes: ['a'], without: ['b'], reason },
    targets: [
      { rua: 'mailto:t@b.example', state: 'queued', ...at, messageId: newMessageId(0) },
      { rua: 'https://b.example/', state: 'waiting', ...at, nextAtMs: 1, reason },
    ],
  };
  const states = new Map([[known.domain, known]]);
  const settings = settingsFrom({ hostname: 'relay.example.net' });
  const reports = new Reports({
    counts: {
      days: async () => ['2026-01-10'],
      ofAll: async (day) => (day === '2026-01-10' ? tally : new DayTally()),
      ofDomain: async (_day, domain) => ({ counts: tally.countsOf(domain), nodes: ['a'] }),
    },
    states: { ofDay: async (day) => (day === '2026-01-10' ? states : new Map()) },
    files: { report: async () => undefined },
    settings: () => settings,
  });
  const suspension = {
    ...{ domain: 'b.example', rua: 'https://b.example/', day: '2026-01-09', failures: 2, reason },
    ...{ failedAtMs: 0, untilMs: 1, expires: 2 },
  };
  const nothing = { during: <R>(_entry: object, make: () => Promise<R>) => make() };
  return createTlsReportAdmin({
    ...{ reports, audit: nothing, clock: new FakeClock('2026-01-11T12:00:00Z') },
    suspensions: { list: () => [suspension] },
    sender: {
      sendNow: async (_day, domains) => {
        if (domains[0] === 'b.example') throw new Error('Redis is away');
        return domains.map((domain) => ({ domain, sends: true, state: states.get(domain) }));
      },
    },
  });
}

const QUEUED = '0123456789ABCDEF';
const AT = '2026-01-10T12:00:00Z';

/** One message for a.example. */
function fakeQueue(actors: string[]): QueueAdmin {
  const counts = { active: 0, due: 0, parked: 0, delayed: 1, held: 0 };
  const barrier = { kind: 'backoff' as const, text: 'It waits.', until: AT };
  const shift = {
    ...{ waiting: 1, unchanged: 0, sooner: 1, later: 0, atOnce: 0, lastAttempt: 0 },
    ...{ firstBefore: AT, firstAfter: AT },
  };
  const row = {
    ...{ id: QUEUED, domain: 'a.example', sender: '', recipients: ['a@a.example'] },
    ...{ recipientCount: 1, state: 'delayed' as const, received: AT, sizeBytes: 7, attempts: 1 },
    ...{ nextAttempt: AT, expires: AT, lastFailure: '451 no', waitsFor: 'It waits.' },
  };
  return {
    list: async (_filter, { limit }) => ({
      entries: [row],
      total: 1,
      ...(limit < 2 ? { next: 'x' } : {}),
    }),
    summary: async () => ({
      ...{ messages: 1, deliveries: 1, counts, destinationCount: 1 },
      destinations: [
        { domain: 'a.example', total: 1, counts, oldest: AT, nextAttempt: AT, closedBy: [barrier] },
      ],
    }),
    show: async (id) => {
      const now = [{ destination: 'a.example', state: 'delayed', waitsFor: [barrier] }];
      const lists = { recipients: [], destinations: [{ destination: 'a.example' }], now };
      const message = { id, received: AT, sender: '', sizeBytes: 7, ...lists };
      return id === QUEUED ? (message as unknown as MessageView) : undefined;
    },
    holds: () => [{ rule: 'all mail', reason: '', by: 'ann', since: AT, expires: AT }],
    async act({ action, dryRun, expiresMs }, actor) {
      actors.push(actor);
      if (expiresMs !== undefined)
        return { ok: false, status: 422, error: 'it would be over already' };
      const numbers = { matched: 1, touched: 1, underWay: 0, closed: 0, recipients: 1 };
      const gone = { notQueued: ['0123456789ABCDEG'], nullSender: 1 };
      const rules = { rule: 'all mail', rulesLeft: ['all mail'] };
      return { ok: true, action, dryRun, ...numbers, ...gone, ...rules };
    },
    retryNow: () => settingsFrom({}).retry,
    previewRetry: async () => ({ total: shift, destinations: [{ domain: 'a.example', ...shift }] }),
  };
}

/** The API alone, on a port of its own, open to all; `routes` are those it has. */
export async function serveApi(
  add: (app: HttpApp) => void = (app) => addApi(app, fakeParts(), OPEN),
) {
  const app = newApp({ tellsErrors: false });
  const routes: RouteOptions[] = [];
  app.addHook('onRoute', (route) => void routes.push(route));
  add(app);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return {
    port,
    routes: routes as readonly RouteOptions[],
    /** The path goes out as it is. */
    async ask(method: string, path: string, body?: string, type = 'application/json') {
      const length = Buffer.byteLength(body ?? '');
      const headers = body === undefined ? {} : { 'content-type': type, 'content-length': length };
      const options = { host: '127.0.0.1', port, agent: false, method, path, headers };
      const asking = request(options).end(body);
      const [response] = (await once(asking, 'response')) as [IncomingMessage];
      let text = '';
      for await (const part of response.setEncoding('utf8')) text += String(part);
      const { statusCode = 0, headers: said } = response;
      return { status: statusCode, type: said['content-type'] ?? '', body: text };
    },
    close: () => closeApp(app),
  };
}
