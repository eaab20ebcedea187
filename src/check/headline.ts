/**
 * The first line of a report: what would become of a message, and what speaks against it, in few
 * words. Pure; names in it are as strangers wrote them: whoever puts it on a terminal makes it printable.
 */
import type { Examination, Finding, Verdict } from './types.ts';

const OUTCOMES = {
  delivered: 'mail would be delivered',
  attempted: 'delivery would be attempted',
  deferred: 'mail would be deferred',
  bounced: 'mail would bounce',
} as const;

const HOWS = {
  'verified-tls': 'over verified TLS',
  'unauthenticated-tls': 'over TLS without proof of who receives it',
  'clear-text': 'in clear text',
  'tls-if-offered': 'over TLS where it is offered',
} as const;

/** Without the domain itself. */
export function headline({ verdict, ok, findings }: Examination): string {
  const { outcome, how, host } = verdict;
  const way = how === undefined ? '' : ` ${HOWS[how]}`;
  const head = `${OUTCOMES[outcome]}${way}`;
  if (outcome === 'bounced') return head;
  if (outcome === 'deferred') return `${head}${whereDeferred(verdict)}`;
  const via = host === undefined ? '' : `, ${host}`;
  return `${head}${via}${ok ? '' : `, but ${whatIsBroken(findings)}`}`;
}

/** In a few words what holds the mail up, and where. */
function whereDeferred({ cause, host }: Verdict): string {
  if (cause === 'policy-unknown') return ': it is not known whether there is a policy';
  if (cause === 'dns-failed') return ': DNS does not answer';
  if (host === undefined) return '';
  if (cause === 'mx-outside-policy') return `: the policy does not list ${host}`;
  if (cause !== undefined && UNREACHED.has(cause)) return `: no session with ${host}`;
  return `: refused at ${host}`;
}

const UNREACHED: ReadonlySet<string> = new Set([
  'connect-refused',
  'connect-unreachable',
  'timeout',
  'connection-lost',
  'protocol-error',
  'no-usable-mx',
  'address-refused',
]);

/** Mail gets there, and yet somebody has to mend something. */
function whatIsBroken(findings: readonly Finding[]): string {
  const errors = findings.filter(({ severity }) => severity === 'error');
  const isSts = errors.some(({ code }) => /^(?:sts-|policy-|mx-outside-policy$)/.test(code));
  const count = `${errors.length} error${errors.length === 1 ? '' : 's'}`;
  return isSts ? `its MTA-STS is broken: ${count}` : `with ${count}`;
}
