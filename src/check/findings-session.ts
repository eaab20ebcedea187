/**
 * Findings about the sessions with the MX hosts: could they be reached, do they offer TLS, does
 * their certificate hold (RFC 8461 §4.2; RFC 7672 §3.1.2 under DANE). Pure. The code of a failure is its cause, as it stands
 * in the log.
 */
import type { Failure, LocalCause, LocalFailure, TlsFailureCause } from '../mail/failure.ts';
import { plainErrors } from '../mail/system-errors.ts';
import { certificateAdvice, certificateExpiry } from './findings-certificate.ts';
import { describeFailure } from './text.ts';
import type { AddressFacts, DomainFacts, Finding, HostFacts, Severity } from './types.ts';

type Said = Omit<Finding, 'subject'>;

/** Of every host that was connected to. `isReached`: some host takes the mail. */
export function sessionFindings(facts: DomainFacts, isReached: boolean): readonly Finding[] {
  const { policy } = facts;
  const mode = policy.kind === 'fetched' ? policy.policy.mode : undefined;
  return facts.hosts.flatMap((host) => {
    const said = host.addresses.map(
      (address) =>
        [
          address.address,
          [
            ...sessionFinding(host, address, { mode, isReached }),
            ...certificateExpiry(address.certificate, facts.checkedAtMs).map((finding) => ({
              ...finding,
              rfc: rfcOfCertificate('certificate-expired', host),
            })),
          ],
        ] as const,
    );
    return merged(host.host, said);
  });
}

interface Context {
  /** Of the policy. */
  readonly mode: 'enforce' | 'testing' | 'none' | undefined;
  readonly isReached: boolean;
}

function sessionFinding(host: HostFacts, address: AddressFacts, context: Context): readonly Said[] {
  const { failure, tls, clearTextBecause, mode } = address;
  if (failure) {
    const cause = failure.kind === 'local' ? tlsCause(failure.cause) : undefined;
    if (cause === undefined) return [unreached(failure, host.port, context)];
    return [tlsFinding(cause, describeFailure(failure), { host, address, severity: 'error' })];
  }
  const severity = context.mode === 'enforce' ? 'error' : 'warning';
  const doubt = tls ? tls.verdict : clearTextBecause;
  if (doubt && 'cause' in doubt) {
    const finding = tlsFinding(doubt.cause, plainErrors(doubt.detail), { host, address, severity });
    return [{ ...finding, text: `${finding.text} ${consequence(tls !== undefined, context)}` }];
  }
  if (!tls) return []; // in clear text, as an override wants it
  const { version, cipher } = tls;
  const ok = {
    severity: 'ok',
    code: 'mx-tls',
    text: `${version}, ${cipher}, certificate holds`,
  } as const;
  return mode === 'small-hello' ? [ok, SMALL_HELLO_ONLY] : [ok];
}

const SMALL_HELLO_ONLY: Said = {
  severity: 'warning',
  code: 'tls-small-hello-only',
  text: 'TLS works with a small ClientHello only; with a usual one, larger than one packet, the handshake fails.',
  fix: 'Update the firewall or load balancer in front: it has to put a ClientHello of several packets together.',
};

/** What it means today that this host's TLS is not what a policy would ask for. */
function consequence(isEncrypted: boolean, { mode }: Context): string {
  if (mode === 'enforce') return 'Senders that follow the policy refuse to deliver here.';
  const now = isEncrypted ? 'Mail comes over TLS all the same' : 'Mail comes in clear text';
  if (mode === 'testing') return `${now}; under mode enforce none would come.`;
  return `${now}, as no policy demands more.`;
}

function tlsCause(cause: LocalCause): TlsFailureCause | undefined {
  // The policy's findings name every host outside it.
  return cause in TLS_SAID && cause !== 'mx-outside-policy'
    ? (cause as TlsFailureCause)
    : undefined;
}

/** The words for causes that are not about the certificate; undefined where certificateAdvice has them. */
const TLS_SAID: Record<
  TlsFailureCause,
  { readonly text: string; readonly fix: string } | undefined
> = {
  'starttls-not-offered': {
    text: 'The host does not offer STARTTLS.',
    fix: 'Turn TLS on for incoming mail. When it is on, look for a firewall that takes STARTTLS out of the EHLO reply ("SMTP inspection").',
  },
  'starttls-refused': {
    text: 'The host offers STARTTLS and then refuses it.',
    fix: 'See in its log why: mostly it cannot read its certificate or key.',
  },
  'tls-handshake-failed': {
    text: 'The TLS handshake fails.',
    fix: 'See in the log of the host why; a cipher list that is too narrow or a certificate that cannot be read are the usual reasons.',
  },
  'tls-version-too-low': {
    text: 'The host does not speak TLS 1.2 or newer.',
    fix: 'Allow TLS 1.2 and 1.3.',
  },
  'clear-text-after-starttls': {
    text: 'The host agrees to STARTTLS and then goes on in clear text.',
    fix: 'Look for a firewall or proxy in front that answers STARTTLS itself ("SMTP inspection"); when there is none, somebody on the way puts in answers.',
  },
  'tlsa-mismatch': {
    text: 'The certificate is not one that the TLSA records (DANE) name.',
    fix: 'Publish a TLSA record for the new key two TTLs before it is used, and take the old one out after; or use the old key again until then.',
  },
  'dnssec-failed': {
    text: 'DNS gives no valid answer about the TLSA records (DANE), so senders who check must not use the host.',
    fix: 'See that every name server answers TLSA queries, if only with a signed "there is none", and that no signature has expired.',
  },
  'dane-required': {
    text: 'DANE is a must, and the host has no secure TLSA records that can be used.',
    fix: 'Sign the zones of the domain and of the host, and publish TLSA records of usage 3 or 2.',
  },
  'mx-outside-policy': undefined,
  'certificate-expired': undefined,
  'certificate-not-yet-valid': undefined,
  'certificate-self-signed': undefined,
  'certificate-untrusted': undefined,
  'certificate-host-mismatch': undefined,
  'certificate-missing': undefined,
  'certificate-invalid': undefined,
};

