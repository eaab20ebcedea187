/**
 * The MTA-STS flow vectors: one delivery attempt each, through the relay's own router, policy,
 * walk and classification. Simulated are DNS, the policy host and the MX hosts; whether a
 * message goes to one is the production gate's word.
 *
 * `report` is not compared: what TLSRPT notes is not kept yet.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { refusesSession } from '../../src/delivery/admission.ts';
import { deliver } from '../../src/delivery/deliver.ts';
import type { SessionPlan } from '../../src/delivery/session.ts';
import { type LocalCause, localFailure, type TlsFailureCause } from '../../src/mail/failure.ts';
import type { Outcome } from '../../src/mail/outcome.ts';
import type { SessionResult, TlsFacts } from '../../src/mail/session-result.ts';
import { destinationOf } from '../../src/outbound.ts';
import { classify } from '../../src/outcome/classify.ts';
import { conclude, concludeWithoutSession } from '../../src/outcome/conclude.ts';
import type { RedisClient } from '../../src/platform/redis.ts';
import type { LookupResult, MxRecord, Resolver } from '../../src/platform/resolver.ts';
import { policyInForce } from '../../src/policy/sts-entry.ts';
import { createStsLookup } from '../../src/policy/sts-lookup.ts';
import { StsStore } from '../../src/policy/sts-store.ts';
import { createTlsPolicy } from '../../src/policy/tls-policy.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import type { StsMode } from '../../src/protocol/mta-sts/policy.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';
import { nextAttempt } from '../../src/queue/retry-schedule.ts';
import { createRouter } from '../../src/routing/route.ts';
import type { PolicyEvents } from '../../src/telemetry/policy-events.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { domain, failedFetch, MapRedis, NO_TXT, PolicyHost, policy } from '../unit/policy-parts.ts';
import { recordEvents, sampleEnvelope } from '../unit/sample-mail.ts';

const LEFT_OUT: Readonly<Record<string, string>> = {
  'flow-048': 'needs DANE, which is not there yet',
  'flow-049': 'needs DANE, which is not there yet',
  'flow-059': 'needs TLS-Required, which is not there yet',
  'flow-062': 'needs REQUIRETLS, which is not there yet',
  'flow-063': 'needs REQUIRETLS, which is not there yet',
  'flow-066': 'needs REQUIRETLS, which is not there yet',
  'flow-068': 'needs report mail, which is not there yet',
};

/** Where we give an `alt` answer on purpose. */
const CHOSEN: Readonly<Record<string, string>> = {
  'flow-042': 'a lifetime is a lifetime: the last attempt asked DNS, and got no answer (contested)',
};

interface Cached {
  readonly id: string;
  readonly fetched_at: number;
  readonly policy: PublishedPolicy;
}
interface PublishedPolicy {
  readonly mode: StsMode;
  readonly mx: readonly string[];
  readonly max_age: number;
}
type TlsWord =
  | 'valid'
  | 'no-starttls'
  | 'expired'
  | 'untrusted'
  | 'wrong-name'
  | 'cn-only'
  | 'handshake-failure'
  | 'unreachable';
interface Host {
  readonly host: string;
  readonly pref: number;
  readonly tls: TlsWord;
  readonly smtp?: string;
}
interface Input {
  readonly now: number;
  readonly recipient: string;
  readonly queued_at: number;
  readonly queue_lifetime: number;
  readonly cache: Cached | null;
  readonly caches?: Readonly<Record<string, Cached | null>>;
  readonly https: { readonly result: string; readonly policy?: PublishedPolicy };
  readonly txt: { readonly rcode: string; readonly txt: readonly (readonly string[])[] };
  readonly txt_name?: string;
  readonly last_fetch_failure?: { readonly id: string; readonly ago: number };
  readonly mx: readonly Host[];
  readonly self?: readonly string[];
  readonly route?: { readonly next_hop: string; readonly use_mx: boolean };
  readonly cname_at_domain?: readonly string[];
}
interface Vector {
  readonly id: string;
  readonly rule: string;
  readonly note?: string;
  readonly input: Input;
  readonly expect: Readonly<Record<string, unknown>>;
  readonly alt?: readonly Readonly<Record<string, unknown>>[];
}

/** What a message met on its way. */
interface Handed {
  readonly host: string;
  readonly tls: 'verified' | 'unauthenticated' | 'plaintext';
}

const VERDICTS: { readonly [Word in TlsWord]?: TlsFailureCause } = {
  expired: 'certificate-expired',
  untrusted: 'certificate-untrusted',
  'wrong-name': 'certificate-host-mismatch',
  'cn-only': 'certificate-host-mismatch',
};

function tlsFacts(word: TlsWord, host: string): TlsFacts {
  const cause = VERDICTS[word];
  return {
    version: 'TLSv1.3',
    cipher: 'TLS_AES_128_GCM_SHA256',
    certSha256: undefined,
    verdict: cause
      ? { verified: false, cause, detail: word }
      : { verified: true, matchedName: host },
  };
}

