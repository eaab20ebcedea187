/**
 * What the policy commands show people: a row for the list, and a screen about one domain with
 * everything that is known and what its troubles mean. Pure; text of strangers is made printable.
 */
import type {
  LastFailure,
  PolicyFacts,
  PolicyListing,
  PolicyView,
  SuspicionView,
} from '../admin/policies.ts';
import type { DowngradeSignal } from '../mail/downgrade-signal.ts';
import { distance, formatSpan, moment, secondsFrom } from './span.ts';
import { printable } from './terminal.ts';

const NONE = '-';
const LABEL_WIDTH = 15;

export const LIST_HEADING = [
  'DOMAIN',
  'MODE',
  'ID',
  'AGE',
  'EXPIRES',
  'SOURCE',
  'SUSPICIOUS',
  'LAST FAILURE',
] as const;

/** The cells of one line of the list; each on one line, none empty. */
export function listRow({ domain, policy, suspicions, lastFailure }: PolicyListing, nowMs: number) {
  const facts = policy
    ? [
        policy.mode,
        policy.id,
        formatSpan(secondsFrom(policy.fetchedAt, nowMs)),
        policy.inForce ? distance(policy.expiresAt, nowMs) : 'expired',
        policy.source,
      ]
    : [NONE, NONE, NONE, NONE, NONE];
  const signals = suspicions.map(({ signal }) => signal).join(',') || NONE;
  const failure = lastFailure
    ? `${lastFailure.kind} ${distance(lastFailure.at, nowMs)}: ${lastFailure.reason}`
    : NONE;
  return [domain, ...facts, signals, failure];
}

/**
 * Everything about one domain. `graceMs`: for how long mail waits while DNS fails
 * (`dnsFailureGrace`); undefined where the configuration cannot be read.
 */
export function formatPolicy(view: PolicyView, nowMs: number, graceMs?: number): string {
  const { policy, nextRefreshAt, lastUsedAt, lastFailure, suspicions } = view;
  const rows: (readonly [string, readonly string[]])[] = [
    ['domain', [view.domain]],
    ...(policy
      ? policyRows(policy, nowMs)
      : [['policy', withoutPolicy(view, nowMs, graceMs)] as const]),
    ['next refresh', [nextRefresh(nextRefreshAt, nowMs)]],
    ...(policy || lastUsedAt !== undefined
      ? [['last used', [moment(lastUsedAt, nowMs, 'never by this relay')]] as const]
      : []),
    ['last failure', lastFailure ? failureLines(lastFailure, nowMs) : ['none']],
    ['suspicious', suspicions.length === 0 ? ['nothing'] : suspicionLines(suspicions, nowMs)],
  ];
  if (policy) {
    rows.push(['mx', policy.mx.length === 0 ? ['none'] : policy.mx]);
    rows.push(['policy text', policy.text.replace(/\r?\n$/, '').split(/\r?\n/)]);
  }
  return rows
    .flatMap(([label, lines]) =>
      lines.map((line, i) => (i === 0 ? label : '').padEnd(LABEL_WIDTH) + printable(line)),
    )
    .join('\n');
}

/** What becomes of mail to a domain that has troubles alone. */
function withoutPolicy(
  { lastFailure }: PolicyView,
  nowMs: number,
  graceMs: number | undefined,
): readonly string[] {
  const open = 'goes as if nothing were published';
  if (lastFailure?.kind !== 'dns' || graceMs === 0) return [`none is kept: mail ${open}`];
  const unknown = 'none is kept, and DNS does not say whether there is one:';
  if (lastFailure.since === undefined || graceMs === undefined) {
    return [unknown, `mail waits for dnsFailureGrace, then ${open}`];
  }
  const endMs = Date.parse(lastFailure.since) + graceMs;
  if (nowMs >= endMs) return [unknown, `mail has waited for dnsFailureGrace, and ${open}`];
  const end = new Date(endMs).toISOString();
  return [unknown, `mail waits until ${moment(end, nowMs)}, then ${open}`];
}

const MODES: Readonly<Record<string, string>> = {
  enforce: 'mail goes only to the hosts it lists, over TLS with a valid certificate',
  testing: 'troubles are noted, the mail goes all the same',
  none: 'the domain wants nothing enforced',
};
const SOURCES: Readonly<Record<string, string>> = {
  fetch: 'fetched when a message needed it',
  refresh: 'fetched by a refresh',
  shared: 'fetched by another relay on the same Redis',
};

