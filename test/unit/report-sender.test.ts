/** Sending TLS reports (RFC 8460 §4.1, §5): when, to whom, how often; over crashes and failures. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { settingsFrom } from '../../src/config/load.ts';
import { utcDay } from '../../src/reporting/collect.ts';
import type { AttemptRecord, RecordedFailure } from '../../src/spool/message-state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemorySpool } from '../support/memory-spool.ts';
import { tempDir } from '../support/temp-dir.ts';
import { assertIsReport } from '../support/tlsrpt-schema.ts';
import { waitFor } from '../support/wait-for.ts';
import { SERVFAIL } from './policy-parts.ts';
import {
  CRASH,
  DAY,
  DAY_MS,
  HOUR_MS,
  NEXT_DAY,
  type NodeOptions,
  Outdoors,
  REPORTER,
  ReportNode,
} from './report-node.ts';

const MAIL = 'mailto:tls@a.example';
const POST = 'https://report.a.example/v1';
/** When everything of DAY is due. */
const LATE = `${NEXT_DAY}T05:00:00Z`;

async function bench(change: Partial<NodeOptions> = {}) {
  const clock = new FakeClock(`${DAY}T12:00:00Z`);
  const options = { dir: tempDir(), clock, outdoors: new Outdoors(), spool: new MemorySpool() };
  const all = { ...options, ...change };
  const node = await ReportNode.open(all);
  return {
    ...all,
    node,
    /** It crashed: what it was doing never ends. */
    isCrashed: false,
    /** As after a crash: what the first one had in memory is gone. */
    again: () => ReportNode.open(all),
    async [Symbol.asyncDispose]() {
      if (!this.isCrashed) await node.reports.close();
      all.dir.remove();
    },
  };
}

