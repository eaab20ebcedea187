/**
 * Findings about a policy that could be fetched (RFC 8461 §3.2): what it demands, for how long, and
 * whether the MX hosts are the ones it lists. Pure.
 */
import { plainErrors } from '../mail/system-errors.ts';
import { isListedMx, matchesMxPattern } from '../protocol/mta-sts/match.ts';
import { MAX_MAX_AGE_SECONDS } from '../protocol/mta-sts/policy.ts';
import { quoted } from '../protocol/quote.ts';
import { certificateExpiry } from './findings-certificate.ts';
import { inWords, someOf } from './text.ts';
import type { DomainFacts, Finding, PolicyTerms } from './types.ts';

const DAY_SECONDS = 86_400;
const WEEKS =
  'Senders are blind to changes for that long and safe for that long: weeks are usual, and the id announces changes at once.';

const TO_ENFORCE =
  'When the TLS reports show no failures, change the mode to enforce and publish a new id in the TXT record.';
const TO_TESTING =
  'To use MTA-STS, change the mode to testing and publish a new id in the TXT record; enforce comes later, when the TLS reports show no failures.';

/** Of a fetched policy; nothing otherwise. */
export function policyFindings(facts: DomainFacts): readonly Finding[] {
  const { policy } = facts;
  if (policy.kind !== 'fetched') return [];
  const { host: subject, policy: terms, look } = policy;
  return [
    {
      severity: 'ok',
      code: 'sts-policy',
      subject,
      text: `mode ${terms.mode}, ${terms.mx.length} mx, max_age ${inWords(terms.maxAgeSeconds)}`,
      rfc: 'RFC 8461 §3.2',
    },
    ...modeFindings(subject, terms),
    ...maxAgeFindings(subject, terms),
    ...patternFindings(subject, terms, mxNames(facts)),
    ...certificateExpiry(look.certificate, facts.checkedAtMs).map((finding) => ({
      ...finding,
      subject,
      rfc: 'RFC 8461 §3.3',
    })),
    ...lookFindings(subject, look.trouble?.detail),
  ];
}

function modeFindings(subject: string, { mode }: PolicyTerms): readonly Finding[] {
  if (mode === 'enforce') return [];
  const testing = mode === 'testing';
  return [
    {
      severity: 'info',
      code: testing ? 'sts-mode-testing' : 'sts-mode-none',
      subject,
      text: testing
        ? 'Mode testing: failures are reported, mail is delivered all the same. There is no protection yet.'
        : 'Mode none: senders treat the domain as one without a policy.',
      fix: testing ? TO_ENFORCE : TO_TESTING,
      rfc: 'RFC 8461 §5',
    },
  ];
}

function maxAgeFindings(
  subject: string,
  { maxAgeSeconds, lines }: PolicyTerms,
): readonly Finding[] {
  // The parser has cut it to the maximum; the text still has it as it was meant.
  const line = lines.find((one) => one.startsWith('max_age:'));
  const published = Number(line?.slice('max_age:'.length).trim() ?? maxAgeSeconds);
  const found = { subject, rfc: 'RFC 8461 §3.2' };
  if (published > MAX_MAX_AGE_SECONDS) {
    return [
      {
        ...found,
        severity: 'warning',
        code: 'sts-max-age-long',
        text: `max_age ${published} is over the maximum: this relay counts it as ${MAX_MAX_AGE_SECONDS}, others refuse the policy.`,
        fix: `Set max_age to ${MAX_MAX_AGE_SECONDS} or less.`,
      },
    ];
  }
  if (published >= DAY_SECONDS) return [];
  const atOnce = published === 0;
  return [
    {
      ...found,
      severity: atOnce ? 'error' : 'warning',
      code: 'sts-max-age-short',
      text: atOnce
        ? 'max_age 0: the policy is over the moment it is fetched and never applied.'
        : `max_age ${published} (${inWords(published)}): whoever can disturb DNS for longer takes the protection away.`,
      fix: `Set max_age to some weeks, e.g. ${14 * DAY_SECONDS}. ${WEEKS}`,
    },
  ];
}

