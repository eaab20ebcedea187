/** What `stsrelay tlsrpt show` makes of a report, on a screen and away from one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTable } from '../../src/cli/table.ts';
import { rowsOf } from '../../src/cli/tlsrpt.ts';

const detail = (type: string, host: string) => ({
  'result-type': type,
  'failed-session-count': 2,
  'receiving-mx-hostname': host,
});
const REPORT = {
  domain: 'dest.example',
  report: {
    policies: [
      {
        policy: { 'policy-type': 'sts', 'policy-domain': 'dest.example' },
        summary: { 'total-successful-session-count': 7, 'total-failure-session-count': 4 },
        'failure-details': [
          detail('certificate-expired', 'mx1.dest.example'),
          detail('starttls-not-supported', 'mx2.dest.example'),
        ],
      },
    ],
  },
};
const HEADING = ['DOMAIN', 'POLICY', 'SUCCESSFUL', 'FAILED', 'FAILURE'];

test('away from a screen every line says whose it is', () => {
  assert.deepEqual(rowsOf(REPORT, false), [
    ['dest.example', 'sts', '7', '4', ''],
    ['dest.example', 'sts', '', '', '2 certificate-expired (mx1.dest.example)'],
    ['dest.example', 'sts', '', '', '2 starttls-not-supported (mx2.dest.example)'],
  ]);
});

test('on a screen failures stand beside their policy, and below each other', () => {
  const table = (columns: number) =>
    formatTable(HEADING, rowsOf(REPORT, true), { isTTY: true, columns });
  assert.equal(
    table(120),
    `DOMAIN        POLICY  SUCCESSFUL  FAILED  FAILURE
dest.example  sts     7           4       2 certificate-expired (mx1.dest.example)
                                          2 starttls-not-supported (mx2.dest.example)`,
  );
  assert.equal(
    table(80),
    `DOMAIN        POLICY  SUCCESSFUL  FAILED
    FAILURE
dest.example  sts     7           4
    2 certificate-expired (mx1.dest.example)
    2 starttls-not-supported (mx2.dest.example)`,
  );
});
