/**
 * How Postfix finds the sink: a relay host, one destination with a fixed TLS level; or as strangers'
 * mail goes: MX records from DNS, and the TLS level of each domain from postfix-mta-sts-resolver.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findCommand } from '../../support/tied-child.ts';
import type { Site } from './peer.ts';

const RESOLVER = 'mta-sts-daemon';

/** Why MTA-STS is out of reach. */
export function resolverMissing(): string | undefined {
  if (findCommand(RESOLVER) === undefined) {
    return 'its MTA-STS resolver is not installed: apt-get install postfix-mta-sts-resolver';
  }
  return findCommand('unshare') === undefined ? 'unshare is missing' : undefined;
}

/** Lines of main.cf. */
export function destinationSettings({ scenario, sinkPort, sparePort }: Site): string {
  if (scenario.domains === 1) {
    return `relayhost = [127.0.0.1]:${sinkPort}
smtp_dns_support_level = disabled
smtp_tls_security_level = ${scenario.tls ? 'secure' : 'none'}
smtp_tls_secure_cert_match = mx.test`;
  }
  return `smtp_tcp_port = ${sinkPort}
smtp_dns_support_level = enabled
smtp_tls_security_level = may
smtp_tls_policy_maps = socketmap:inet:127.0.0.1:${sparePort}:postfix
smtp_connection_cache_on_demand = no`;
}

/**
 * Start `postfix` beside the resolver. Both know DNS by /etc/resolv.conf only: they get one of
 * their own, in a mount namespace that ends with them.
 */
export function withResolver(site: Site, postfix: readonly string[]): readonly string[] {
  const { dir, outside, sparePort } = site;
  const file = (name: string, text: string) => {
    writeFileSync(join(dir, name), text, { mode: 0o644 });
    return join(dir, name);
  };
  const resolvConf = file('resolv.conf', `nameserver ${outside.dnsAddress}\n`);
  const config = file(
    'mta-sts-daemon.yml',
    `host: 127.0.0.1
port: ${sparePort}
reuse_port: true
cache: { type: internal, options: { cache_size: 10000 } }
default_zone: { strict_testing: false, timeout: 4 }
`,
  );
  const resolver = findCommand(RESOLVER) ?? RESOLVER;
  const script = file(
    'start.sh',
    `mount --bind ${resolvConf} /etc/resolv.conf || exit 1
SSL_CERT_FILE=${outside.caFile} ${resolver} -c ${config} &
exec "$@"
`,
  );
  return ['unshare', '--mount', 'sh', script, ...postfix];
}
