/**
 * Settings of the way out: Redis, DNS, connecting, TLS decisions.
 */
import { z } from 'zod';
import { parseDomain } from '../../protocol/domain.ts';
import { isNetwork } from '../addresses.ts';
import {
  addressPort,
  choice,
  duration,
  flag,
  hostPort,
  ipAddress,
  kindFacts,
  list,
  optionalDomain,
  path,
  port,
  text,
} from '../kinds.ts';

function isRedisUrl(value: string): boolean {
  const url = URL.parse(value);
  return url !== null && /^rediss?:$/.test(url.protocol) && url.hostname !== '';
}

function sentinelText() {
  return text('at most 512 characters', (value) => value.length <= 512).prefault('');
}

export const redis = z
  .strictObject({
    mode: choice(['embedded', 'external'])
      .prefault('embedded')
      .describe(
        'A private Redis under `dataDir` that the relay runs itself, or yours; `external` is meant when `url`, `sentinels` or `cluster` is set.',
      ),
    url: text(
      'redis://[user:password@]host[:port][/database] or rediss:// for TLS, or ""',
      (value) => value === '' || isRedisUrl(value),
    )
      .prefault('')
      .describe(
        'Your Redis. With `sentinels` its path, or else its host, is the name of the master (`mymaster` when there is neither, or the host is an address); user, password and TLS are those of the master. TLS is spoken with the Sentinels, too.',
      ),
    sentinels: list(hostPort(26379)).prefault([]).describe('Sentinels that know the master.'),
    sentinelUser: sentinelText().describe(
      'ACL user at the Sentinels themselves; empty: the default one.',
    ),
    sentinelPassword: sentinelText().describe(
      'Password of the Sentinels themselves (`requirepass` in theirs); empty: they ask for none. That of the master is in `url`.',
    ),
    cluster: list(hostPort(6379)).prefault([]).describe('Nodes of a Redis Cluster to start from.'),
    keyPrefix: text('1 to 64 letters, digits, ".", "_", "-" or ":"', (value) =>
      /^[A-Za-z0-9._:-]{1,64}$/.test(value),
    )
      .prefault('stsrelay')
      .describe('In front of every key, so that several programs can share one Redis.'),
  })
  .prefault({})
  .describe('The queue\'s clock. `{ mode: embedded }`, or `{ url: "rediss://…" }`.');

export const dns = z
  .strictObject({
    servers: list(addressPort(53), { max: 16 })
      .prefault([])
      .describe(
        'Resolvers to ask; empty: those of /etc/resolv.conf. Beside one that `dns.trustAd` believes the others are not asked.',
      ),
    trustAd: choice(['auto', 'always', 'never'])
      .prefault('auto')
      .describe(
        "Believe the AD bit (DNSSEC) of answers: `auto` only from a loopback resolver that is not a container's forwarder (127.0.0.11).",
      ),
  })
  .prefault({})
  .describe('How names are looked up.');

const timeout = (normal: string) => duration('10ms', '1h').prefault(normal);

const timeouts = z
  .strictObject({
    connect: timeout('30s').describe('TCP connection to one address.'),
    greeting: timeout('5m').describe("The server's greeting (RFC 5321 §4.5.3.2.1)."),
    helo: timeout('5m').describe('Reply to EHLO and HELO.'),
    mail: timeout('5m').describe('Reply to MAIL (RFC 5321 §4.5.3.2.2).'),
    rcpt: timeout('5m').describe('Reply to RCPT (RFC 5321 §4.5.3.2.3).'),
    dataInit: timeout('2m').describe('Reply to DATA (RFC 5321 §4.5.3.2.4).'),
    dataBlock: timeout('3m').describe('Progress while the message is sent (RFC 5321 §4.5.3.2.5).'),
    dataDone: timeout('10m').describe('Reply to the end of the message (RFC 5321 §4.5.3.2.6).'),
    tls: timeout('30s').describe('TLS handshake.'),
  })
  .prefault({})
  .describe('How long one step of a delivery may take.');

const privateAddresses = z
  .union([
    z.boolean(),
    z
      .array(z.string().refine((value) => isNetwork(value) || parseDomain(value) !== undefined))
      .max(1000),
  ])
  .register(kindFacts, {
    expected: 'true, false or a list, each a domain or a network such as 10.0.0.0/8',
    form: 'boolean-or-list',
  });

export const outbound = z
  .strictObject({
    port: port().prefault(25).describe('Port of MX hosts.'),
    heloName: optionalDomain().prefault('').describe('EHLO name; empty: `hostname`.'),
    sourceAddresses: list(ipAddress(), { max: 64 })
      .prefault([])
      .describe('Local addresses to connect from; empty: the system chooses.'),
    ipFamilies: list(choice(['ipv6', 'ipv4']), { min: 1, max: 2 })
      .prefault(['ipv6', 'ipv4'])
      .describe('Address families to use, the preferred one first.'),
    trustedCaFiles: list(path(), { max: 100 })
      .prefault([])
      .describe('Roots (PEM) for MX and policy hosts, in addition to the system roots.'),
    systemRoots: flag().prefault(true).describe("Trust the system's and Node's roots."),
    allowPrivateAddresses: privateAddresses
      .prefault(false)
      .describe(
        "Whether strangers' DNS may name MX, policy or report hosts on loopback, private or link-local addresses; a list allows these domains and networks. Never applies to `routes`.",
      ),
    timeouts,
  })
  .prefault({})
  .describe('How other hosts are reached.');

const mtaSts = z
  .strictObject({
    enabled: flag().prefault(true).describe("Look up and obey the recipient domains' policies."),
    fetchTimeout: duration('100ms', '10m')
      .prefault('60s')
      .describe('Time for one fetch of a policy (RFC 8461 §3.3).'),
    httpsPort: port().prefault(443).describe('Port of policy hosts.'),
    refreshEvery: duration('1m', '30d')
      .prefault('24h')
      .describe(
        'Policies in use are fetched anew in the background at least this often, each at a random time, and well before they expire.',
      ),
    forgetUnusedAfter: duration('1d', '3650d')
      .prefault('180d')
      .describe('When a policy that no mail asked for is forgotten.'),
    dnsFailureGrace: duration('0s', '30d')
      .prefault('1h')
      .describe(
        "How long the mail of a domain with nothing cached waits while DNS fails, counted from the domain's first failure; afterwards it goes as if nothing were published.",
      ),
  })
  .prefault({})
  .describe('MTA-STS (RFC 8461).');

export const security = z
  .strictObject({
    mtaSts,
    dane: choice(['auto', 'off'])
      .prefault('auto')
      .describe('DANE (RFC 7672), where the resolver is validating and `dns.trustAd` believes it.'),
    default: choice(['opportunistic', 'encrypt', 'verify'])
      .prefault('opportunistic')
      .describe('TLS for domains that publish nothing.'),
    minTlsVersion: choice(['TLSv1.2', 'TLSv1.3'])
      .prefault('TLSv1.2')
      .describe('Lowest TLS version towards MX hosts; policy hosts need TLS 1.2.'),
    honorTlsRequiredNo: flag()
      .prefault(true)
      .describe('Let `TLS-Required: No` in a message relax MTA-STS and DANE for it (RFC 8689).'),
  })
  .prefault({})
  .describe('What decides TLS for a recipient domain.');
