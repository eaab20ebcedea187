/**
 * Findings about a policy that is announced and cannot be fetched (RFC 8461 §3.3): the step at
 * which it failed, and what to mend there. Pure.
 */
import { plainErrors } from '../mail/system-errors.ts';
import { MAX_POLICY_OCTETS } from '../protocol/mta-sts/policy.ts';
import { certificateAdvice } from './findings-certificate.ts';
import { mxNames } from './findings-policy.ts';
import { syntaxAdvice } from './findings-policy-syntax.ts';
import type { DomainFacts, Finding, PolicyHostLook } from './types.ts';

type Trouble = NonNullable<PolicyHostLook['trouble']>;
type Said = Pick<Finding, 'code' | 'text' | 'fix' | 'rfc'>;

const CONSEQUENCE =
  'Senders that have an older policy keep it until it expires; to all others the domain has none.';

/** Of a policy whose fetch failed; nothing otherwise. */
export function policyHostFindings(facts: DomainFacts): readonly Finding[] {
  const { policy } = facts;
  if (policy.kind !== 'failed') return [];
  const { host, detail, look } = policy;
  const { text, ...said } = look.trouble
    ? explain(host, look.trouble, { look, hosts: mxNames(facts) })
    : {
        code: 'policy-fetch-failed',
        text: `The policy could not be fetched: ${plainErrors(detail)}. A second look found nothing wrong.`,
        fix: 'Run the check again; when it fails now and then, see that every address of the policy host answers.',
      };
  const finding = { severity: 'error', subject: host, rfc: 'RFC 8461 §3.3' } as const;
  return [{ ...finding, ...said, text: `${text} ${CONSEQUENCE}` }];
}

function explain(
  host: string,
  trouble: Trouble,
  { look, hosts }: { readonly look: PolicyHostLook; readonly hosts: readonly string[] },
): Said {
  const detail = plainErrors(trouble.detail);
  switch (trouble.at) {
    case 'dns':
      return {
        code: 'policy-host-dns-failed',
        text: `The address lookup failed: ${detail}.`,
        fix: 'See that every name server answers A and AAAA queries for this name.',
      };
    case 'no-address':
      return {
        code: 'policy-host-no-address',
        text: 'The policy host has no address.',
        fix: `Publish A and AAAA records (or a CNAME) for ${host}, or take the MTA-STS TXT record away.`,
      };
    case 'address':
      return {
        code: 'policy-host-private-address',
        text: `The policy host has no public address: ${detail}.`,
        fix: `Publish the public addresses of ${host}; inside a network of your own, allow them with outbound.allowPrivateAddresses.`,
      };
    case 'connect':
      return {
        code: 'policy-host-unreachable',
        text: `No connection to the policy host: ${detail}.`,
        fix: 'Have a web server listen on port 443 of every address, and let the firewall pass it.',
      };
    case 'handshake':
      return {
        code: 'policy-host-tls-failed',
        text: `The policy host completes no TLS handshake: ${detail}.`,
        fix: `Offer TLS 1.2 or 1.3, and answer to the server name ${host}: many servers refuse names they have no site for.`,
      };
    case 'certificate':
      return {
        code: `policy-host-${trouble.cause}`,
        ...(certificateAdvice(trouble.cause, host, look.certificate) ?? { text: `${detail}.` }),
      };
    case 'http':
      return {
        code: 'policy-host-bad-response',
        text: `The policy host gives no proper HTTP response: ${detail}.`,
        fix: 'See what the web server answers to GET /.well-known/mta-sts.txt.',
      };
    case 'status':
      return explainStatus(host, trouble.status);
    case 'policy':
      return explainPolicy(trouble, hosts);
  }
}

function explainStatus(host: string, status: number): Said {
  const where = `https://${host}/.well-known/mta-sts.txt`;
  if (status >= 300 && status < 400) {
    return {
      code: 'policy-host-redirect',
      text: `The policy host answers ${status}, a redirect, which senders do not follow.`,
      fix: `Serve the policy at ${where} itself, with status 200.`,
    };
  }
  return {
    code: 'policy-host-status',
    text: `The policy host answers with status ${status}.`,
    fix: `Serve the policy at ${where} with status 200, to clients without cookies and of any kind.`,
  };
}

function explainPolicy(
  trouble: Extract<Trouble, { at: 'policy' }>,
  hosts: readonly string[],
): Said {
  const { reason, detail } = trouble;
  const rfc = 'RFC 8461 §3.2';
  switch (reason) {
    case 'content-type':
      return {
        code: 'policy-media-type',
        text: `The policy is served with ${detail}.`,
        fix: 'Serve it with "Content-Type: text/plain".',
        rfc,
      };
    case 'too-large':
      return {
        code: 'policy-too-large',
        text: `The policy is too large: ${detail}.`,
        fix: `Keep it under ${MAX_POLICY_OCTETS} octets: list a wildcard in place of hundreds of hosts.`,
      };
    default:
      return { code: 'policy-malformed', ...syntaxAdvice(trouble, hosts), rfc };
  }
}
