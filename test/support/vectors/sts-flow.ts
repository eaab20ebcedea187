/**
 * Vectors `sts-flow`: one delivery attempt, as pipeline.ts makes it, from the route to what is
 * recorded. Played are DNS, the HTTPS client's results and the clock; SMTP sessions are real, with
 * hosts on loopback: what a host was given is what that host saw.
 */
import { hash } from 'node:crypto';
import { isIP, isIPv6 } from 'node:net';
import type { Destination } from '../../../src/mail/route.ts';
import type { SessionResult } from '../../../src/mail/session-result.ts';
import { sessionResultType } from '../../../src/mail/session-result-type.ts';
import { destinationOf } from '../../../src/outbound.ts';
import { attemptDelivery } from '../../../src/pipeline.ts';
import { policyInForce } from '../../../src/policy/sts-entry.ts';
import { type DomainName, parseDomain } from '../../../src/protocol/domain.ts';
import { countSession } from '../../../src/reporting/counted.ts';
import { FakeClock } from '../fake-clock.ts';
import { DEFAULT_KEYWORDS } from '../mx-script.ts';
import { tempDir } from '../temp-dir.ts';
import { difference, differences, inOneLine, isObject, plainHost, plainHosts } from './compare.ts';
import { FlowDns } from './flow-dns.ts';
import { type HttpsInput, type PublishedPolicy, policyHost, policyOf } from './flow-policy-host.ts';
import { type FlowStages, flowStages } from './flow-stages.ts';
import { intakeEnvelope } from './intake-envelope.ts';
import { LoopbackMxHosts, paramsOf } from './loopback-mx.ts';
import type { TxtAnswer } from './txt-resolver.ts';
import { NotSupported, onlyKeys, type VectorKind } from './vector.ts';

interface Cached {
  readonly id: string;
  /** Seconds since the epoch, as all times here. */
  readonly fetched_at: number;
  readonly policy: PublishedPolicy;
}
interface Mx {
  readonly host: string;
  readonly pref: number;
  readonly tls: string;
  /** `match`, `mismatch` or `tlsa-servfail`: DNSSEC vouches for the host, and what of its TLSA records. */
  readonly dane?: string;
  /** EHLO keywords besides the usual ones. */
  readonly ehlo?: readonly string[];
  /** The reply to RCPT. */
  readonly smtp?: string;
}
interface Input {
  readonly now: number;
  readonly recipient: string;
  readonly queued_at: number;
  readonly queue_lifetime: number;
  /** Of the recipient domain; `caches` has those of others. */
  readonly cache?: Cached | null;
  readonly caches?: Readonly<Record<string, Cached | null>>;
  readonly https: HttpsInput;
  readonly txt: TxtAnswer;
  /** Where the TXT record stands, if not at the policy domain. */
  readonly txt_name?: string;
  readonly last_fetch_failure?: { readonly id: string; readonly ago: number };
  readonly mx: readonly Mx[];
  readonly self?: readonly string[];
  readonly route?: { readonly next_hop: string; readonly use_mx?: boolean };
  readonly cname_at_domain?: readonly string[];
  readonly requiretls?: boolean;
  readonly tls_required_no?: boolean;
  /** The message is a TLS report of our own. */
  readonly tlsrpt_mail?: boolean;
}

function checkKeys(input: Input): void {
  onlyKeys('input', input, [
    ...['now', 'recipient', 'queued_at', 'queue_lifetime', 'cache', 'caches', 'https', 'txt'],
    ...['txt_name', 'last_fetch_failure', 'mx', 'self', 'route', 'cname_at_domain'],
    ...['requiretls', 'tls_required_no', 'tlsrpt_mail'],
  ]);
  onlyKeys('txt', input.txt, ['rcode', 'txt', 'cname']);
  onlyKeys('last_fetch_failure', input.last_fetch_failure ?? {}, ['id', 'ago']);
  onlyKeys('route', input.route ?? {}, ['next_hop', 'use_mx']);
  for (const mx of input.mx) onlyKeys('mx', mx, ['host', 'pref', 'tls', 'dane', 'ehlo', 'smtp']);
  for (const cached of [input.cache, ...Object.values(input.caches ?? {})]) {
    onlyKeys('cache', cached ?? {}, ['id', 'fetched_at', 'policy']);
  }
}

