/**
 * `stsrelay check` asked of the running relay over its API: it finds what the command finds, connects to no
 * address that the command would not, and neither holds up mail nor outlives its relay while it runs.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { CheckView } from '../../src/admin/checks.ts';
import type { Examination } from '../../src/check/types.ts';
import { runStsrelay } from '../support/cli.ts';
import { type PretendInternet, startPretendInternet } from '../support/pretend-internet.ts';
import { startRelay } from '../support/relay-process.ts';
import { assertToldNothing, RelayWorld } from '../support/relay-world.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TOKEN = 'correct-horse-battery-staple';

describe('a check over the API', () => {
  let world: RelayWorld;
  let internet: PretendInternet;
  const dir = tempDir();
  before(async () => {
    internet = await startPretendInternet();
    const tokenFile = dir.file('token');
    writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
    const relay = await startRelay({
      settings: [
        internet.relaySettings(),
        {
          http: { tokenFile },
          outbound: { allowPrivateAddresses: OPEN },
          overrides: [{ domain: 'relaxed.test', tls: 'none', owner: 'ops', reason: 'broken' }],
        },
      ],
    });
    world = new RelayWorld(internet, relay);
  });
  after(async () => {
    await world?.close();
    dir.remove();
  });
  /** Domains whose hosts, all on loopback, may be connected to. */
  const OPEN = ['good', 'expired', 'outside', 'relaxed', 'added', 'hang', 'hang2', 'hang3'].map(
    (name) => `${name}.test`,
  );

  async function ask(method: string, path: string, body?: object) {
    const answer = await world.relay.http(`/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${TOKEN}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return { status: answer.status, body: (await answer.json()) as CheckView & { error?: string } };
  }
  async function checked(domain: string, body: object = {}): Promise<CheckView> {
    const began = await ask('POST', `/domains/${domain}/check`, body);
    assert.equal(began.status, 202, began.body.error);
    return waitFor(`the check of ${domain}`, async () => {
      const { body: now } = await ask('GET', `/domains/${domain}/check`);
      return now.state === 'running' ? undefined : now;
    });
  }
  async function byCommand(domain: string, ...args: readonly string[]): Promise<Examination> {
    const config = ['--config', world.relay.configFile];
    const { stdout, stderr } = await runStsrelay([...config, 'check', '--json', ...args, domain]);
    const [one] = JSON.parse(stdout) as Examination[];
    assert.ok(one, stderr);
    return one;
  }
  /** What differs from run to run: ports of our own, and when it was. */
  const steady = ({ findings, verdict, ok, facts }: Examination) => ({
    ...{ findings, verdict, ok },
    ...{ facts: { ...facts, checkedAtMs: 0 } },
  });

  test('finds what the command finds', async () => {
    await internet.domain('good.test', { sts: {}, tlsRptRua: 'mailto:tls@good.test' });
    const expired = { mx: [{ host: 'mx.expired.test', certificate: 'expired' as const }], sts: {} };
    const { mx } = await internet.domain('expired.test', expired);
    await internet.domain('outside.test', { sts: { mx: ['mx.elsewhere.test'] } });
    await internet.domain('inside.test', { sts: {} });
    await internet.domain('null.test', { nullMx: true });
    await internet.domain('relaxed.test', { sts: {} });
    await internet.domain('added.test', {
      mx: [{ host: 'mx.added.test', certificate: 'wrong-host' }],
      sts: {},
    });
    const end = new Date(Date.now() + 3_600_000).toISOString();
    const wish = { tls: 'encrypt', reason: 'ticket 7', expires: end };
    assert.equal((await ask('PUT', '/overrides/added.test', wish)).status, 200);
    /** Domain, whether it is well, a finding of it. */
    const rows = [
      ['good.test', true, 'sts-policy'],
      ['expired.test', false, 'certificate-expired'],
      ['outside.test', false, 'mx-outside-policy'],
      ['inside.test', false, 'mx-private-address'],
      ['null.test', false, 'null-mx'],
      ['relaxed.test', undefined, 'override-applies'],
      ['added.test', undefined, 'override-applies'],
      ['nowhere.test', false, 'domain-not-found'],
    ] as const;
    for (const [domain, ok, code] of rows) {
      const { state, error, result } = await checked(domain);
      assert.equal(state, 'done', error);
      assert.ok(result);
      assert.deepEqual(steady(result), steady(await byCommand(domain)), domain);
      if (ok !== undefined) assert.equal(result.ok, ok, domain);
      const codes = result.findings.map((finding) => finding.code);
      assert.ok(codes.includes(code), `${domain}: ${codes}`);
    }
    for (const host of mx) assertToldNothing(host);
  });

  test('without connections on request; who asked is in the audit log', async () => {
    const { connect, result } = await checked('expired.test', { connect: false });
    assert.deepEqual([connect, result?.facts.connected], [false, false]);
    assert.ok(result);
    assert.deepEqual(steady(result), steady(await byCommand('expired.test', '--no-connect')));
    const { body } = await ask('GET', '/audit?action=domain.check&target=expired.test&limit=1');
    const [entry] = (body as unknown as { entries: Record<string, unknown>[] }).entries;
    assert.deepEqual(
      [entry?.['actor'], entry?.['facts']],
      ['http token from 127.0.0.1', { connect: false }],
    );
    const stranger = await world.relay.http('/api/v1/checks');
    assert.equal(stranger.status, 401);
  });

  test('hosts that hang hold up neither mail nor the end of the relay; two at a time', async () => {
    for (const name of ['hang', 'hang2', 'hang3']) {
      await internet.domain(`${name}.test`, { sts: {}, policy: { hang: 'response' } });
    }
    assert.equal((await ask('POST', '/domains/hang.test/check', {})).status, 202);
    assert.equal((await ask('POST', '/domains/hang2.test/check', {})).status, 202);
    const third = await ask('POST', '/domains/hang3.test/check', {});
    assert.deepEqual([third.status, /at once/.test(third.body.error ?? '')], [503, true]);
    await waitFor('a step', async () => {
      const { body } = await ask('GET', '/domains/hang.test/check');
      return body.step === 'policy';
    });
    const sent = await world.send({ to: 'ann@good.test' });
    assert.equal((await world.answer(sent)).event, 'delivery.delivered');
    const now = await ask('GET', '/domains/hang2.test/check');
    assert.equal(now.body.state, 'running', 'the mail did not wait for it');
    assert.equal(await world.relay.stop(), 0);
    assert.deepEqual(world.relay.strayOutput, []);
  });
});
