/**
 * TLS reports (RFC 8460) out of the running relay, with nothing in the place of its parts: what it counted on
 * one day goes to a mailbox and an HTTPS host on the next one, once, over a SIGKILL.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { TlsReport } from '../../src/protocol/tlsrpt/report.ts';
import { runStsrelay } from '../support/cli.ts';
import { rsaPair } from '../support/dkim-keys.ts';
import { dkimpyMissing, verifyDkim } from '../support/dkimpy.ts';
import type { ReceivedMessage } from '../support/mx-host.ts';
import type { PretendDomain, PretendInternet } from '../support/pretend-internet.ts';
import { type RelayWorld, startWorldWith } from '../support/relay-world.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { assertIsReport } from '../support/tlsrpt-schema.ts';
import { waitFor } from '../support/wait-for.ts';
import { WrongClock } from '../support/wrong-clock.ts';

const HOUR_MS = 3_600_000;
const pair = rsaPair(2048);

let clock: WrongClock;
let keys: TempDir;
let world: RelayWorld;
let server: Server;
let reports: PretendDomain;
const posts: { readonly type: string; readonly body: Buffer }[] = [];
let day = '';

before(async () => {
  clock = new WrongClock();
  keys = tempDir();
  const keyFile = keys.file('key.pem');
  writeFileSync(keyFile, pair.keyPem, { mode: 0o600 });
  const tlsRpt = {
    ...{ organization: 'Example Ltd', contact: 'tls@sender.test', from: 'noreply@sender.test' },
    ...{ sendAfter: '00:00', sendWindow: '0s' },
  };
  const dkim = [{ domain: 'sender.test', selector: 's1', keyFile }];
  world = await startWorldWith({ env: clock.env }, { tlsRpt, dkim });
  const { internet } = world;
  const port = await startPostHost(internet);
  const tlsRptRua = `mailto:tls@reports.test,https://post.test:${port}/v1`;
  await internet.domain('good.test', { sts: { id: '1' }, tlsRptRua });
  await internet.domain('silent.test');
  // Where nothing but a report may go: its own TLS is what fails.
  reports = await internet.domain('reports.test', {
    sts: { id: '1' },
    mx: [{ host: 'mx.reports.test', certificate: 'expired' }],
  });
});
after(async () => {
  await world?.close();
  server?.close();
  clock?.remove();
  keys?.remove();
});

async function startPostHost({ ca, dns, network }: PretendInternet): Promise<number> {
  const address = `${network}.4`;
  const { certPem: cert, keyPem: key } = await ca.issueKind('good', 'post.test');
  server = createServer({ cert, key }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    posts.push({ type: request.headers['content-type'] ?? '', body: Buffer.concat(chunks) });
    response.writeHead(201).end();
  });
  server.listen(0, address);
  await once(server, 'listening');
  dns.set('post.test', 'A', [address], { ttl: 300 });
  dns.set('post.test', 'AAAA', [], { ttl: 300 });
  return (server.address() as AddressInfo).port;
}

/** The mails that the MX host of reports.test took. */
function mails(): readonly ReceivedMessage[] {
  return reports.messages.filter(({ reply }) => reply?.startsWith('2'));
}

function attached(mail: ReceivedMessage): TlsReport {
  const text = mail.data.toString('latin1');
  const at = text.indexOf('application/tlsrpt+gzip');
  assert.ok(at > 0, text);
  const part = text.slice(at);
  const [, base64 = ''] = /\r\n\r\n([A-Za-z0-9+/=\r\n]+)\r\n--/.exec(part) ?? [];
  return JSON.parse(gunzipSync(Buffer.from(base64, 'base64')).toString()) as TlsReport;
}

const tlsrpt = (...args: readonly string[]) =>
  runStsrelay(['tlsrpt', ...args, '--config', world.relay.configFile]);

