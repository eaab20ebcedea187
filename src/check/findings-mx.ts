/**
 * Findings about where the domain's mail goes, before anybody is connected to: MX records, names
 * and addresses (RFC 5321 §5.1, RFC 7505). Pure.
 */
import { plainErrors } from '../mail/system-errors.ts';
import { mxHostName } from '../protocol/domain.ts';
import { quoted } from '../protocol/quote.ts';
import { someOf } from './text.ts';
import type { DomainFacts, Finding, HostFacts } from './types.ts';

/** About the MX records themselves. */
export function mxFindings(facts: DomainFacts): readonly Finding[] {
  const { domain: subject, mx, route } = facts;
  if (!route.found) return [unroutable(facts)];
  const findings: Finding[] = [];
  if (route.kind === 'implicit-mx') {
    findings.push({
      severity: 'warning',
      code: 'mx-implicit',
      subject,
      text: 'There is no MX record: mail goes to the address of the domain itself.',
      fix: 'Publish an MX record, or "MX 0 ." if the domain takes no mail.',
      rfc: 'RFC 5321 §5.1',
    });
  }
  if (mx.kind !== 'found') return findings;
  const names = mx.records.map(({ exchange }) => exchange);
  if (names.includes('')) {
    findings.push({
      severity: 'warning',
      code: 'null-mx-not-alone',
      subject,
      text: 'A null MX ("MX 0 .") stands beside other MX records, which contradicts them.',
      fix: 'Take out the null MX, or the others.',
      rfc: 'RFC 7505 §3',
    });
  }
  const impossible = names.filter((name) => name !== '' && mxHostName(name) === undefined);
  if (impossible.length > 0) {
    findings.push({
      severity: 'warning',
      code: 'mx-not-a-host',
      subject,
      text: `${someOf(impossible.map(quoted))} in the MX records is no host name: an address, perhaps.`,
      fix: 'An MX record names a host that has A or AAAA records.',
      rfc: 'RFC 5321 §5.1',
    });
  }
  return findings;
}

/** Why there is no host to try. */
function unroutable({ domain: subject, route, configured }: DomainFacts): Finding {
  const failure = route.found ? undefined : route.failure;
  const found = { subject, rfc: 'RFC 5321 §5.1' };
  switch (failure?.cause) {
    case 'null-mx':
      return {
        subject,
        severity: 'info',
        code: 'null-mx',
        text: 'The domain says that it takes no mail (null MX).',
        rfc: 'RFC 7505 §3',
      };
    case 'domain-not-found':
      return {
        ...found,
        severity: 'error',
        code: 'domain-not-found',
        text: `The domain does not exist${asked(configured.resolvers)}.`,
        fix: 'Check the spelling; a new domain has to be registered and delegated first.',
      };
    case 'dns-failed':
      return {
        ...found,
        severity: 'error',
        code: 'mx-lookup-failed',
        text: `${plainErrors(failure.detail)}. Senders keep the mail and try again.`,
        fix: 'See that every name server of the domain answers MX queries: SERVFAIL is mostly a broken DNSSEC chain or delegation.',
      };
    default:
      return {
        ...found,
        severity: 'error',
        code: failure?.cause ?? 'mx-unusable',
        text: `${failure?.detail ?? 'there is no host to deliver to'}.`,
        fix: 'Publish MX records that name hosts with addresses.',
      };
  }
}

function asked(resolvers: readonly string[]): string {
  return resolvers.length === 0 ? '' : ` (asked: ${someOf(resolvers)})`;
}

/** About the names and addresses of the hosts. `isReached`: some host takes the mail. */
export function hostNameFindings(facts: DomainFacts, isReached: boolean): readonly Finding[] {
  return facts.hosts.flatMap((host) => [...aliasOf(host), ...addressFindings(host, isReached)]);
}

function aliasOf({ host: subject, aliasOf: target }: HostFacts): readonly Finding[] {
  if (target === undefined) return [];
  return [
    {
      severity: 'warning',
      code: 'mx-is-alias',
      subject,
      text: `The MX host is an alias (CNAME) of ${target}. Its certificate and the policy are held against ${subject}.`,
      fix: 'Name the host itself in the MX record.',
      rfc: 'RFC 2181 §10.3',
    },
  ];
}

function addressFindings(host: HostFacts, isReached: boolean): readonly Finding[] {
  const { host: subject, failure, refusedAddresses, foundAddresses } = host;
  const severity = isReached ? 'warning' : 'error';
  if (refusedAddresses.length > 0) {
    return [
      {
        severity: foundAddresses.length > 0 ? 'warning' : severity,
        code: 'mx-private-address',
        subject,
        text: `Addresses nobody outside can reach: ${someOf(refusedAddresses)}.`,
        fix: 'Publish public addresses; inside a network of your own, allow these with outbound.allowPrivateAddresses.',
        rfc: 'RFC 5321 §5.1',
      },
    ];
  }
  if (failure?.kind !== 'local') return [];
  if (failure.cause === 'dns-failed') {
    return [
      {
        severity,
        code: 'mx-address-lookup-failed',
        subject,
        text: `${plainErrors(failure.detail)}.`,
        fix: 'See that every name server answers A and AAAA queries for this name.',
        rfc: 'RFC 5321 §5.1',
      },
    ];
  }
  if (failure.cause !== 'no-usable-mx') return [];
  return [
    {
      severity,
      code: 'mx-no-address',
      subject,
      text: 'The MX host has no address.',
      fix: 'Publish A and AAAA records for it, or take it out of the MX records.',
      rfc: 'RFC 5321 §5.1',
    },
  ];
}