function patternFindings(
  subject: string,
  { mode, mx: patterns }: PolicyTerms,
  hosts: readonly string[],
): readonly Finding[] {
  if (mode === 'none' || hosts.length === 0) return [];
  const rfc = 'RFC 8461 §4.1';
  const outside = hosts.filter((host) => !isListedMx({ mx: patterns }, host));
  const stale = patterns.filter((one) => !hosts.some((host) => matchesMxPattern(one, host)));
  const wildcards = patterns.filter((one) => one.startsWith('*.'));
  const noneListed = outside.length === hosts.length;
  const findings: Finding[] = noneListed
    ? [noHostListed(subject, { mode, patterns, hosts })]
    : outside.map((host) => ({
        severity: mode === 'enforce' ? 'error' : 'warning',
        code: 'mx-outside-policy',
        subject: host,
        text: `The policy does not list this MX host (it lists ${someOf(patterns)}): senders ${mode === 'enforce' ? 'refuse to deliver to it' : 'will refuse to deliver to it under mode enforce'}.`,
        fix: `Add "mx: ${host}" to the policy and publish a new id, or take the host out of the MX records. A "*." stands for exactly one label.`,
        rfc,
      }));
  if (stale.length > 0 && !noneListed) {
    findings.push({
      severity: 'warning',
      code: 'sts-pattern-stale',
      subject,
      text: `No MX host matches ${someOf(stale.map(quoted))}.`,
      fix: 'Take out what is no longer used: whoever gets hold of such a name passes for an MX host of the domain.',
      rfc,
    });
  }
  if (wildcards.length > 0 && !noneListed) {
    findings.push({
      severity: 'info',
      code: 'sts-pattern-wildcard',
      subject,
      text: `${someOf(wildcards.map(quoted))}: any host one label below may take the mail, if DNS says so and it has a certificate.`,
      fix: 'Where the hosts are few and known, list them by name.',
      rfc,
    });
  }
  return findings;
}

/** One mistake in the policy, not one for each host: mostly a name that is written wrongly. */
function noHostListed(
  subject: string,
  about: {
    readonly mode: PolicyTerms['mode'];
    readonly patterns: readonly string[];
    readonly hosts: readonly string[];
  },
): Finding {
  const { mode, patterns, hosts } = about;
  const [[pattern], [host]] = [patterns, hosts];
  const right = someOf(hosts.map((one) => `"mx: ${one}"`));
  const isPair = patterns.length === 1 && hosts.length === 1;
  const correction = isPair
    ? `Probably "mx: ${pattern}" should read "mx: ${host}": correct it`
    : `Probably the mx lines should read ${right}: correct them`;
  const star = patterns.some((one) => one.startsWith('*.'))
    ? ' A "*." stands for exactly one label.'
    : '';
  const enforced = mode === 'enforce';
  return {
    severity: enforced ? 'error' : 'warning',
    code: 'mx-outside-policy',
    subject,
    text: `The policy names none of the MX hosts (${someOf(hosts)}), it lists ${someOf(patterns)}: senders ${enforced ? 'refuse' : 'will refuse under mode enforce'} to deliver to the domain.`,
    fix: `${correction} and publish a new id in the TXT record.${star}`,
    rfc: 'RFC 8461 §4.1',
  };
}

/** The hosts of the MX records, all of them; the domain itself where there is none. */
export function mxNames({ mx, hosts }: DomainFacts): readonly string[] {
  if (mx.kind !== 'found') return hosts.map(({ host }) => host);
  const names = mx.records.map(({ exchange }) => exchange.toLowerCase());
  return [...new Set(names)].filter((name) => name !== '');
}

/** It was fetched, yet failed when looked at once more: it works now and then. */
function lookFindings(subject: string, detail: string | undefined): readonly Finding[] {
  if (detail === undefined) return [];
  return [
    {
      severity: 'warning',
      code: 'policy-host-unsteady',
      subject,
      text: `The policy was fetched, but a second look at the policy host failed: ${plainErrors(detail)}.`,
      fix: 'See that every address of the policy host answers, each time.',
      rfc: 'RFC 8461 §3.3',
    },
  ];
}
