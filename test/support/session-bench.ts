/**
 * Outgoing sessions with one scripted MX host: the relay's own (delivery/session.ts), with a pool, a
 * clock that tests move, and messages that say which they are.
 */
import type { Readable } from 'node:stream';
import { createSecureContexts } from '../../src/delivery/secure-contexts.ts';
import { runSession, type SessionParts, type SessionPlan } from '../../src/delivery/session.ts';
import { type ReuseLimits, SessionPool } from '../../src/delivery/session-pool.ts';
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

const PATIENCE_MS = 30_000;

export interface Handing {
  readonly plan?: Partial<SessionPlan>;
  /** The same for all that goes on in one attempt. */
  readonly signal?: AbortSignal;
  readonly body?: Buffer | (() => Readable);
  readonly recipients?: number;
  /** What the body is said to have. */
  readonly sizeBytes?: number;
  readonly recorded?: Promise<unknown>;
}

let ca: Promise<TestCa> | undefined;

export class SessionBench implements AsyncDisposable {
  readonly host: MxHost;
  readonly pool: SessionPool;
  readonly clock: FakeClock;
  /** Changed by tests: what the sessions are to the peer, and how long they wait. */
  parts: SessionParts;
  limits: ReuseLimits = { messagesPerConnection: 1000, idleMs: 600_000 };
  #sent = 0;

  private constructor(host: MxHost, parts: SessionParts) {
    this.host = host;
    this.parts = parts;
    this.clock = new FakeClock(Date.now());
    this.pool = new SessionPool({ clock: this.clock, limitsFor: () => this.limits });
  }

  static async start(options: Partial<MxHostOptions> & { validForMs?: number } = {}) {
    ca ??= createCa();
    const authority = await ca;
    const { validForMs, ...script } = options;
    const certificate = await authority.issue({
      names: [MX_NAME],
      ...(validForMs === undefined ? {} : { notAfter: new Date(Date.now() + validForMs) }),
    });
    const host = await startMxHost({ name: MX_NAME, certificate, ...script });
    const each = PATIENCE_MS;
    return new SessionBench(host, {
      heloName: 'relay.example',
      localAddressFor: () => undefined,
      timeouts: {
        ...{ connect: each, greeting: each, helo: each, mail: each, rcpt: each, tls: each },
        ...{ dataInit: each, dataBlock: each, dataDone: each },
      },
      secureContexts: createSecureContexts({ ca: authority.certPem, minVersion: 'TLSv1.2' }),
      onConnection: () => {},
    });
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
    const consignment = {
      envelope: {
        id: newMessageId(this.clock.now()),
        reversePath: 'ann@sender.example',
        recipients: recipients.map((index) => ({ address: `r${index}@reuse.test` })),
        receivedAtMs: 0,
        eightBitMime: false,
        smtpUtf8: false,
      },
      sizeBytes,
      recipients,
      openBody: async () => (Buffer.isBuffer(body) ? body : body()),
      ...(handing.recorded === undefined ? {} : { recorded: handing.recorded }),
    };
    const { pool, clock } = this;
    const signal = handing.signal ?? new AbortController().signal;
    return runSession(this.plan(handing.plan), consignment, {
      ...this.parts,
      signal,
      reuse: { pool, clock },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.close();
    await this.host.close();
  }
}

export function bodyOf(number: number): Buffer {
  return Buffer.from(`Subject: ${number}\r\n\r\n.hidden\r\n..\r\nend ${number}\r\n`);
}
