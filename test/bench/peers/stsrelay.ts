/**
 * Our relay as it ships: spool synced before `250`, policies, metrics and JSON log on, and every
 * other setting at its default but those that lead it to the bench's DNS and sink.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { profilerEnvironment } from '../profile/recording.ts';
import type { BenchSettings } from '../settings.ts';
import type { Launch, Peer, Site } from './peer.ts';

export function stsrelay(settings: BenchSettings): Peer {
  return {
    name: 'stsrelay',
    setup: 'default configuration, embedded Redis',
    missing: () => undefined,
    prepare: (site) => prepare(site, settings),
  };
}

function prepare(site: Site, { main, profile }: BenchSettings): Launch {
  const config = join(site.dir, 'stsrelay.yaml');
  writeFileSync(config, stringify(relaySettings(site)));
  const profiles = join(site.dir, 'profiles');
  if (profile) mkdirSync(profiles);
  return {
    command: [process.execPath, main, 'start', '--config', config],
    env: profile ? profilerEnvironment(profiles) : {},
  };
}

function relaySettings(site: Site): object {
  const { outside, scenario } = site;
  return {
    hostname: 'relay.test',
    dataDir: join(site.dir, 'data'),
    listeners: [{ address: '127.0.0.1', port: site.port, tls: 'starttls', auth: 'optional' }],
    http: { port: site.sparePort },
    dns: { servers: [`${outside.dnsAddress}:${outside.dnsPort}`] },
    outbound: {
      port: site.sinkPort,
      trustedCaFiles: [outside.caFile],
      allowPrivateAddresses: true,
    },
    security: { mtaSts: { httpsPort: outside.httpsPort } },
    ...scenario.relay,
    ...(scenario.reuse ? {} : { destinations: { default: { messagesPerConnection: 1 } } }),
  };
}
