/** Signs of a downgrade: which there are, that they are counted, and where they are kept. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { type LocalCause, localFailure, type TlsFailureCause } from '../../src/mail/failure.ts';
import type { SessionFacts, SessionResult } from '../../src/mail/session-result.ts';
import type { RequirementSource, TlsLevel } from '../../src/mail/tls-requirement.ts';
import type { RedisClient } from '../../src/platform/redis.ts';
import { DowngradeDetector } from '../../src/policy/downgrade-detector.ts';
import { StsStore } from '../../src/policy/sts-store.ts';
import { TlsMemory } from '../../src/policy/tls-memory.ts';
import type { PolicyEvents } from '../../src/telemetry/policy-events.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import { domain, keptPolicy, MapRedis, policy } from './policy-parts.ts';
import { recordEvents } from './sample-mail.ts';

const W = domain('w.example');
const MX = domain('mx.w.example');
const DAY = 86_400_000;
const STS: RequirementSource = {
  kind: 'mta-sts',
  domain: W,
  policyId: 'one',
  policyText: 'x',
  mode: 'enforce',
  listed: true,
};

/** No policy promises anything. */
const WITHOUT = { source: { kind: 'default' }, level: 'opportunistic' } as const;

interface Seen {
  readonly source?: RequirementSource;
  readonly level?: TlsLevel;
  /** Of a session in clear text. */
  readonly because?: TlsFailureCause;
}

class Bench {
  readonly dir: TempDir = tempDir();
  readonly clock = new FakeClock();
  readonly recorded = recordEvents<PolicyEvents>();
  readonly errors: Error[] = [];
  detector: DowngradeDetector | undefined;
  store: StsStore | undefined;
  memory: TlsMemory | undefined;

  async restart(): Promise<this> {
    const { clock, recorded } = this;
    this.store = await StsStore.open({
      directory: this.dir.file('policies'),
      redis: new MapRedis() as unknown as RedisClient,
      keyPrefix: 'test',
      clock,
      events: recorded.events,
    });
    this.memory = await TlsMemory.open({
      file: this.dir.file('tls-seen.json'),
      clock,
      onError: (error) => this.errors.push(error),
    });
    this.detector = new DowngradeDetector({
      store: this.store,
      memory: this.memory,
      clock,
      events: recorded.events,
    });
    return this;
  }

  /** A session with `MX` for somebody at w.example. */
  saw(
    what: 'verified' | 'invalid' | 'clear' | LocalCause,
    { source = STS, level = 'verify', because = 'starttls-not-offered' }: Seen = {},
  ): void {
    const verdict =
      what === 'verified'
        ? ({ verified: true, matchedName: MX } as const)
        : ({ verified: false, cause: 'certificate-expired', detail: 'it expired' } as const);
    const tls = { version: 'TLSv1.3', cipher: 'x', certSha256: undefined, verdict };
    const hasTls = what === 'verified' || what === 'invalid' || what === 'certificate-expired';
    const facts: SessionFacts = {
      candidate: { host: MX, preference: 10, port: 25 },
      address: '192.0.2.1',
      localAddress: undefined,
      requirement: { level, minVersion: 'TLSv1.2', source },
      tls: hasTls ? tls : undefined,
      ...(what === 'clear' ? { clearTextBecause: { cause: because, detail: 'x' } } : {}),
    };
    const ended = what !== 'verified' && what !== 'invalid' && what !== 'clear';
    const result: SessionResult = ended
      ? { kind: 'ended-early', facts, failure: localFailure(what, 'x') }
      : { kind: 'transacted', facts, recipients: new Map() };
    this.detector?.session(W, result);
  }

  /** The signs counted so far. */
  get signs(): unknown[] {
    return this.recorded.of('downgradeSign').flat();
  }

  [Symbol.dispose](): void {
    this.dir.remove();
  }
}