describe('a report', () => {
  test('R093 R088 goes once to every rua, in the window after its day', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    outdoors.publish('a.example', MAIL, POST);
    node.count('a.example', 3);
    await node.roundAt(`${NEXT_DAY}T00:09:30Z`);
    assert.equal(outdoors.asked.length, 0);
    for (let at = clock.now(); at <= Date.parse(LATE); at += 60_000) await node.roundAt(at);
    assert.equal(outdoors.mails.length, 1);
    assert.equal(outdoors.posts.length, 1);
    const sentAt = outdoors.posts[0]?.atMs ?? 0;
    assert.ok(sentAt >= Date.parse(`${NEXT_DAY}T00:10:00Z`), new Date(sentAt).toISOString());
    assert.ok(sentAt <= Date.parse(`${NEXT_DAY}T04:11:00Z`), new Date(sentAt).toISOString());
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'queued', [POST]: 'posted' });
    const [mail] = outdoors.mails;
    assertIsReport(mail?.report);
    assert.equal(mail?.report.policies[0]?.summary['total-successful-session-count'], 3);
    const metric = await node.metrics.registry.getSingleMetricAsString(
      'stsrelay_tls_reports_total',
    );
    assert.match(metric, /transport="https",result="posted"\} 1/);
  });

  test('R093 has a time of its own, which a restart does not change', async () => {
    const times = new Map<string, number>();
    for (const isRestarted of [false, true]) {
      await using one = await bench();
      const { node, outdoors, clock } = one;
      for (let n = 0; n < 20; n++) {
        outdoors.publish(`d${n}.example`, `https://d${n}.example/`);
        node.count(`d${n}.example`);
      }
      await node.roundAt(`${NEXT_DAY}T00:11:00Z`);
      const now = isRestarted ? await one.again() : node;
      for (let at = clock.now(); at <= Date.parse(LATE); at += 300_000) await now.roundAt(at);
      assert.equal(outdoors.posts.length, 20);
      for (const { url, atMs } of outdoors.posts) {
        assert.ok(!isRestarted || Math.abs((times.get(url) ?? 0) - atMs) <= 300_000, url);
        times.set(url, atMs);
      }
    }
    const first = Math.min(...times.values());
    assert.ok(Math.max(...times.values()) - first > 2 * HOUR_MS);
  });

  test('R080 is made for nobody who does not ask, and for nobody who is excluded', async () => {
    const tlsRpt = { ...REPORTER.tlsRpt, exclude: ['c.example', 'TLS@a.example'] };
    await using one = await bench({ settings: { ...REPORTER, tlsRpt } });
    const { node, outdoors } = one;
    outdoors.publish('a.example', MAIL, POST);
    outdoors.publish('c.example', 'https://c.example/');
    for (const domain of ['a.example', 'b.example', 'c.example']) node.count(domain);
    await node.roundAt(LATE);
    assert.deepEqual(outdoors.mails, []);
    assert.deepEqual(
      outdoors.posts.map(({ url }) => url),
      [POST],
    );
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'excluded', [POST]: 'posted' });
    assert.ok(!outdoors.asked.includes('_smtp._tls.c.example'));
    assert.deepEqual(
      node.logged('report.excluded').map(({ rua }) => rua),
      [MAIL],
    );
  });

  test('that waits, or is planned, goes to nobody whom a reload excludes', async () => {
    await using one = await bench();
    const { node, outdoors } = one;
    const exclude = (...entries: string[]) => {
      const tlsRpt = { ...REPORTER.tlsRpt, exclude: entries };
      const { dkim } = REPORTER;
      node.settings = settingsFrom({ hostname: 'relay.example.net', dkim, tlsRpt });
    };
    outdoors.publish('a.example', MAIL, POST);
    outdoors.publish('b.example', 'https://b.example/');
    outdoors.mail = 'refused';
    outdoors.answer = () => ({ ok: false, reason: 'answered 500' });
    node.count('a.example');
    node.count('b.example');
    await node.roundAt(`${NEXT_DAY}T00:10:00Z`); // planned, and not due
    assert.equal(outdoors.asked.length, 0);
    exclude('b.example');
    await node.roundAt(Date.parse(LATE) - 3 * HOUR_MS);
    await node.roundAt(LATE);
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'waiting', [POST]: 'waiting' });
    assert.ok(!outdoors.asked.includes('_smtp._tls.b.example'));
    exclude('b.example', 'tls@a.example', POST);
    outdoors.mail = 'taken';
    const posts = outdoors.posts.length;
    await node.roundAt(Date.parse(LATE) + HOUR_MS);
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'excluded', [POST]: 'excluded' });
    assert.deepEqual([outdoors.mails.length, outdoors.posts.length], [0, posts]);
    assert.equal(node.logged('report.excluded').length, 2);
  });

  test('is asked for again, where DNS fails, for a day', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    node.count('a.example');
    outdoors.txt.set('_smtp._tls.a.example', SERVFAIL);
    for (const [start] = [Date.parse(LATE)]; clock.now() < start + 30 * HOUR_MS; ) {
      await node.roundAt(Math.max(start, clock.now()) + 60_000);
    }
    assert.ok(outdoors.asked.length > 8 && outdoors.asked.length < 20, `${outdoors.asked.length}`);
    assert.equal(node.logged('report.gave_up').length, 1);
  });

  test('of days that the relay was away is sent then, for a week', async () => {
    await using one = await bench();
    const { outdoors, clock } = one;
    outdoors.publish('a.example', POST);
    one.node.count('a.example');
    clock.advance(2 * DAY_MS);
    one.node.count('a.example');
    await one.node.reports.close();
    clock.advance(6 * DAY_MS + 12 * HOUR_MS);
    const node = await one.again();
    await node.reports.sender.round();
    assert.equal(outdoors.posts.length, 1);
    assert.deepEqual(await node.targets('a.example', '2026-03-16'), { [POST]: 'posted' });
  });

  test('is not sent again where little is kept', async () => {
    const settings = { ...REPORTER, tlsRpt: { ...REPORTER.tlsRpt, keep: '1d' } };
    await using one = await bench({ settings });
    const { node, outdoors } = one;
    outdoors.publish('a.example', POST, MAIL);
    node.count('a.example');
    await node.roundAt(LATE);
    for (const day of [16, 17, 18, 19]) await node.roundAt(`2026-03-${day}T05:00:00Z`);
    one.isCrashed = true;
    await node.reports.close();
    const next = await one.again();
    await next.reports.sender.round();
    assert.deepEqual([outdoors.posts.length, outdoors.mails.length], [1, 1]);
    const sent = await next.reports.sender.sendNow(DAY, ['a.example'], { dryRun: false });
    assert.deepEqual(
      sent.map(({ sends }) => sends),
      [false],
    );
    await next.reports.close();
  });
});