describe('the report of a day', () => {
  test('is not sent before the day is over', async () => {
    for (const to of ['ann@good.test', 'bob@good.test', 'ann@silent.test']) {
      const answer = await world.answer(await world.send({ to }));
      assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
      day = String(answer.time).slice(0, 10);
    }
    const early = await tlsrpt('send', '--day', day);
    assert.equal(early.code, 1, early.stderr);
    assert.match(early.stderr, /not over yet/);
    assert.deepEqual([posts.length, mails().length], [0, 0]);
  });

  test('is shown before the day is over: what it would give so far', async () => {
    const dry = await tlsrpt('send', '--day', day, '--dry-run', '--json');
    assert.equal(dry.code, 0, dry.stderr);
    const { reports: given } = JSON.parse(dry.stdout);
    const [good, silent] = given;
    assert.deepEqual([given.length, good.domain, silent.domain], [2, 'good.test', 'silent.test']);
    assertIsReport(good.report);
    const shown = await tlsrpt('show', 'good.test', '--day', day, '--json');
    assert.deepEqual(good.report, JSON.parse(shown.stdout)[0]);
    assert.deepEqual([good.sends, silent.sending.outcome], [true, 'nobody-asks']);
    const lines = (await tlsrpt('send', '--day', day, '--dry-run')).stdout;
    assert.match(lines, /^good\.test\tmailto:tls@reports\.test\twould be sent/m);
    assert.deepEqual([posts.length, mails().length], [0, 0]);
    const none = await tlsrpt('send', 'other.test', '--day', day, '--dry-run');
    assert.equal(none.code, 1, none.stdout);
  });

  test('goes to every rua, by itself, over TLS that fails (R136)', async () => {
    clock.set(24 * HOUR_MS);
    await waitFor('the reports', () => posts.length > 0 && mails().length > 0);
    const [mail] = mails();
    const report = mail && attached(mail);
    assertIsReport(report);
    const [policy] = report?.policies ?? [];
    assert.equal(policy?.policy['policy-domain'], 'good.test');
    assert.equal(policy?.policy['policy-type'], 'sts');
    const { 'total-successful-session-count': successful = 0 } = policy?.summary ?? {};
    assert.ok(successful >= 1 && successful <= 2, String(successful)); // the second may go over the first one's session
    assert.equal(posts[0]?.type, 'application/tlsrpt+gzip');
    assert.deepEqual(JSON.parse(gunzipSync(posts[0]?.body ?? '').toString()), report);
    assert.equal(mail?.mailFrom.address, 'noreply@sender.test');
    assert.match(mail?.data.toString('latin1') ?? '', /^TLS-Required: No\r$/m);
  });

  test('is signed for the domain it is from', { skip: dkimpyMissing }, async () => {
    const [mail] = mails();
    const records = { 's1._domainkey.sender.test': pair.record };
    const [signature] = verifyDkim(mail?.data ?? Buffer.alloc(0), { records });
    assert.equal(signature?.valid, true, signature?.error);
    assert.equal(signature?.tags['d'], 'sender.test');
  });

  test('says so, and is in no report itself (R111)', async () => {
    await world.relay.waitForEvent('report.delivered');
    const list = await tlsrpt('list');
    assert.match(list.stdout, new RegExp(`^${day}\\t2\\t.*1 delivered, 1 posted`, 'm'));
    const next = new Date(Date.parse(day) + 24 * HOUR_MS).toISOString().slice(0, 10);
    const others = await tlsrpt('show', 'reports.test', '--day', next);
    assert.equal(others.code, 1, others.stdout);
  });

  test('is not sent again, over a SIGKILL, and when somebody asks for it', async () => {
    await world.relay.kill('SIGKILL', { group: true });
    await world.relay.start();
    const dry = await tlsrpt('send', '--day', day, '--dry-run');
    assert.equal(dry.code, 1, dry.stdout);
    const again = await tlsrpt('send', 'good.test', '--day', day);
    assert.equal(again.code, 1, again.stdout + again.stderr);
    assert.match(again.stdout, /good\.test\tmailto:tls@reports\.test\tdelivered/);
    assert.deepEqual([posts.length, mails().length], [1, 1]);
  });
});
