/**
 * The outside world of the bench, a process of its own: a DNS server and the policy hosts, with
 * a CA for them and for the sink. Prints one JSON line (`Outside`) when all is there, and lives
 * until its stdin ends. Started by outside.ts as `outside-main.ts FOLDER DOMAINS`.
 *
 * Postfix and its MTA-STS resolver ask DNS on port 53 and policy hosts on port 443 only; as root
 * these are served on a loopback address of our own, else any ports are.
 */
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCa, type IssuedCertificate } from '../../support/ca.ts';
import { startPolicyHost } from '../../support/policy-host.ts';
import { policyText } from '../../support/pretend-internet.ts';
import { AWAY_DOMAIN, AWAY_DOMAINS } from '../scenarios.ts';
import { startDnsResponder } from './dns-responder.ts';
import type { CertificateFiles, Outside } from './outside.ts';

const MX_HOST = 'mx.test';
const AWAY_HOST = 'mx.away.test';

const [folder = '.', count = '0'] = process.argv.slice(2);
const ca = await createCa('stsrelay bench root');
const caFile = join(folder, 'ca.pem');
writeFileSync(caFile, ca.certPem);
const names = { names: [MX_HOST, 'localhost'], ips: ['127.0.0.1'] };
const mx = save('mx', await ca.issue(names));
const impostor = save('impostor', await (await createCa('a stranger')).issue(names));

const isRoot = process.getuid?.() === 0;
const address = isRoot ? `127.${randomInt(1, 255)}.${randomInt(0, 256)}.2` : '127.0.0.1';
const dns = await startDnsResponder(address, isRoot ? 53 : 0);
const policyHost = await startPolicyHost({ ca, address, port: isRoot ? 443 : 0 });
dns.zone.set(MX_HOST, 'A', ['127.0.0.1']);
dns.zone.set(MX_HOST, 'AAAA', []);
publishMx('clear.test');
// Nobody listens at that address: mail for these domains stays in the queue.
dns.zone.set(AWAY_HOST, 'A', ['127.0.0.9']);
dns.zone.set(AWAY_HOST, 'AAAA', []);
for (let i = 0; i < AWAY_DOMAINS; i += 1) publishMx(`d${i}.${AWAY_DOMAIN}`, AWAY_HOST);
await publishPolicy('dest.test');
for (let i = 0; i < Number(count); i += 1) await publishPolicy(`d${i}.many.test`);

const ready: Outside = {
  caFile,
  mx,
  impostor,
  dnsAddress: address,
  dnsPort: dns.port,
  httpsPort: policyHost.port,
};
process.stdout.write(`${JSON.stringify(ready)}\n`);
process.stdin.on('end', () => process.exit(0)).resume();

function save(name: string, certificate: IssuedCertificate): CertificateFiles {
  const files = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  writeFileSync(files.cert, certificate.certPem);
  writeFileSync(files.key, certificate.keyPem);
  return files;
}

function publishMx(domain: string, exchange = MX_HOST): void {
  dns.zone.set(domain, 'MX', [{ preference: 10, exchange }]);
}

async function publishPolicy(domain: string): Promise<void> {
  publishMx(domain);
  dns.zone.set(`_mta-sts.${domain}`, 'TXT', ['v=STSv1; id=20260101T000000;']);
  dns.zone.set(`mta-sts.${domain}`, 'A', [address]);
  dns.zone.set(`mta-sts.${domain}`, 'AAAA', []);
  await policyHost.serve(`mta-sts.${domain}`, { body: policyText({ mx: [MX_HOST] }, []) });
}