describe('report mail', () => {
  test('R141 is from tlsRpt.from, marked, and no DSN comes of it', async () => {
    await using one = await bench();
    const { node, outdoors } = one;
    outdoors.publish('a.example', 'mailto:tls%2Breports@a.example?subject=x');
    node.count('a.example');
    await node.roundAt(LATE);
    const { envelope } = outdoors.mails[0] ?? {};
    assert.equal(envelope?.reversePath, 'noreply@example.net');
    assert.deepEqual(envelope?.recipients, [
      { address: 'tls+reports@a.example', notify: ['NEVER'] },
    ]);
    assert.equal(envelope?.tlsReport, true);
    assert.match(envelope?.messageId ?? '', /^<tlsrpt\.20260314\.[0-9a-f]{32}@example\.net>$/);
  });

  for (const [crash, mails] of [
    ['unrecorded', 1],
    ['lost', 1],
  ] as const) {
    test(`is queued once, though a crash left it ${crash}`, async () => {
      await using one = await bench();
      const { node, outdoors, clock } = one;
      outdoors.publish('a.example', MAIL);
      node.count('a.example');
      await node.reports.reports.days(); // on disk
      outdoors.mail = crash;
      one.isCrashed = true;
      clock.set(LATE);
      void node.reports.sender.round(); // which never ends
      await waitFor('the mail to be begun', () => outdoors.begun > 0);
      outdoors.mail = 'taken';
      const next = await one.again();
      await next.reports.sender.round();
      assert.equal(outdoors.mails.length, mails);
      assert.deepEqual(await next.targets('a.example'), { [MAIL]: 'queued' });
      await next.reports.close();
    });
  }

  test('that left the queue before a crash, its end not on record, is settled', async () => {
    await using one = await bench();
    const { node, outdoors } = one;
    outdoors.publish('a.example', MAIL);
    node.count('a.example');
    await node.roundAt(LATE);
    const before = await one.again();
    assert.deepEqual(await before.targets('a.example'), { [MAIL]: 'queued' });
    const next = await ReportNode.open({ ...one, spool: new MemorySpool() });
    assert.deepEqual(await next.targets('a.example'), { [MAIL]: 'delivered' });
    await next.reports.sender.round();
    assert.equal(outdoors.mails.length, 1);
    assert.deepEqual(next.reports.suspensions.list(), []);
    await before.reports.close();
    await next.reports.close();
  });

  test('that the disk does not take is tried again', async () => {
    await using one = await bench();
    const { node, outdoors } = one;
    outdoors.publish('a.example', MAIL);
    outdoors.mail = 'refused';
    node.count('a.example');
    await node.roundAt(LATE);
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'waiting' });
    outdoors.mail = 'taken';
    await node.roundAt(Date.parse(LATE) + 61_000);
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'queued' });
    assert.equal(outdoors.mails.length, 1);
  });

  test('waits for contact, from and key, and is sent when somebody asks then', async () => {
    await using one = await bench({ settings: {} });
    const { node, outdoors } = one;
    const other = 'mailto:other@a.example';
    outdoors.publish('a.example', MAIL, POST, other);
    node.count('a.example');
    await node.roundAt(LATE);
    const before = { [MAIL]: 'not-mailed', [POST]: 'posted', [other]: 'not-mailed' };
    assert.deepEqual(await node.targets('a.example'), before);
    assert.match(
      String(node.logged('report.not_mailed')[0]?.['reason']),
      /tlsRpt\.contact, tlsRpt\.from, a dkim key/,
    );
    const ready = await ReportNode.open({ ...one, settings: REPORTER });
    const { sender } = ready.reports;
    const [dry] = await sender.sendNow(DAY, ['a.example'], { dryRun: true });
    assert.equal(dry?.sends, true);
    assert.deepEqual(
      dry?.state?.targets.map(({ state }) => state),
      ['waiting', 'posted', 'waiting'],
    );
    assert.equal(outdoors.mails.length, 0);
    await sender.sendNow(DAY, ['a.example'], { dryRun: false });
    const again = await sender.sendNow(DAY, ['a.example'], { dryRun: false });
    assert.deepEqual(
      again.map(({ sends }) => sends),
      [false],
    );
    assert.deepEqual(
      outdoors.mails.map(({ envelope }) => envelope.recipients[0]?.address),
      ['tls@a.example', 'other@a.example'],
    );
    assert.equal(outdoors.posts.length, 1);
    await ready.reports.close();
  });

  test('waits for a day for a key that does not work, and blames no place for it', async () => {
    await using one = await bench();
    const { node, outdoors } = one;
    outdoors.publish('a.example', MAIL);
    outdoors.canSign = false;
    node.count('a.example');
    await node.roundAt(LATE);
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'waiting' });
    assert.match(String(node.logged('report.waiting')[0]?.['reason']), /a dkim key that works/);
    for (let hour = 1; hour <= 48; hour++) await node.roundAt(Date.parse(LATE) + hour * HOUR_MS);
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'not-mailed' });
    assert.equal(node.logged('report.rua_suspended').length, 0);
    assert.equal(outdoors.mails.length, 0);
    outdoors.canSign = true;
    await node.reports.sender.sendNow(DAY, ['a.example'], { dryRun: false });
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'queued' });
  });

  test('R126 has international names in A-labels, wherever it has them', async () => {
    const tlsRpt = { contact: 'tls@bücher.example', from: 'noreply@post.bücher.example' };
    const dkim = [{ domain: 'post.bücher.example', selector: 's1', keyFile: '/nowhere' }];
    await using one = await bench({ settings: { tlsRpt, dkim } });
    const { node, outdoors } = one;
    outdoors.publish('a.example', MAIL);
    node.count('a.example');
    await node.roundAt(LATE);
    const [{ envelope, report } = assert.fail()] = outdoors.mails;
    const ascii = 'xn--bcher-kva.example';
    assert.equal(report['contact-info'], `tls@${ascii}`);
    assert.equal(report['report-id'], `20260314.a.example@${ascii}`);
    assert.ok(envelope.messageId?.endsWith(`@${ascii}>`), envelope.messageId);
    assert.equal(envelope.reversePath, `noreply@post.${ascii}`);
    assert.deepEqual([...new Set(outdoors.signsFor)], [`post.${ascii}`]);
  });

  test('that bounces suspends the place, longer each time, until one gets there', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    outdoors.publish('a.example', MAIL);
    const states: string[] = [];
    for (let day = 0; day < 9; day++) {
      node.count('a.example');
      const today = utcDay(clock.now());
      await node.roundAt(Date.parse(today) + DAY_MS + 5 * HOUR_MS);
      const id = outdoors.mails.at(-1)?.envelope.id;
      const { [MAIL]: state } = await node.targets('a.example', today);
      if (state === 'queued' && id) {
        await node.reports.sender.mailEnded(id, day < 4 ? { failure: '550 no' } : {});
      }
      const { [MAIL]: after } = await node.targets('a.example', today);
      states.push(String(after));
    }
    assert.deepEqual(states, [
      ...['failed', 'failed', 'suspended', 'failed', 'suspended', 'suspended', 'suspended'],
      ...['delivered', 'delivered'],
    ]);
    assert.deepEqual(node.reports.suspensions.list(), []);
  });
});