export const stsFlow: VectorKind = {
  async answer(input: Input) {
    checkKeys(input);
    const destination = destinationOf(input.recipient);
    if (destination === undefined) throw new Error(`${input.recipient} is no mailbox`);
    const policyDomain = parseDomain(input.route?.next_hop ?? destination);
    using dir = tempDir();
    await using hosts = await LoopbackMxHosts.start(input.mx.map(specOf));
    const clock = new FakeClock(input.now * 1000);
    const dns = new FlowDns({
      txt: input.txt,
      txtName: input.txt_name ?? `_mta-sts.${policyDomain}`,
      mxOwner: input.route ? (policyDomain ?? '') : destination,
      mx: input.mx,
      cname: input.cname_at_domain ?? [],
      tlsa: (host) => tlsaOf(input, host, hosts),
    });
    let httpsGets = 0;
    const taken = intakeEnvelope({
      from: 'ann@sender.example',
      parameters: [
        ...(/[^\0-\x7f]/.test(input.recipient) ? ['SMTPUTF8'] : []),
        ...(input.requiretls ? ['REQUIRETLS'] : []),
      ],
      recipients: [{ to: input.recipient, parameters: [] }],
    });
    const envelope = {
      ...taken,
      receivedAtMs: input.queued_at * 1000,
      ...(input.tls_required_no ? { tlsRequiredNo: true as const } : {}),
      // As reporting/queue-report.ts marks it.
      ...(input.tlsrpt_mail ? { tlsRequiredNo: true as const, tlsReport: true as const } : {}),
    };
    const flow = await flowStages({
      directory: dir.path,
      clock,
      resolver: dns,
      get: policyHost(input.https, () => {
        httpsGets += 1;
      }),
      runSession: (...session) => hosts.runSession(...session),
      routing: routingOf(input, destination),
      envelope,
      lifetimeMs: input.queue_lifetime * 1000,
    });
    await fillStore(input, { store: flow.store, destination, policyDomain });
    const delivery = { id: envelope.id, destination, nextAttemptMs: clock.now() };
    await attemptDelivery(delivery, flow.stages, new AbortController().signal);
    const entry = policyDomain && (await flow.store.get(policyDomain));
    const inForce = policyInForce(entry, clock.now());
    return {
      ...fateOf(flow),
      ...handedOver(hosts, flow.sessions),
      https_get: httpsGets > 0,
      txt_query: dns.txtLookups.length > 0,
      txt_checked: dns.txtLookups.some(({ answered }) => answered),
      cache_id: inForce?.id ?? null,
      cache_mode: inForce?.policy.mode ?? null,
      report: reportedTypes(flow, input.tlsrpt_mail === true),
    };
  },
  differences: flowDifferences,
};

/** The TLSA records of a host; undefined where DNSSEC says nothing of it. */
function tlsaOf({ mx }: Input, host: string, hosts: LoopbackMxHosts) {
  const word = mx.find((one) => plainHost(one.host) === plainHost(host))?.dane;
  if (word === undefined) return undefined;
  if (/^tlsa-(servfail|bogus|timeout)$/.test(word)) return 'failed';
  if (word !== 'match' && word !== 'mismatch') throw new NotSupported(`dane ${word}`);
  const key = word === 'match' ? hosts.publicKeyOf(host) : Buffer.from('of another host');
  if (!key) throw new NotSupported(`dane ${word} of a host without a certificate`);
  return hash('sha256', key, 'buffer');
}

function specOf({ host, tls, ehlo, smtp }: Mx) {
  return {
    name: host,
    tls,
    ...(ehlo ? { keywords: [...DEFAULT_KEYWORDS, ...ehlo] } : {}),
    ...(smtp === undefined ? {} : { rcptReply: smtp.length > 3 ? smtp : `${smtp} as told` }),
  };
}

function routingOf({ self = [], route }: Input, destination: Destination) {
  const hop = route && (isIPv6(route.next_hop) ? `[${route.next_hop}]` : route.next_hop);
  return {
    ownNames: self.filter((name) => isIP(name) === 0),
    ownAddresses: self.filter((name) => isIP(name) !== 0),
    routes: route
      ? [{ domain: destination, nextHop: route.use_mx ? `mx:${hop}` : `${hop}:25` }]
      : [],
  };
}

async function fillStore(
  { cache, caches, last_fetch_failure: failure, now }: Input,
  {
    store,
    destination,
    policyDomain,
  }: {
    store: FlowStages['store'];
    destination: Destination;
    policyDomain: DomainName | undefined;
  },
): Promise<void> {
  for (const [name, cached] of Object.entries({ [destination]: cache, ...caches })) {
    const domain = parseDomain(name);
    if (!cached || !domain) continue;
    const fetchedAtMs = cached.fetched_at * 1000;
    const kept = { id: cached.id, policy: policyOf(cached.policy), fetchedAtMs };
    await store.keepPolicy(domain, { ...kept, source: 'fetch' });
  }
  if (!failure || !policyDomain) return;
  await store.noteFailedFetch(policyDomain, {
    id: failure.id,
    atMs: (now - failure.ago) * 1000,
    reason: 'the vector says so',
    resultType: 'sts-policy-fetch-error',
  });
}

