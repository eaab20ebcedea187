/**
 * The snippet of deploy/smarthost/postfix.md, as it stands there, in a real Postfix: mail goes to the relay over TLS
 * that is checked, with a login, and on to the MX host; none goes without.
 */
import assert from 'node:assert/strict';
import { globSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import { readFile } from '../support/deploy-files.ts';
import type { MxHost } from '../support/mx-host.ts';
import { type Postfix, postfixMissing, startPostfix } from '../support/postfix.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { NO_RETRY, openSession, waitForLogin } from '../support/relay-mail.ts';
import { type RelayProcess, startRelay } from '../support/relay-process.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const saslMissing =
  globSync('/usr/lib/{,*/}sasl2/libplain.so*').length === 0 && 'libsasl2-modules is not installed';

const PASSWORD = 'a-long-password';
const [MAIN_CF = '', PASSWORDS = ''] = [
  ...readFile('deploy/smarthost/postfix.md').matchAll(/^```\n([^`]*)^```$/gm),
].map(([, block = '']) => block);

/** The settings of a main.cf. */
function settingsOf(mainCf: string): Record<string, string> {
  const lines = mainCf.split('\n').filter((line) => /^\w+ = /.test(line));
  return Object.fromEntries(lines.map((line) => line.split(' = ') as [string, string]));
}

describe('deploy/smarthost/postfix.md', { skip: postfixMissing || saslMissing }, () => {
  let net: PretendInternet;
  let mx: MxHost;
  let relay: RelayProcess;
  let dir: TempDir;
  before(async () => {
    net = await startPretendInternet();
    await net.domain('good.test', { sts: {} });
    mx = await net.mxHost({ host: 'mx.good.test' });
    dir = tempDir('snippets-');
    const { certPem, keyPem } = await net.ca.issue({ names: ['relay.example.net'] });
    writeFileSync(dir.file('tls.crt'), certPem);
    writeFileSync(dir.file('tls.key'), keyPem, { mode: 0o600 });
    const tls = { certFile: dir.file('tls.crt'), keyFile: dir.file('tls.key') };
    const access = { trustedNetworks: [], usersFile: dir.file('users.yaml') };
    relay = await startRelay({ settings: [net.relaySettings(), NO_RETRY, { tls, access }] });
    const user = ['user', 'add', 'mailserver1', '--sender', '*@example.net', '--password-stdin'];
    const { code, stderr } = await runStsrelay([...user, '--config', relay.configFile], PASSWORD);
    assert.equal(code, 0, stderr);
    await waitForLogin(relay.smtpPort, { name: 'mailserver1', password: PASSWORD, code: 235 });
  });
  after(async () => {
    await relay?.close();
    dir?.remove();
    await net?.close();
  });

  /** A Postfix with the snippet; only addresses and roots are those of the test. `name`: of the relay's certificate. */
  async function withSnippet(name: string): Promise<Postfix> {
    const here = (text: string) =>
      text.replaceAll('[relay.example.net]:587', `[127.0.0.1]:${relay.smtpPort}`);
    writeFileSync(dir.file('passwords'), here(PASSWORDS).replace('PASSWORD', PASSWORD));
    const settings = settingsOf(here(MAIN_CF));
    assert.ok(Object.keys(settings).length >= 8);
    return startPostfix({
      hostname: 'mail.example.net',
      mainCf: {
        ...settings,
        smtpd_relay_restrictions: 'permit_mynetworks, reject',
        smtp_tls_CAfile: net.caFile,
        smtp_sasl_password_maps: `texthash:${dir.file('passwords')}`,
        smtp_tls_secure_cert_match: name, // it would be the name in relayhost
      },
    });
  }

  async function handOver(postfix: Postfix, sender: string): Promise<void> {
    using client = await openSession({ port: postfix.port });
    const data = `Subject: by way of ${sender}\r\n\r\nhello\r\n`;
    const { accepted } = await client.deliver({ from: sender, to: 'b@good.test', data });
    assert.ok(accepted);
  }

  test('mail goes to the relay over checked TLS, with the login, and on', async () => {
    await using postfix = await withSnippet('relay.example.net');
    await handOver(postfix, 'a@example.net');
    await postfix.waitForLog(/status=sent \(250 2\.0\.0 Ok: queued as/);
    const accepted = await relay.waitForEvent('intake.accepted');
    assert.equal(accepted['user'], 'mailserver1');
    assert.equal(accepted['tls'], true);
    await waitFor('the message', () =>
      mx.messages.find(({ data }) => data.includes('by way of a@example.net')),
    );
  });

  test('a bounce, from <>, goes as well', async () => {
    await using postfix = await withSnippet('relay.example.net');
    await handOver(postfix, '');
    await postfix.waitForLog(/status=sent \(250 2\.0\.0 Ok: queued as/);
  });

  test('a host with another name in its certificate gets neither mail nor password', async () => {
    const before = relay.events('intake.authenticated').length;
    await using postfix = await withSnippet('another.example.net');
    await handOver(postfix, 'a@example.net');
    await postfix.waitForLog(/status=deferred \(Server certificate not verified\)/);
    assert.equal(relay.events('intake.authenticated').length, before);
  });
});