/** The MX hosts, and what they were given. */
class Hosts {
  readonly handed: Handed[] = [];
  readonly #hosts: ReadonlyMap<string, Host>;

  constructor(hosts: readonly Host[]) {
    this.#hosts = new Map(hosts.map((one) => [one.host.toLowerCase(), one]));
  }

  /** As delivery/session.ts, without a network. */
  session({ candidate, address, requirement, mode }: SessionPlan): SessionResult {
    const name = candidate.host ?? `[IPv6:${address}]`;
    const peer = this.#hosts.get(name.toLowerCase());
    assert.ok(peer, `${name} is a host of the vector`);
    const bare = { candidate, address, localAddress: undefined, requirement, tls: undefined };
    const ended = (cause: LocalCause, tls?: TlsFacts): SessionResult => ({
      kind: 'ended-early',
      facts: { ...bare, tls },
      failure: localFailure(cause, peer.tls),
    });
    if (peer.tls === 'unreachable') return ended('connect-unreachable');
    if (peer.tls === 'handshake-failure' && mode !== 'clear') return ended('tls-handshake-failed');
    const inClear = mode === 'clear' || peer.tls === 'no-starttls' || requirement.level === 'none';
    const tls = inClear ? undefined : tlsFacts(peer.tls, name);
    const refusal = refusesSession(requirement, tls);
    if (refusal) return ended(refusal.cause, tls);
    return this.#transact(peer, { ...bare, tls });
  }

  #transact(peer: Host, facts: SessionResult['facts']): SessionResult {
    const verified = facts.tls?.verdict.verified ? 'verified' : 'unauthenticated';
    this.handed.push({ host: peer.host, tls: facts.tls ? verified : 'plaintext' });
    const reply = parseReply(`${peer.smtp ?? '250'} as the vector says`);
    assert.ok(reply);
    const recipient =
      reply.code < 400
        ? ({ kind: 'accepted', reply, dsnOffered: false } as const)
        : ({ kind: 'failed', failure: { kind: 'reply', stage: 'rcpt', reply } } as const);
    return { kind: 'transacted', facts, recipients: new Map([[0, recipient]]) };
  }
}

class VectorDns implements Resolver {
  readonly txtAsked: string[] = [];
  readonly #input: Input;
  readonly #txtName: string;

  constructor(input: Input) {
    this.#input = input;
    this.#txtName = input.txt_name ?? `_mta-sts.${input.recipient.split('@').at(-1)}`;
  }