describe('a POST', () => {
  test('R140 that fails is made again with growing waits for a day, then the place is left alone', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    outdoors.publish('a.example', POST);
    outdoors.answer = () => ({ ok: false, reason: 'HTTP 500' });
    node.count('a.example');
    const start = Date.parse(LATE);
    for (let at = start; at < start + 26 * HOUR_MS; at += 60_000) await node.roundAt(at);
    const waits = outdoors.posts.map(({ atMs }, i) => atMs - (outdoors.posts[i - 1]?.atMs ?? atMs));
    assert.ok(
      waits.slice(1).every((wait, i) => i === 0 || wait >= (waits[i] ?? 0) - 120_000 || i > 8),
    );
    assert.equal((outdoors.posts.at(-1)?.atMs ?? 0) - (outdoors.posts[0]?.atMs ?? 0), DAY_MS);
    assert.deepEqual(await node.targets('a.example'), { [POST]: 'failed' });
    const [suspension] = node.reports.suspensions.list();
    assert.equal(suspension?.failures, 1);
    assert.equal(suspension?.reason, 'HTTP 500');
    assert.equal(node.logged('report.rua_suspended').length, 1);
    assert.ok(clock.now() > start);
  });

  test('that a crash cut off is made again, and says that it is the same report', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    outdoors.publish('a.example', POST);
    node.count('a.example', 2);
    outdoors.answer = () => CRASH;
    one.isCrashed = true;
    clock.set(LATE);
    void node.reports.sender.round();
    await waitFor('the POST', () => outdoors.posts.length > 0);
    outdoors.answer = () => ({ ok: true });
    const next = await one.again();
    await next.reports.sender.round();
    assert.equal(outdoors.posts.length, 2);
    assert.deepEqual(await next.targets('a.example'), { [POST]: 'posted' });
    await next.reports.close();
  });
});

