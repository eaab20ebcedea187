/**
 * Findings about a policy that is announced and cannot be fetched (RFC 8461 §3.3): the step at
 * which it failed, and what to mend there. Pure.
 */
import { MAX_POLICY_OCTETS } from '../protocol/mta-sts/policy.ts';
import { certificateAdvice } from './findings-certificate.ts';
import type { DomainFacts, Finding, PolicyHostLook } from './types.ts';

type Trouble = NonNullable<PolicyHostLook['trouble']>;
type Said = Pick<Finding, 'code' | 'text' | 'fix' | 'rfc'>;

const CONSEQUENCE =
  'Senders that have an older policy keep it until it expires; to all others the domain has none.';

/** Of a policy whose fetch failed; nothing otherwise. */
export function policyHostFindings({ policy }: DomainFacts): readonly Finding[] {
  if (policy.kind !== 'failed') return [];
  const { host, detail, look } = policy;
  const { text, ...said } = look.trouble
    ? explain(host, look.trouble, look)
    : {
        code: 'policy-fetch-failed',
        text: `The policy could not be fetched: ${detail}. A second look found nothing wrong.`,
        fix: 'Run the check again; when it fails now and then, see that every address of the policy host answers.',
      };
  const finding = { severity: 'error', subject: host, rfc: 'RFC 8461 §3.3' } as const;
  return [{ ...finding, ...said, text: `${text} ${CONSEQUENCE}` }];
}

function explain(host: string, trouble: Trouble, look: PolicyHostLook): Said {
  const { detail } = trouble;
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
      return explainPolicy(trouble);
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

function explainPolicy({ reason, detail, line }: Extract<Trouble, { at: 'policy' }>): Said {
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
    default: {
      // The parser's detail says the line already where the line itself is malformed.
      const at = line === undefined || detail.startsWith('line ') ? '' : ` (line ${line})`;
      return {
        code: 'policy-malformed',
        text: `The policy is not valid: ${detail}${at}.`,
        fix: 'Write "version: STSv1", "mode: …", one "mx: …" for each MX host and "max_age: …", each on a line of its own, no empty line and nothing else.',
        rfc,
      };
    }
  }
}