/** What was recorded about the recipient. */
function fateOf({ records }: FlowStages) {
  const [record] = records;
  if (!record || records.length > 1) throw new Error(`${records.length} records of one attempt`);
  if (record.delivered.length > 0) return { result: 'delivered' };
  const [bounced] = record.bounced;
  const status = (bounced ?? record.deferred[0])?.failure.status ?? '';
  const result = bounced ? 'bounced' : 'deferred';
  return { result, status, status_class: Number(status[0]) };
}

/** What the hosts saw: the accepted message, and the TLS of every transaction begun (`never`). */
function handedOver(hosts: LoopbackMxHosts, results: readonly SessionResult[]) {
  const levelAt = (host: string, overTls: boolean) => {
    if (!overTls) return 'plaintext';
    const ours = results.findLast(({ facts }) => plainHost(nameOf(facts)) === plainHost(host));
    const verdict = ours?.facts.tls?.verdict;
    if (!verdict?.verified) return 'unauthenticated';
    return verdict.tlsa === undefined ? 'verified' : 'verified-dane';
  };
  const begun = hosts.hosts.flatMap(({ name, sessions }) =>
    sessions
      .flatMap(({ commands }) => commands)
      .filter(({ verb }) => verb === 'MAIL')
      .map(({ overTls }) => levelAt(name, overTls)),
  );
  const accepted = hosts.hosts.flatMap(({ name, messages }) =>
    messages.map((message) => ({ name, message })),
  );
  const [one] = accepted;
  if (!one) return { begun };
  if (accepted.length > 1) throw new Error('the message was accepted more than once');
  const { name, message } = one;
  const tls = levelAt(name, message.tls !== undefined);
  return { begun, via: name, tls, mail_params: paramsOf([message.mailFrom]) };
}

function nameOf({ candidate, address }: SessionResult['facts']): string {
  if (candidate.host !== undefined) return candidate.host;
  return isIPv6(address ?? '') ? `[IPv6:${address}]` : `[${address}]`;
}

/**
 * The result types that a report would have: of sessions, and of fetches unless the policy that
 * stays in force has mode none (RFC 8461 §6). A session of report mail has none (RFC 8460 §3).
 */
function reportedTypes(
  { policyEvents, sessions }: FlowStages,
  isReportMail: boolean,
): readonly string[] {
  const ofFetches = policyEvents.calls.entries.flatMap(({ args: [, facts] }) => {
    if (!isObject(facts) || facts['inForce'] === 'none') return [];
    return typeof facts['resultType'] === 'string' ? [facts['resultType']] : [];
  });
  const policy = { type: 'no-policy-found', domain: '', lines: [], mx: [] } as const;
  const ofSessions = sessions
    .filter((one) => !isReportMail || countSession(one, { domain: '', policy, isReportMail }))
    .map(sessionResultType)
    .filter((type) => type !== undefined && type !== 'successful' && type !== 'clear-text');
  return [...new Set([...ofFetches, ...ofSessions])];
}

/** Lists without order; `never` is about every transaction begun, `via_any` about `via`. */
function flowDifferences(answer: unknown, expected: unknown): readonly string[] {
  if (!isObject(answer) || !isObject(expected)) return differences(answer, expected);
  const { report, mail_params, never, via_any, ...plain } = expected;
  const found = [...differences(answer, plain)];
  for (const [key, wanted] of Object.entries({ report, mail_params })) {
    if (wanted !== undefined && inOneLine(sorted(answer[key])) !== inOneLine(sorted(wanted))) {
      found.push(difference(key, answer[key], wanted));
    }
  }
  const begun = listOf(answer['begun']);
  if (listOf(never).some((word) => begun.includes(word))) {
    found.push(difference('never', begun, never));
  }
  if (via_any !== undefined && !listOf(plainHosts(via_any)).includes(plainHosts(answer['via']))) {
    found.push(difference('via_any', answer['via'], via_any));
  }
  return found;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function sorted(value: unknown): readonly unknown[] | undefined {
  return Array.isArray(value) ? [...new Set(value)].sort() : undefined;
}