describe('a slow host', () => {
  test('holds up neither the mail of its domain nor other reports', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    const slow = ['https://slow.example/1', 'https://slow.example/2'];
    const ends: (() => void)[] = [];
    outdoors.publish('slow.example', ...slow, 'mailto:tls@slow.example');
    outdoors.publish('good.example', 'https://good.example/');
    outdoors.answer = (url) =>
      url.includes('slow')
        ? new Promise((resolve) => ends.push(() => resolve({ ok: true })))
        : { ok: true };
    node.count('slow.example');
    clock.set(LATE);
    const round = node.reports.sender.round();
    await waitFor('both POSTs', () => outdoors.posts.length === 2);
    assert.equal(outdoors.mails.length, 1);
    node.count('good.example');
    await node.roundAt('2026-03-16T05:00:00Z');
    assert.equal(outdoors.posts.at(-1)?.url, 'https://good.example/');
    assert.equal(outdoors.posts.length, 3);
    for (const end of ends) end();
    await round;
    assert.deepEqual(Object.values(await node.targets('slow.example')).sort(), [
      ...['posted', 'posted', 'queued'],
    ]);
  });
});

describe('sending by hand', () => {
  test('goes on with others where one comes to nothing, and says which nobody asks for', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    outdoors.publish('a.example', POST);
    outdoors.publish('b.example', 'https://b.example/');
    const domains = ['a.example', 'b.example', 'c.example'];
    for (const domain of domains) node.count(domain);
    outdoors.answer = (url) => {
      if (url === POST) throw new Error('it took too long');
      return { ok: true };
    };
    clock.set(`${NEXT_DAY}T00:01:00Z`);
    const answers = await node.reports.sender.sendNow(DAY, domains, { dryRun: false });
    assert.deepEqual(
      answers.map(({ sends, state, error }) => [sends, state?.outcome, error]),
      [
        [true, 'sending', 'it took too long'],
        [true, 'done', undefined],
        [false, 'nobody-asks', undefined],
      ],
    );
  });
});

