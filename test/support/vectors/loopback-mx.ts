/**
 * MX hosts on loopback for vectors, and the relay's own SMTP sessions with them, TLS and all. A
 * session is planned for a name and an address of the vector and led to the host of that name.
 */
import { Readable } from 'node:stream';
import { createSecureContexts } from '../../../src/delivery/secure-contexts.ts';
import {
  type Consignment,
  runSession,
  type SessionParts,
  type SessionPlan,
} from '../../../src/delivery/session.ts';
import type { Envelope } from '../../../src/mail/envelope.ts';
import { localFailure } from '../../../src/mail/failure.ts';
import type { SessionResult } from '../../../src/mail/session-result.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { type CertificateKind, createCa, type IssuedCertificate, type TestCa } from '../ca.ts';
import { MxHost } from '../mx-host.ts';
import { DEFAULT_KEYWORDS, type MxBehaviour, type Path } from '../mx-script.ts';
import { plainHost } from './compare.ts';
import { NotSupported } from './vector.ts';

export interface LoopbackMxSpec {
  readonly name: string;
  /** A word of `TLS_WORDS`. */
  readonly tls: string;
  /** All EHLO keywords but STARTTLS; default: those of a modern server. */
  readonly keywords?: readonly string[];
  /** The reply to RCPT; default: it is accepted. */
  readonly rcptReply?: string;
}

interface TlsBehaviour {
  readonly certificate?: CertificateKind;
  readonly startTls?: MxBehaviour['startTls'];
}

/** What each word of the vectors makes a host do; `unreachable` is not even there. */
const TLS_WORDS: Readonly<Record<string, TlsBehaviour>> = {
  valid: { certificate: 'good' },
  'no-starttls': {},
  'starttls-refused': { certificate: 'good', startTls: 'refused' },
  expired: { certificate: 'expired' },
  'not-yet-valid': { certificate: 'not-yet-valid' },
  untrusted: { certificate: 'untrusted' },
  'self-signed': { certificate: 'self-signed' },
  'wrong-name': { certificate: 'wrong-host' },
  'cn-only': { certificate: 'cn-only' },
  'handshake-failure': { certificate: 'good', startTls: 'garbage' },
};

/** Nothing on loopback takes so long. */
const PATIENCE_MS = 30_000;
const TIMEOUTS = {
  connect: PATIENCE_MS,
  greeting: PATIENCE_MS,
  helo: PATIENCE_MS,
  mail: PATIENCE_MS,
  rcpt: PATIENCE_MS,
  dataInit: PATIENCE_MS,
  dataBlock: PATIENCE_MS,
  dataDone: PATIENCE_MS,
  tls: PATIENCE_MS,
};

const DEFAULT = { kind: 'default' } as const;

interface World {
  readonly ca: TestCa;
  readonly parts: SessionParts;
}
let world: Promise<World> | undefined;

/** One CA, and sessions that trust it, for all vectors. */
async function createWorld(): Promise<World> {
  const ca = await createCa();
  const context = { ca: ca.certPem, minVersion: 'TLSv1.2' } as const;
  const parts: SessionParts = {
    heloName: 'relay.example',
    localAddressFor: () => undefined,
    timeouts: TIMEOUTS,
    secureContexts: createSecureContexts(context),
    onConnection: () => {},
  };
  return { ca, parts };
}

export class LoopbackMxHosts implements AsyncDisposable {
  readonly #parts: SessionParts;
  /** By plain name; undefined: unreachable. */
  readonly #hosts: ReadonlyMap<string, MxHost | undefined>;
  readonly #keys: ReadonlyMap<string, Buffer>;

  private constructor(
    parts: SessionParts,
    hosts: ReadonlyMap<string, MxHost | undefined>,
    keys: ReadonlyMap<string, Buffer>,
  ) {
    this.#parts = parts;
    this.#hosts = hosts;
    this.#keys = keys;
  }