const RFC_OF: { readonly [Cause in TlsFailureCause]?: string } = {
  'tls-version-too-low': 'RFC 8461 §7.2',
  'tlsa-mismatch': 'RFC 7672 §3',
  'dnssec-failed': 'RFC 7672 §2.1.2',
  'dane-required': 'RFC 7672 §6',
};

/** Who wants the certificate to be otherwise: of a host that is authenticated by a trust anchor in DNS, DANE alone. */
function rfcOfCertificate(cause: TlsFailureCause, { requirement }: HostFacts): string {
  const source = requirement?.source;
  const isAnchored =
    source?.kind === 'dane' && source.usable.some((record) => record.startsWith('2 '));
  if (!isAnchored) return 'RFC 8461 §4.2';
  // Matching the chain and its dates; matching names.
  return cause === 'certificate-host-mismatch'
    ? 'RFC 7672 §3.2.2'
    : 'RFC 7672 §3.1.2, RFC 7671 §5.2';
}

function tlsFinding(
  cause: TlsFailureCause,
  detail: string,
  about: { host: HostFacts; address: AddressFacts; severity: Severity },
): Said {
  const { host, address, severity } = about;
  const advice = certificateAdvice(cause, host.host, address.certificate);
  if (advice) return { severity, code: cause, ...advice, rfc: rfcOfCertificate(cause, host) };
  const said = TLS_SAID[cause] ?? { text: 'TLS does not hold.', fix: 'See its log.' };
  const rfc = RFC_OF[cause] ?? 'RFC 3207 §4';
  // "STARTTLS is not offered (it was not offered)" would say nothing.
  const isPlain = cause === 'starttls-not-offered' && !detail.startsWith('EHLO');
  const text = isPlain ? said.text : `${said.text} (${detail})`;
  return { severity, code: cause, text, fix: said.fix, rfc };
}

/** No session, or one that ended for another reason than TLS. */
function unreached(failure: Failure, port: number, { isReached }: Context): Said {
  const found = { severity: isReached ? 'warning' : 'error', rfc: 'RFC 5321 §5.1' } as const;
  const text = `${describeFailure(failure)}.`;
  if (failure.kind === 'reply') {
    const fix =
      'See in its log why it refuses: this host stands on a block list with it, has no reverse DNS, or asks too often.';
    return { ...found, code: 'mx-refuses-session', text, fix };
  }
  return { ...found, code: failure.cause, ...(brokenOff(failure) ?? unconnected(text, port)) };
}

type Advice = Pick<Said, 'text' | 'fix'>;

/** Of a host that took the connection; undefined of one that did not. */
function brokenOff({ cause, detail }: LocalFailure): Advice | undefined {
  const stage = /\bat stage ([a-z-]+)/.exec(detail)?.[1];
  if (cause === 'timeout' && stage === 'greeting') {
    return {
      text: 'The host accepts the connection but sends no greeting.',
      fix: 'See in its log what it waits for, mostly a DNS or block list lookup that hangs; or whether a firewall in front accepts connections for a host that is away.',
    };
  }
  const text = `${plainErrors(detail)}.`;
  if (cause === 'timeout' && stage !== undefined) {
    return { text, fix: 'See in the log of the host what it waits for there.' };
  }
  if (cause === 'connection-lost' && stage === 'greeting') {
    return {
      text: 'The host accepts the connection and ends it without a greeting.',
      fix: 'See in its log why: it has no connection free, or does not want this client.',
    };
  }
  if (cause !== 'connection-lost' && cause !== 'protocol-error') return undefined;
  return { text, fix: 'See in the log of the host why it ends the session.' };
}

function unconnected(text: string, port: number): Advice {
  const fix = `Have the host listen on port ${port} of every address it publishes, and let the firewall pass it. From a network that blocks outgoing port ${port} every host looks like that.`;
  return { text, fix };
}

/** The same about several addresses of a host is said once. */
function merged(
  subject: string,
  said: readonly (readonly [address: string, findings: readonly Said[]])[],
): readonly Finding[] {
  const groups = new Map<string, { finding: Said; addresses: string[] }>();
  for (const [address, findings] of said) {
    for (const finding of findings) {
      const key = `${finding.code} ${finding.severity} ${finding.text.replaceAll(address, '')}`;
      const group = groups.get(key) ?? { finding, addresses: [] };
      group.addresses.push(address);
      groups.set(key, group);
    }
  }
  return [...groups.values()].map(({ finding, addresses }) => {
    const isAll = addresses.length === said.length;
    const text = isAll ? finding.text : `At ${addresses.join(', ')}: ${finding.text}`;
    return { ...finding, subject, text };
  });
}