describe('a place that fails', () => {
  const COLLECTOR = 'https://collector.example/v1';
  const COLLECTOR_MAIL = 'mailto:tls@collector.example';

  test('is left alone for the domain that named it, and for no other one', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    for (const domain of ['evil.example', 'good.example']) {
      outdoors.publish(domain, COLLECTOR, COLLECTOR_MAIL);
    }
    outdoors.answer = () => ({ ok: false, reason: 'answered 404', permanent: true });
    node.count('evil.example');
    await node.roundAt(LATE);
    const id = outdoors.mails[0]?.envelope.id;
    assert.ok(id);
    await node.reports.sender.mailEnded(id, { failure: '552 5.3.4 too big' });
    assert.deepEqual(
      node.reports.suspensions.list().map(({ domain, rua }) => `${domain} ${rua}`),
      [`evil.example ${COLLECTOR}`, `evil.example ${COLLECTOR_MAIL}`],
    );
    outdoors.answer = () => ({ ok: true });
    clock.set(`${NEXT_DAY}T06:00:00Z`);
    node.count('good.example');
    node.count('evil.example');
    await node.roundAt(`2026-03-16T04:59:00Z`);
    assert.deepEqual(await node.targets('good.example', NEXT_DAY), {
      [COLLECTOR]: 'posted',
      [COLLECTOR_MAIL]: 'queued',
    });
    assert.deepEqual(await node.targets('evil.example', NEXT_DAY), {
      [COLLECTOR]: 'suspended',
      [COLLECTOR_MAIL]: 'suspended',
    });
  });

  test('is not one whose mail this relay could not queue, or an administrator gave up', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    outdoors.publish('a.example', MAIL);
    outdoors.mail = 'refused';
    node.count('a.example');
    const start = Date.parse(LATE);
    for (let at = start; at < start + 26 * HOUR_MS; at += 600_000) await node.roundAt(at);
    assert.deepEqual(await node.targets('a.example'), { [MAIL]: 'failed' });
    assert.deepEqual(node.reports.suspensions.list(), []);
    outdoors.mail = 'taken';
    const day = utcDay(clock.now());
    node.count('a.example');
    await node.roundAt(Date.parse(day) + DAY_MS + 5 * HOUR_MS);
    assert.deepEqual(await node.targets('a.example', day), { [MAIL]: 'queued' });
    const id = outdoors.mails[0]?.envelope.id;
    assert.ok(id);
    const bounced = [{ index: 0, failure: GIVEN_UP }];
    node.reports.mailTried(id, { ...ATTEMPT, bounced, untried: true });
    await waitFor('its end', async () => {
      return (await node.targets('a.example', day))[MAIL] === 'failed';
    });
    assert.deepEqual(node.reports.suspensions.list(), []);
  });

  test('is not left alone for longer because somebody tries by hand', async () => {
    await using one = await bench();
    const { node, outdoors, clock } = one;
    outdoors.publish('a.example', POST);
    outdoors.answer = () => ({ ok: false, reason: 'answered 404', permanent: true });
    node.count('a.example');
    await node.roundAt(LATE);
    const before = node.reports.suspensions.list();
    assert.equal(before.length, 1);
    for (const hours of [1, 1, 30]) {
      clock.advance(hours * HOUR_MS);
      await node.reports.sender.sendNow(DAY, ['a.example'], { dryRun: false });
    }
    assert.equal(outdoors.posts.length, 4);
    assert.deepEqual(node.reports.suspensions.list(), before);
    assert.equal(node.logged('report.rua_suspended').length, 1);
  });
});

const GIVEN_UP: RecordedFailure = {
  ...{ text: 'an administrator of this relay gave it up', source: 'local' as const },
  ...{ cause: 'dropped-by-administrator', status: '5.0.0', causeClass: 'other' as const },
};
const ATTEMPT: AttemptRecord = {
  ...{ kind: 'attempt' as const, atMs: 0, destination: 'a.example' as never },
  ...{ delivered: [], relayed: [], bounced: [], deferred: [] },
};