function policyRows(policy: PolicyFacts, nowMs: number): (readonly [string, readonly [string]])[] {
  const { mode, id, inForce, source, maxAgeSeconds } = policy;
  const effect = inForce ? MODES[mode] : 'expired: as if nothing were published';
  const maxAge = `max_age ${maxAgeSeconds} s`;
  return [
    ['mode', [effect === undefined ? mode : `${mode} (${effect})`]],
    ['id', [id]],
    ['fetched', [moment(policy.fetchedAt, nowMs)]],
    ['expires', [`${moment(policy.expiresAt, nowMs)}, ${maxAge}`]],
    ['source', [SOURCES[source] === undefined ? source : `${source} (${SOURCES[source]})`]],
  ];
}

const FAILURES: Readonly<Record<LastFailure['kind'], string>> = {
  fetch: 'fetching the policy',
  refresh: 'refreshing the policy',
  dns: 'looking up the TXT record',
};

function failureLines(failure: LastFailure, nowMs: number): string[] {
  const { kind, at, since, count, id, resultType, reason } = failure;
  const type = resultType === undefined ? '' : ` (${resultType})`;
  return [
    `${FAILURES[kind] ?? kind}${id === undefined ? '' : ` for id ${id}`}, ${moment(at, nowMs)}`,
    `${reason}${type}`,
    ...(since === undefined ? [] : [spell(since, count, nowMs)]),
  ];
}

function spell(since: string, count: number | undefined, nowMs: number): string {
  const times = count === undefined ? '' : `${timesOf(count)} in a row, `;
  return `${times}the first ${moment(since, nowMs)}`;
}

/** What each sign can mean, and what to do about it. */
const SIGNS: Readonly<Record<DowngradeSignal, readonly [meaning: string, advice: string]>> = {
  'record-gone': [
    'The TXT record was gone or broken while the policy was still in force.',
    'Ask the domain whether it gave up MTA-STS; if not, look who answers your resolver.',
  ],
  'record-lookup-failed': [
    'The TXT record could not be looked up while the policy was still in force.',
    'Look it up from elsewhere: if that works, something near you blocks it.',
  ],
  'fetch-failed': [
    'The policy was due or had a new id, and could not be fetched; the one kept stays until it expires.',
    'Try `stsrelay policy refresh`; if it goes on, tell the domain before the policy expires.',
  ],
  'mx-outside-policy': [
    'DNS named an MX host that the policy did not list: its answer was forged, or the policy is old.',
    'Compare the MX records with the list below, and tell the domain if they are its own.',
  ],
  'starttls-gone': [
    'A host that had TLS did not offer STARTTLS any more, or no handshake succeeded.',
    'Connect to it from another network: if STARTTLS is there, something on the way strips it.',
  ],
  'clear-text-fallback': [
    'A host offered STARTTLS, no handshake succeeded, and mail went in clear text.',
    'Try `stsrelay check`, also from another network; an override (`tls: encrypt`) makes mail wait instead.',
  ],
  'starttls-injection': [
    'A host agreed to STARTTLS and went on in clear text: somebody put in an answer, or it is broken.',
    'Connect to it from another network: if TLS begins there, look for who is in between.',
  ],
  'certificate-invalid': [
    'A host whose certificate had been valid showed one that was not.',
    'Look at it from another network: if it differs, somebody is in between; else tell the domain.',
  ],
  'dns-failure': [
    'DNS kept failing with nothing known, and mail went as if nothing were published.',
    'Mend the resolver, then `stsrelay policy refresh`, so that its policy is known.',
  ],
};

const HISTORY: readonly string[] = [
  'This is history: it need not go on now. A sign is kept until the policy is forgotten',
  '(`stsrelay policy forget`).',
];

function suspicionLines(suspicions: readonly SuspicionView[], nowMs: number): string[] {
  const signs = suspicions.flatMap(({ signal, count, firstAt, lastAt, detail }) => [
    `${signal}, last seen ${moment(lastAt, nowMs)}: ${detail}`,
    ...(count > 1 ? [`  ${timesOf(count)}, the first ${moment(firstAt, nowMs)}`] : []),
    ...(SIGNS[signal] ?? []).map((sentence) => `  ${sentence}`),
  ]);
  return [...signs, ...HISTORY];
}

function timesOf(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

function nextRefresh(at: string | undefined, nowMs: number): string {
  return at !== undefined && secondsFrom(at, nowMs) >= 0 ? 'due now' : moment(at, nowMs, 'none');
}
