/**
 * What people see of the policy cache: from an entry to a view, from a view to a row and to a
 * screen.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { listingOf, viewOf } from '../../src/admin/policies.ts';
import { formatPolicy, LIST_HEADING, listRow } from '../../src/cli/policy-screen.ts';
import { formatTable } from '../../src/cli/table.ts';
import { DOWNGRADE_SIGNALS } from '../../src/mail/downgrade-signal.ts';
import type { StsEntry } from '../../src/policy/sts-entry.ts';
import { entryOf, HOUR_MS, NOW_MS, viewAt } from './fake-policies.ts';
import { domain, policy } from './policy-parts.ts';

const WHY = { reason: 'connection refused', resultType: 'sts-policy-fetch-error' } as const;
const FAILED_FETCH = { id: 'id2', atMs: NOW_MS - 60_000, ...WHY };
const FAILED_REFRESH = {
  sinceMs: NOW_MS - 48 * HOUR_MS,
  lastMs: NOW_MS - 2 * HOUR_MS,
  failures: 3,
  ...WHY,
};
const DNS_FAILING = { sinceMs: NOW_MS - 5 * HOUR_MS, lastMs: NOW_MS - HOUR_MS };
const GONE = {
  firstMs: NOW_MS - 50 * HOUR_MS,
  lastMs: NOW_MS - HOUR_MS,
  count: 4,
  detail: 'no TXT',
};

describe('the view of an entry', () => {
  test('with a policy', () => {
    const entry = entryOf('a.example', { lastUsedMs: NOW_MS - HOUR_MS });
    assert.deepEqual(viewOf(entry, NOW_MS, NOW_MS + HOUR_MS), {
      domain: 'a.example',
      policy: {
        id: 'id1',
        mode: 'enforce',
        mx: ['*.w.example'],
        maxAgeSeconds: 604_800,
        fetchedAt: '2026-01-10T09:00:00.000Z',
        expiresAt: '2026-01-17T09:00:00.000Z',
        inForce: true,
        source: 'fetch',
        text: 'version: STSv1\r\nmode: enforce\r\nmx: *.w.example\r\nmax_age: 604800\r\n',
      },
      nextRefreshAt: '2026-01-10T13:00:00.000Z',
      lastUsedAt: '2026-01-10T11:00:00.000Z',
      suspicions: [],
    });
  });

  test('with nothing but the name', () => {
    const view = viewOf({ domain: domain('a.example'), changedAtMs: 1 }, NOW_MS);
    assert.deepEqual(view, { domain: 'a.example', suspicions: [] });
    assert.deepEqual(listingOf(view), view);
  });

  test('in force until its max_age is over, not at its end', () => {
    const endsMs = NOW_MS - 3 * HOUR_MS + 604_800_000;
    const entry = entryOf('a.example');
    assert.equal(viewOf(entry, endsMs - 1).policy?.inForce, true);
    assert.equal(viewOf(entry, endsMs).policy?.inForce, false);
  });

  test('the last failure is the latest', () => {
    const fetch = { kind: 'fetch', at: '2026-01-10T11:59:00.000Z', id: 'id2', ...WHY };
    const since = '2026-01-08T12:00:00.000Z';
    const refresh = { kind: 'refresh', at: '2026-01-10T10:00:00.000Z', since, count: 3, ...WHY };
    const dns = {
      kind: 'dns',
      at: '2026-01-10T11:00:00.000Z',
      since: '2026-01-10T07:00:00.000Z',
      reason: 'DNS does not say whether there is a policy',
    };
    const cases: readonly (readonly [Partial<StsEntry>, object | undefined])[] = [
      [{}, undefined],
      [{ failedRefresh: FAILED_REFRESH }, refresh],
      [{ failedRefresh: FAILED_REFRESH, dnsFailing: DNS_FAILING }, dns],
      [
        { failedRefresh: FAILED_REFRESH, dnsFailing: DNS_FAILING, failedFetch: FAILED_FETCH },
        fetch,
      ],
      [
        { failedRefresh: { ...FAILED_REFRESH, lastMs: NOW_MS }, failedFetch: FAILED_FETCH },
        {
          ...refresh,
          at: '2026-01-10T12:00:00.000Z',
        },
      ],
    ];
    for (const [facts, expected] of cases) {
      assert.deepEqual(viewOf(entryOf('a.example', facts), NOW_MS).lastFailure, expected);
    }
  });

  test('signs of a downgrade, the latest first', () => {
    const later = { ...GONE, lastMs: NOW_MS };
    const suspicions = { 'record-gone': GONE, 'starttls-gone': later };
    const view = viewOf(entryOf('a.example', { suspicions }), NOW_MS);
    assert.deepEqual(
      view.suspicions.map(({ signal }) => signal),
      ['starttls-gone', 'record-gone'],
    );
    assert.deepEqual(view.suspicions[1], {
      signal: 'record-gone',
      firstAt: '2026-01-08T10:00:00.000Z',
      lastAt: '2026-01-10T11:00:00.000Z',
      count: 4,
      detail: 'no TXT',
    });
  });

  test('never fails for a time, however wrong the clock was', () => {
    const time = fc.double({ min: 0, noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(time, time, (fetchedAtMs, lastMs) => {
        const kept = { id: '1', policy: policy('enforce'), fetchedAtMs, source: 'fetch' } as const;
        const suspicions = { 'record-gone': { ...GONE, lastMs } };
        const view = viewOf(entryOf('a.example', { kept, lastUsedMs: lastMs, suspicions }), NOW_MS);
        assert.ok(formatPolicy(view, NOW_MS).length > 0);
      }),
    );
  });
});

describe('the list on screen', () => {
  test('a row has every column, whatever is known', () => {
    const rows = [
      viewAt('a.example'),
      viewAt('b.example', { failedFetch: FAILED_FETCH, suspicions: { 'fetch-failed': GONE } }),
      viewOf({ domain: domain('c.example'), dnsFailing: DNS_FAILING, changedAtMs: 1 }, NOW_MS),
    ].map((view) => listRow(view, NOW_MS));
    assert.deepEqual(rows, [
      ['a.example', 'enforce', 'id1', '3 h', 'in 6 d 21 h', 'fetch', '-', '-'],
      [
        'b.example',
        'enforce',
        'id1',
        '3 h',
        'in 6 d 21 h',
        'fetch',
        'fetch-failed',
        'fetch 1 min ago: connection refused',
      ],
      [
        'c.example',
        ...['-', '-', '-', '-', '-', '-'],
        'dns 1 h ago: DNS does not say whether there is a policy',
      ],
    ]);
    for (const row of rows) assert.equal(row.length, LIST_HEADING.length);
  });

  test('one that expired says so', () => {
    const view = viewOf(entryOf('a.example'), NOW_MS + 30 * 24 * HOUR_MS);
    assert.equal(listRow(view, NOW_MS + 30 * 24 * HOUR_MS)[4], 'expired');
  });

  test('aligned and cut on a terminal, whole and with tabs elsewhere', () => {
    const rows = [
      ['a', 'x'.repeat(80)],
      ['longer', 'bad\u001b[2J\tthing'],
    ];
    assert.equal(
      formatTable(['NAME', 'WHY'], rows, { isTTY: true, columns: 70 }),
      `NAME    WHY\na       ${'x'.repeat(61)}…\nlonger  bad\ufffd[2J\ufffdthing`,
    );
    assert.equal(
      formatTable(['NAME', 'WHY'], rows, { isTTY: false }),
      `a\t${'x'.repeat(80)}\nlonger\tbad\ufffd[2J\ufffdthing`,
    );
  });
});

describe('the screen about a domain', () => {
  test('with everything there can be', () => {
    const entry = entryOf('a.example', {
      lastUsedMs: NOW_MS - HOUR_MS,
      failedRefresh: FAILED_REFRESH,
      suspicions: { 'record-gone': GONE },
    });
    assert.equal(
      formatPolicy(viewOf(entry, NOW_MS, NOW_MS + HOUR_MS), NOW_MS),
      `\
domain         a.example
mode           enforce (mail goes only to the hosts it lists, over TLS with a valid certificate)
id             id1
fetched        2026-01-10T09:00:00Z, 3 h ago
expires        2026-01-17T09:00:00Z, in 6 d 21 h, max_age 604800 s
source         fetch (fetched when a message needed it)
next refresh   2026-01-10T13:00:00Z, in 1 h
last used      2026-01-10T11:00:00Z, 1 h ago
last failure   refreshing the policy, 2026-01-10T10:00:00Z, 2 h ago
               connection refused (sts-policy-fetch-error)
               3 times in a row, the first 2026-01-08T12:00:00Z, 2 d ago
suspicious     record-gone, last seen 2026-01-10T11:00:00Z, 1 h ago: no TXT
                 4 times, the first 2026-01-08T10:00:00Z, 2 d 2 h ago
                 The TXT record was gone or broken while the policy was still in force.
                 Ask the domain whether it gave up MTA-STS; if not, look who answers your resolver.
               This is history: it need not go on now. A sign is kept until the policy is forgotten
               (\`stsrelay policy forget\`).
mx             *.w.example
policy text    version: STSv1
               mode: enforce
               mx: *.w.example
               max_age: 604800`,
    );
  });

  test('with troubles alone', () => {
    const entry = { domain: domain('a.example'), dnsFailing: DNS_FAILING, changedAtMs: 1 };
    assert.equal(
      formatPolicy(viewOf(entry, NOW_MS), NOW_MS, 6 * HOUR_MS),
      `\
domain         a.example
policy         none is kept, and DNS does not say whether there is one:
               mail waits until 2026-01-10T13:00:00Z, in 1 h, then goes as if nothing were published
next refresh   none
last failure   looking up the TXT record, 2026-01-10T11:00:00Z, 1 h ago
               DNS does not say whether there is a policy
               the first 2026-01-10T07:00:00Z, 5 h ago
suspicious     nothing`,
    );
  });

  test('what becomes of mail where no policy is kept', () => {
    const open = /^policy {9}none is kept: mail goes as if nothing were published$/m;
    const rows: readonly (readonly [Partial<StsEntry>, number | undefined, RegExp])[] = [
      [{ failedFetch: FAILED_FETCH }, HOUR_MS, open],
      [{ dnsFailing: DNS_FAILING }, 0, open],
      [{ dnsFailing: DNS_FAILING }, undefined, /^ {15}mail waits for dnsFailureGrace, then goes/m],
      [{ dnsFailing: DNS_FAILING }, 5 * HOUR_MS, /^ {15}mail has waited for dnsFailureGrace, and/m],
      [{ dnsFailing: DNS_FAILING }, 5 * HOUR_MS + 1000, /^ {15}mail waits until 2026.*, in 1 s/m],
    ];
    for (const [facts, graceMs, expected] of rows) {
      const view = viewOf({ domain: domain('a.example'), changedAtMs: 1, ...facts }, NOW_MS);
      const screen = formatPolicy(view, NOW_MS, graceMs);
      assert.match(screen, expected);
      assert.doesNotMatch(screen, /^last used/m);
    }
  });

  test('one that expired is not said to protect', () => {
    const later = NOW_MS + 30 * 24 * HOUR_MS;
    const screen = formatPolicy(viewOf(entryOf('a.example'), later, later + HOUR_MS), later);
    assert.match(screen, /^mode {11}enforce \(expired: as if nothing were published\)$/m);
    assert.match(screen, /^next refresh {3}none$/m);
  });

  test('a refresh that is due', () => {
    const screen = formatPolicy(viewOf(entryOf('a.example'), NOW_MS, NOW_MS), NOW_MS);
    assert.match(screen, /^next refresh {3}due now$/m);
  });

  test('every sign has its meaning and advice', () => {
    for (const signal of DOWNGRADE_SIGNALS) {
      const screen = formatPolicy(viewAt('a.example', { suspicions: { [signal]: GONE } }), NOW_MS);
      const lines = screen.split('\n');
      const at = lines.findIndex((line) => line.startsWith(`suspicious     ${signal}, `));
      for (const line of lines.slice(at + 2, at + 4)) assert.match(line, /^ {17}[A-Z].{30,100}\.$/);
    }
  });

  test('strangers cannot write on the terminal', () => {
    const evil = 'x\u001b[2J\u202e\r\nlast failure   none';
    const kept = {
      id: evil,
      policy: { ...policy('enforce'), mx: [evil], text: `version: STSv1\r\n${evil}\u0007` },
      fetchedAtMs: NOW_MS,
      source: 'shared',
    } as const;
    const suspicions = { 'record-gone': { ...GONE, detail: evil } };
    const failedFetch = { ...FAILED_FETCH, id: evil, reason: evil };
    const view = viewOf(entryOf('a.example', { kept, suspicions, failedFetch }), NOW_MS);
    const screen = formatPolicy(view, NOW_MS);
    const table = formatTable(LIST_HEADING, [listRow(view, NOW_MS)], { isTTY: true });
    for (const shown of [screen, table]) {
      assert.doesNotMatch(shown.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
    }
    assert.equal(screen.match(/^last failure/gm)?.length, 1);
  });
});