  async lookupTxt(name: string): Promise<LookupResult<readonly Buffer[]>> {
    this.txtAsked.push(name);
    const { rcode, txt } = this.#input.txt;
    if (name !== this.#txtName || rcode === 'NXDOMAIN') return NO_TXT;
    if (rcode !== 'NOERROR') return { kind: 'failed', reason: rcode };
    return found(
      txt.map((strings) => strings.map((text) => Buffer.from(text))),
      name,
    );
  }

  async lookupMx(name: DomainName): Promise<LookupResult<MxRecord>> {
    const records = this.#input.mx.map(({ host, pref }) => ({ preference: pref, exchange: host }));
    return found(records, this.#input.cname_at_domain?.at(-1) ?? name);
  }

  async lookupAddress(name: DomainName, family: 4 | 6): Promise<LookupResult<string>> {
    return found(family === 4 ? ['192.0.2.1'] : ['2001:db8::1'], name);
  }
}

function found<T>(records: readonly T[], canonicalName: string): LookupResult<T> {
  return { kind: 'found', records, ttlSeconds: 60, authenticated: false, canonicalName };
}

function kept({ id, fetched_at, policy: published }: Cached) {
  const { mode, mx, max_age } = published;
  return { id, policy: policy(mode, mx, max_age), fetchedAtMs: fetched_at * 1000 };
}

async function run(input: Input): Promise<Readonly<Record<string, unknown>>> {
  using dir = tempDir();
  const clock = new FakeClock(input.now * 1000);
  const destination = destinationOf(input.recipient);
  assert.ok(destination);
  const store = await StsStore.open({
    directory: dir.path,
    redis: new MapRedis() as unknown as RedisClient,
    keyPrefix: 'test',
    clock,
    events: recordEvents<PolicyEvents>().events,
  });
  for (const [name, cached] of Object.entries({ ...input.caches, [destination]: input.cache })) {
    if (cached) await store.keepPolicy(domain(name), kept(cached));
  }
  const { last_fetch_failure: failure, https, route } = input;
  if (failure) {
    const atMs = (input.now - failure.ago) * 1000;
    await store.noteFailedFetch(domain(destination), { id: failure.id, atMs, reason: 'x' });
  }
  const host = new PolicyHost();
  host.answer = () => failedFetch(https.result);
  if (https.policy) host.serve(policy(https.policy.mode, https.policy.mx, https.policy.max_age));

  const resolver = new VectorDns(input);
  const routes = route
    ? [
        {
          domain: destination,
          nextHop: `${route.use_mx ? 'mx:' : ''}${route.next_hop}${route.use_mx ? '' : ':25'}`,
        },
      ]
    : [];
  const router = createRouter({ resolver, port: 25, ownNames: input.self ?? [], routes, clock });
  const lookupSts = createStsLookup({
    resolver,
    store,
    fetch: host.fetch,
    clock,
    events: recordEvents<PolicyEvents>().events,
    dnsFailureGraceMs: () => 3_600_000,
  });
  const tlsPolicy = createTlsPolicy({
    settings: () => ({
      defaultLevel: 'opportunistic',
      minVersion: 'TLSv1.2',
      mtaStsEnabled: true,
      overrides: [],
      routes: routes.map((one) => ({ domain: one.domain, tls: 'opportunistic' as const })),
    }),
    lookupSts,
    now: () => clock.now(),
  });
  const hosts = new Hosts(input.mx);
  const outcome = await attempt();
  const known = destination.startsWith('[') ? undefined : await store.get(domain(destination));
  return {
    result: outcome.kind === 'deferred' && isOver() ? 'bounced' : outcome.kind,
    https_get: host.asked.length > 0,
    txt_query: resolver.txtAsked.length > 0,
    txt_checked: resolver.txtAsked.length > 0 && input.txt.rcode !== 'SERVFAIL',
    cache_id: policyInForce(known, clock.now())?.id,
    cache_mode: policyInForce(known, clock.now())?.policy.mode,
    ...(outcome.kind === 'delivered'
      ? { via: hosts.handed.at(-1)?.host, tls: hosts.handed.at(-1)?.tls }
      : { status: outcome.diagnosis.status, status_class: Number(outcome.diagnosis.status[0]) }),
    handed: hosts.handed,
  };

  /** The middle of pipeline.ts. */
  async function attempt(): Promise<Outcome> {
    const { signal } = new AbortController();
    const routed = await router.findRoute(destination ?? '', signal);
    const only = (outcomes: ReadonlyMap<number, Outcome>): Outcome => {
      const one = outcomes.get(0);
      assert.ok(one);
      return one;
    };
    if (routed.kind === 'failed') return only(concludeWithoutSession(routed.failure, [0]));
    const decided = await tlsPolicy(routed.route, signal);
    if (decided.kind === 'undecided') return only(concludeWithoutSession(decided.failure, [0]));
    const consignment = {
      envelope: sampleEnvelope({ recipients: [{ address: input.recipient }] }),
      sizeBytes: 10,
      recipients: [0],
      openBody: async () => Readable.from([]),
    };
    const steps = {
      requirementFor: decided.requirementFor,
      addressesOf: async ({ address = '192.0.2.1' }) =>
        ({ kind: 'addresses', addresses: [address] }) as const,
      runSession: async (plan: SessionPlan) => hosts.session(plan),
      triesNextHost: (one: Parameters<typeof classify>[0]) => classify(one).tryNextHost,
      onResult: () => {},
    };
    return only(conclude(await deliver(routed.route, consignment, { steps, signal }), [0]));
  }

  function isOver(): boolean {
    const lifetime = input.queue_lifetime * 1000;
    const settings = {
      schedule: [60_000],
      lifetime,
      bounceLifetime: lifetime,
      classes: {},
      domains: [],
    };
    const asked = { destination: destination ?? '', receivedAtMs: input.queued_at * 1000 };
    const facts = { nullReversePath: false, attempts: 1, causeClass: 'tlsPolicy' } as const;
    return nextAttempt(settings, { ...asked, ...facts, nowMs: clock.now() }) === 'expired';
  }
}

/** Only the keys that the vector expects; `never` is about everything that was handed over. */
function compare(answer: Readonly<Record<string, unknown>>, expect: Vector['expect']): void {
  for (const [key, value] of Object.entries(expect)) {
    if (key === 'report') continue;
    if (key === 'never') {
      for (const { tls } of answer['handed'] as Handed[]) {
        assert.ok(!(value as string[]).includes(tls), `never ${tls}`);
      }
      continue;
    }
    assert.deepEqual(answer[key], value, key);
  }
}

const url = new URL('../fixtures/vectors/sts-flow.json', import.meta.url);
const vectors: readonly Vector[] = JSON.parse(readFileSync(url, 'utf8'));

describe('sts-flow.json', () => {
  test('what is left out is there', () => {
    for (const id of Object.keys(LEFT_OUT))
      assert.ok(
        vectors.some((one) => one.id === id),
        id,
      );
  });
  for (const { id, rule, note, input, expect, alt } of vectors) {
    if (id in LEFT_OUT) continue;
    test(`${id} ${rule} ${note ?? ''}`, async () => {
      const accepted = id in CHOSEN ? alt?.[0] : expect;
      assert.ok(accepted);
      compare(await run(input), accepted);
    });
  }
});