  static async start(specs: readonly LoopbackMxSpec[]): Promise<LoopbackMxHosts> {
    world ??= createWorld();
    const { ca, parts } = await world;
    const hosts = new Map<string, MxHost | undefined>();
    const keys = new Map<string, Buffer>();
    for (const spec of specs) {
      const certificate = await certificateFor(spec, ca);
      const host = spec.tls === 'unreachable' ? undefined : mxHost(spec, certificate);
      hosts.set(plainHost(spec.name), host);
      if (certificate) keys.set(plainHost(spec.name), certificate.spki);
      await host?.start();
    }
    return new LoopbackMxHosts(parts, hosts, keys);
  }

  /** All that were started. */
  get hosts(): readonly MxHost[] {
    return [...this.#hosts.values()].filter((host) => host !== undefined);
  }

  /** DER of the SubjectPublicKeyInfo of its certificate. */
  publicKeyOf(name: string): Buffer | undefined {
    return this.#keys.get(plainHost(name));
  }

  /** As delivery/session.ts, with the host of that name wherever it should be. */
  async runSession(
    plan: SessionPlan,
    consignment: Consignment,
    signal: AbortSignal,
  ): Promise<SessionResult> {
    const { candidate, address, requirement } = plan;
    const name = candidate.host ?? (address.includes(':') ? `[IPv6:${address}]` : `[${address}]`);
    if (!this.#hosts.has(plainHost(name))) throw new Error(`${name} is no host of the vector`);
    const host = this.#hosts.get(plainHost(name));
    if (!host) {
      const facts = { candidate, address, requirement, localAddress: undefined, tls: undefined };
      const failure = localFailure('connect-unreachable', 'the vector says so');
      return { kind: 'ended-early', facts, failure };
    }
    const there = { ...plan, address: host.address, candidate: { ...candidate, port: host.port } };
    const result = await runSession(there, consignment, { ...this.#parts, signal });
    return { ...result, facts: { ...result.facts, candidate, address } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.hosts.map((host) => host.close()));
  }
}

async function certificateFor({ name, tls }: LoopbackMxSpec, ca: TestCa) {
  if (tls === 'unreachable') return undefined;
  if (!Object.hasOwn(TLS_WORDS, tls)) throw new NotSupported(`tls ${tls}`);
  const { certificate } = TLS_WORDS[tls] ?? {};
  // For an address literal there is no name that could be right.
  const named = name.startsWith('[') ? 'literal.example' : plainHost(name);
  return certificate && ca.issueKind(certificate, named);
}

function mxHost(spec: LoopbackMxSpec, certificate: IssuedCertificate | undefined): MxHost {
  const { name, keywords = DEFAULT_KEYWORDS, rcptReply } = spec;
  const { startTls } = TLS_WORDS[spec.tls] ?? {};
  return new MxHost({
    name,
    keywords,
    script: (_session, { verb }) => (verb === 'RCPT' ? rcptReply : undefined),
    ...(certificate ? { certificate } : {}),
    ...(startTls ? { startTls } : {}),
  });
}

/** The parameters of MAIL or RCPT but those about the size and form of the content. */
export function paramsOf(paths: readonly Path[]): readonly string[] {
  return paths.flatMap(({ params }) => params).filter((param) => !/^(SIZE|BODY)=/i.test(param));
}

/** The parameters that a host with these EHLO keywords gets with `envelope`. */
export async function passedOn(envelope: Envelope, ehlo: readonly string[]) {
  const host = parseDomain('mx.dest.example');
  await using hosts = await LoopbackMxHosts.start([
    { name: host ?? '', tls: 'no-starttls', keywords: ehlo },
  ]);
  const body = Buffer.from('Subject: hi\r\n\r\nbody\r\n');
  const requirement = { level: 'opportunistic', minVersion: 'TLSv1.2', source: DEFAULT } as const;
  const result = await hosts.runSession(
    {
      destination: 'dest.example',
      candidate: { host, preference: 10, port: 25 },
      address: '',
      requirement,
      mode: 'full',
    },
    {
      envelope,
      sizeBytes: body.length,
      recipients: envelope.recipients.map((_, index) => index),
      openBody: async () => Readable.from([body]),
    },
    new AbortController().signal,
  );
  const [message] = hosts.hosts.flatMap(({ messages }) => messages);
  if (!message) throw new Error(`not delivered: ${JSON.stringify(result)}`);
  return {
    mail_params: paramsOf([message.mailFrom]),
    rcpt_params: paramsOf(message.recipients),
  };
}