describe('a session', () => {
  test('that is as it should be is no sign', async () => {
    using bench = await new Bench().restart();
    bench.saw('verified');
    bench.saw('verified');
    bench.saw('connect-refused');
    bench.saw('timeout');
    assert.deepEqual(bench.signs, []);
  });

  for (const cause of [
    'starttls-not-offered',
    'starttls-refused',
    'tls-handshake-failed',
    'tls-version-too-low',
  ] satisfies TlsFailureCause[]) {
    test(`${cause} is a sign where there was TLS before, and only there`, async () => {
      using bench = await new Bench().restart();
      bench.saw(cause, WITHOUT);
      assert.deepEqual(bench.signs, []);
      bench.saw('invalid', WITHOUT);
      bench.saw(cause, WITHOUT);
      assert.deepEqual(bench.signs, ['starttls-gone']);
    });

    test(`${cause} is one at first sight where a policy promises TLS`, async () => {
      using bench = await new Bench().restart();
      bench.saw(cause);
      assert.deepEqual(bench.signs, ['starttls-gone']);
    });
  }

  test('in which clear text came after STARTTLS is one at any host', async () => {
    using bench = await new Bench().restart();
    bench.saw('clear-text-after-starttls', WITHOUT);
    assert.deepEqual(bench.signs, ['starttls-injection']);
    bench.saw('clear-text-after-starttls');
    assert.deepEqual(bench.signs.slice(1), ['starttls-injection', 'starttls-gone']);
  });

  test('that did without TLS after a handshake that failed is one at any host', async () => {
    using bench = await new Bench().restart();
    bench.saw('clear', { ...WITHOUT, because: 'tls-handshake-failed' });
    assert.deepEqual(bench.signs, ['clear-text-fallback']);
  });

  test('in clear text is one, too, at a domain without any policy', async () => {
    using bench = await new Bench().restart();
    bench.saw('clear', WITHOUT);
    bench.saw('invalid', WITHOUT);
    bench.saw('clear', WITHOUT);
    assert.deepEqual(bench.signs, ['starttls-gone']);
    const [, facts] = bench.recorded.of('downgradeSuspected')[0] ?? [];
    assert.match((facts as { detail: string }).detail, /mx\.w\.example.*2026-01-15/);
    // There are as many such domains as anybody likes: they get no file.
    await bench.store?.noteUsed(W);
    assert.deepEqual(readdirSync(bench.dir.file('policies')), []);
  });

  test('with a certificate that does not validate any more is one; one that never did is none', async () => {
    using bench = await new Bench().restart();
    bench.saw('certificate-expired', WITHOUT);
    assert.deepEqual(bench.signs, []);
    bench.saw('verified', WITHOUT);
    bench.saw('certificate-expired', WITHOUT);
    bench.clock.advance(31 * DAY);
    bench.saw('certificate-expired', WITHOUT);
    assert.deepEqual(bench.signs, ['certificate-invalid']);
    bench.saw('certificate-expired');
    assert.equal(bench.signs.length, 2, 'the policy promises a valid one');
  });

  test('with a host that the policy does not list is one', async () => {
    using bench = await new Bench().restart();
    bench.saw('mx-outside-policy');
    assert.deepEqual(bench.signs, ['mx-outside-policy']);
  });
});

describe('a sign that goes on', () => {
  test('at a host of many domains is logged once', async () => {
    using bench = await new Bench().restart();
    bench.saw('verified');
    for (let i = 0; i < 20; i++) {
      bench.saw('starttls-not-offered', { source: { ...STS, domain: domain(`d${i}.example`) } });
    }
    assert.equal(bench.signs.length, 20);
    assert.equal(bench.recorded.of('downgradeSuspected').length, 1);
  });

  test('is counted each time, logged and written down now and then', async () => {
    using bench = await new Bench().restart();
    await bench.store?.keepPolicy(W, keptPolicy('one', policy('enforce'), bench.clock.now()));
    for (let i = 0; i < 50; i++) bench.detector?.suspect(W, 'record-gone', `detail ${i}`);
    assert.equal(bench.signs.length, 50);
    assert.equal(bench.recorded.of('downgradeSuspected').length, 1);
    bench.clock.advance(11 * 60_000);
    bench.detector?.suspect(W, 'record-gone', 'the last');
    assert.equal(bench.recorded.of('downgradeSuspected').length, 2);
    const file = bench.dir.file('policies/w.example.json');
    await waitFor('51 signs', () => readFileSync(file, 'utf8').includes('"count":51'));
    await bench.restart();
    const kept = (await bench.store?.get(W))?.suspicions?.['record-gone'];
    assert.equal(kept?.count, 51);
    assert.equal(kept.lastMs - kept.firstMs, 11 * 60_000);
  });
});

describe('what was seen of hosts', () => {
  test('survives a restart', async () => {
    using bench = await new Bench().restart();
    bench.saw('verified');
    await bench.memory?.save();
    await bench.restart();
    bench.saw('starttls-not-offered', WITHOUT);
    bench.saw('certificate-expired', WITHOUT);
    assert.deepEqual(bench.signs, ['starttls-gone', 'certificate-invalid']);
  });

  test('is written by itself, and forgotten after 90 days', async () => {
    using bench = await new Bench().restart();
    bench.saw('verified');
    bench.clock.advance(60_000);
    await waitFor('the file', () => readdirSync(bench.dir.path).includes('tls-seen.json'));
    assert.equal(bench.clock.pending, 0);
    bench.clock.advance(91 * DAY);
    bench.saw('starttls-not-offered', WITHOUT);
    assert.deepEqual(bench.signs, []);
  });

  for (const text of ['', '{}', 'null', '[1]', '[["..", {"tlsAtMs": 1}], ["a.example", null]]']) {
    test(`in a file with ${JSON.stringify(text)}: begins anew, and says so where it was no list`, async () => {
      using bench = new Bench();
      writeFileSync(bench.dir.file('tls-seen.json'), text);
      await bench.restart();
      assert.equal(bench.errors.length, text.startsWith('[') ? 0 : 1);
      assert.equal(bench.memory?.get('a.example'), undefined);
    });
  }
});
