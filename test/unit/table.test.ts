/** Rows on screens of several widths, and away from one. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AUDIT_HEADING, AUDIT_SHORTENED, auditRow } from '../../src/cli/audit.ts';
import { LIST_HEADING, LIST_SHORTENED, listRow } from '../../src/cli/queue.ts';
import { formatTable } from '../../src/cli/table.ts';

const NOW = Date.parse('2026-01-31T12:00:00Z');
const WHY = '451 4.7.1 greylisted, please try again in 300 seconds, says mx.grey.test';
const ROW = {
  ...{ id: '1KF0RBWX7Q2M4T9A', domain: 'grey.test', state: 'delayed', attempts: 2, sizeBytes: 7 },
  sender: 'bounce-0123456789-ann=grey.test-list-2026-01-31@newsletter.shop.example',
  ...{ recipients: ['a1@grey.test', 'a2@grey.test'], recipientCount: 5 },
  ...{ received: '2026-01-31T11:00:01Z', nextAttempt: '2026-01-31T12:12:30Z', lastFailure: WHY },
};

describe('a table', () => {
  test('away from a screen: no heading, tabs, nothing left out', () => {
    const text = formatTable(LIST_HEADING, [listRow(ROW, NOW, false)], { columns: 80 });
    const cells = [ROW.id, 'delayed', '59 min 59 s', '2', 'in 12 min 30 s', ROW.sender];
    assert.equal(text, [...cells, 'a1@grey.test,a2@grey.test and 3 more', WHY].join('\t'));
  });

  for (const columns of [80, 100, 130, 200]) {
    test(`the queue on ${columns} columns: no line is longer, no reason is cut`, () => {
      const screen = { isTTY: true, columns, shortened: LIST_SHORTENED };
      const text = formatTable(LIST_HEADING, [listRow(ROW, NOW, true)], screen);
      const lines = text.split('\n');
      const longest = Math.max(...lines.map(({ length }) => length));
      assert.ok(longest <= columns, `${longest}\n${text}`);
      assert.match(text, /greylisted, please try again in 300 seconds, says mx\.grey\.test$/);
      assert.match(
        lines.find((line) => line.startsWith('1')) ?? '',
        /^1KF0RBWX7Q2M4T9A {2}delayed {2}59m59s {2}2 {6}in 12m30s {2}b/,
      );
    });
  }

  test('the audit log on 80 columns: no line is longer', () => {
    const target = 'mail from newsletter-bounces@shop.example to *@partner.example';
    const row = auditRow({
      ...{ at: '2026-01-31T11:00:01.123Z', actor: 'administrator (uid 1000)', target },
      ...{ action: 'queue.release', facts: { matched: 12, touched: 12 }, result: 'done' },
    });
    const screen = { isTTY: true, columns: 80, shortened: AUDIT_SHORTENED };
    const lines = formatTable(AUDIT_HEADING, [row], screen).split('\n');
    assert.ok(Math.max(...lines.map(({ length }) => length)) <= 80, lines.join('\n'));
    assert.match(lines.join('\n'), /queue\.release {2}mail f.*…/);
  });

  test('addresses lose their middle, and how many more there are stays', () => {
    const screen = { isTTY: true, columns: 80, shortened: LIST_SHORTENED };
    const text = formatTable(LIST_HEADING, [listRow(ROW, NOW, true)], screen);
    const line = text.split('\n').find((one) => one.startsWith('1'));
    assert.match(line ?? '', /bounce…ample {2}a1@gre…st \+4$/);
  });

  test('what fits stays on its line, and what does not goes below', () => {
    const screen = { isTTY: true, columns: 24 };
    assert.equal(formatTable(['A', 'B'], [['one', 'two']], screen), 'A    B\none  two');
    const rows = [
      ['one', 'three words and more of it'],
      ['two', '-'],
    ];
    assert.equal(
      formatTable(['A', 'B'], rows, screen),
      'A\n    B\none\n    three words and mor…\ntwo',
    );
  });
});
