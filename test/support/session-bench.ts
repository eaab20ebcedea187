/**
 * Outgoing sessions with one scripted MX host: the relay's own (delivery/session.ts), and messages
 * that say which they are. They run here, with a pool and a clock that tests see and move, or where
 * `home` says.
 */
import type { Readable } from 'node:stream';
import {
  type Consignment,
  runSession,
  type SessionParts,
  type SessionPlan,
} from '../../src/delivery/session.ts';
import { type ReuseLimits, SessionPool } from '../../src/delivery/session-pool.ts';
import { SessionTickets } from '../../src/delivery/session-tickets.ts';
import {
  type SessionHome,
  type SessionSettings,
  type Sessions,
  sessionParts,
} from '../../src/delivery/sessions.ts';
import type { Envelope } from '../../src/mail/envelope.ts';
import { newMessageId } from '../../src/mail/message-id.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import type { TlsRequirement } from '../../src/mail/tls-requirement.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import { createCa, type TestCa } from './ca.ts';
import { FakeClock } from './fake-clock.ts';
import { type MxHost, type MxHostOptions, startMxHost } from './mx-host.ts';

export const MX_NAME = 'mx.reuse.test';

export const ENFORCED: TlsRequirement = {
  level: 'verify',
  minVersion: 'TLSv1.2',
  source: {
    kind: 'mta-sts',
    domain: 'reuse.test' as DomainName,
    policyId: '1',
    policyText: 'version: STSv1\r\nmode: enforce\r\nmx: mx.reuse.test\r\nmax_age: 86400\r\n',
    mode: 'enforce',
    listed: true,
  },
};

export const PATIENCE_MS = 30_000;

export interface Handing {
  readonly plan?: Partial<SessionPlan>;
  /** The same for all that goes on in one attempt. */
  readonly signal?: AbortSignal;
  readonly body?: Buffer | (() => Readable | Promise<Buffer | Readable>);
  /** It need not be read. */
  readonly bodyInMemory?: boolean;
  readonly recipients?: number;
  /** The indexes of those that are meant; all when absent. */
  readonly only?: readonly number[];
  /** What the body is said to have. */
  readonly sizeBytes?: number;
  readonly recorded?: Promise<unknown>;
  /** What MAIL is about, where it matters. */
  readonly envelope?: Partial<Envelope>;
  /** Run it here in any case. */
  readonly here?: true;
}

export interface SessionBenchOptions extends Partial<MxHostOptions> {
  /** Of the certificate. */
  readonly validForMs?: number;
  /** Where the sessions run; here when absent. */
  readonly home?: SessionHome;
}

const LIMITS = { messagesPerConnection: 1000, idleMs: 600_000 };

let ca: Promise<TestCa> | undefined;

function authorityOfAll(): Promise<TestCa> {
  ca ??= createCa();
  return ca;
}

/** Under which the sessions of a bench are opened. */
export async function benchSettings(): Promise<SessionSettings> {
  const { certPem } = await authorityOfAll();
  const each = PATIENCE_MS;
  return {
    heloName: 'relay.example',
    sourceAddresses: [],
    timeouts: {
      ...{ connect: each, greeting: each, helo: each, mail: each, rcpt: each, tls: each },
      ...{ dataInit: each, dataBlock: each, dataDone: each },
    },
    secure: { ca: certPem, minVersion: 'TLSv1.2' },
    reuse: {
      default: { messagesPerConnection: LIMITS.messagesPerConnection, idle: LIMITS.idleMs },
      domains: [],
    },
  };
}

export class SessionBench implements AsyncDisposable {
  readonly host: MxHost;
  readonly pool: SessionPool;
  readonly tickets = new SessionTickets();
  readonly clock: FakeClock;
  /** Changed by tests: what the sessions are to the peer, and how long they wait. */
  parts: SessionParts;
  limits: ReuseLimits = LIMITS;
  /** Those of `home`. */
  readonly sessions: Sessions | undefined;
  #sent = 0;

  private constructor(host: MxHost, settings: SessionSettings, home: SessionHome | undefined) {
    this.host = host;
    this.parts = { ...sessionParts(settings), onConnection: () => {} };
    this.sessions = home?.open(settings);
    this.clock = new FakeClock(Date.now());
    this.pool = new SessionPool({ clock: this.clock, limitsFor: () => this.limits });
  }

  static async start(options: SessionBenchOptions = {}) {
    const authority = await authorityOfAll();
    const { validForMs, home, ...script } = options;
    const certificate = await authority.issue({
      names: [MX_NAME],
      ...(validForMs === undefined ? {} : { notAfter: new Date(Date.now() + validForMs) }),
    });
    const host = await startMxHost({ name: MX_NAME, certificate, ...script });
    return new SessionBench(host, await benchSettings(), home);
  }

  plan(over: Partial<SessionPlan> = {}): SessionPlan {
    const { address, port } = this.host;
    return {
      destination: 'reuse.test',
      candidate: { host: MX_NAME as DomainName, preference: 10, port },
      address,
      requirement: ENFORCED,
      mode: 'full',
      ...over,
    };
  }

  /** Hand a message over. */
  send(handing: Handing = {}): Promise<SessionResult> {
    const number = this.#sent++;
    const body = handing.body ?? bodyOf(number);
    const sizeBytes = handing.sizeBytes ?? (Buffer.isBuffer(body) ? body.length : 0);
    const recipients = Array.from({ length: handing.recipients ?? 1 }, (_, index) => index);
    const { recorded, bodyInMemory } = handing;
    const consignment: Consignment = {
      envelope: {
        id: newMessageId(this.clock.now()),
        reversePath: 'ann@sender.example',
        recipients: recipients.map((index) => ({ address: `r${index}@reuse.test` })),
        receivedAtMs: 0,
        eightBitMime: false,
        smtpUtf8: false,
        ...handing.envelope,
      },
      sizeBytes,
      recipients: handing.only ?? recipients,
      openBody: async () => (Buffer.isBuffer(body) ? body : body()),
      ...(bodyInMemory && Buffer.isBuffer(body) ? { bodyInMemory: () => body } : {}),
      ...(recorded === undefined ? {} : { recorded }),
    };
    const plan = this.plan(handing.plan);
    const signal = handing.signal ?? new AbortController().signal;
    if (this.sessions && !handing.here) return this.sessions.run(plan, consignment, signal);
    const { pool, tickets, clock, parts } = this;
    return runSession(plan, consignment, { ...parts, signal, reuse: { pool, tickets, clock } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sessions?.close();
    await this.pool.close();
    await this.host.close();
  }
}

export function bodyOf(number: number): Buffer {
  return Buffer.from(`Subject: ${number}\r\n\r\n.hidden\r\n..\r\nend ${number}\r\n`);
}
