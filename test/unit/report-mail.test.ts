/**
 * The mail that carries a TLS report: its form (RFC 8460 §5.1, §5.3), its signature, and that nothing strangers
 * chose gets out of its place.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import addressparser from 'nodemailer/lib/addressparser';
import { DkimSigner } from '../../src/dkim/signer.ts';
import { systemClock } from '../../src/platform/clock.ts';
import {
  composeReportMail,
  type ReportMailParts,
  ReportUnsignedError,
} from '../../src/reporting/report-mail.ts';
import { rsaPair } from '../support/dkim-keys.ts';
import { dkimpyMissing, verifyAll, verifyDkim } from '../support/dkimpy.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { parseMultipart } from './report-parser.ts';

const GZIP = gzipSync(JSON.stringify({ 'report-id': 'x', policies: ['y'.repeat(500)] }));
const PARTS: ReportMailParts = {
  gzip: GZIP,
  reportId: '20260314.policy.test@sender.test',
  organization: 'Example Ltd',
  contact: 'tls@sender.test',
  from: 'noreply@sender.test',
  policyDomain: 'policy.test',
  to: 'reports@policy.test',
  startDate: new Date('2026-03-14T00:00:00Z'),
  endDate: new Date('2026-03-14T23:59:59Z'),
  messageId: 'tlsrpt.20260314.0123@sender.test',
  date: new Date('2026-03-15T00:10:00Z'),
  host: 'relay.sender.test',
};

const pair = rsaPair(1024, 's=tlsrpt; ');
const RECORDS = { 's1._domainkey.sender.test': pair.record };

let dir: TempDir;
let signer: DkimSigner;
before(() => {
  dir = tempDir();
  const keyFile = dir.file('key.pem');
  writeFileSync(keyFile, pair.keyPem);
  const nothing = () => {};
  const key = { keyFailed: nothing, keyChanged: nothing };
  const events = { signed: nothing, unsigned: nothing, malformed: nothing, ...key };
  signer = new DkimSigner({ clock: systemClock, events });
  signer.use([
    { domain: 'sender.test', selector: 's1', keyFile },
    { domain: 'keyless.test', selector: 's1', keyFile: dir.file('absent.pem') },
  ]);
});
after(() => dir.remove());

const compose = (changes: Partial<ReportMailParts> = {}) =>
  composeReportMail({ ...PARTS, ...changes }, signer);

describe('the mail', () => {
  test('R130, R132: has the header fields of RFC 8460 §5.3, under their names', async () => {
    const mail = await compose();
    const text = mail.toString('latin1');
    const { fields } = parseMultipart(mail);
    const expected = {
      from: 'Example Ltd <noreply@sender.test>',
      to: 'reports@policy.test',
      subject:
        'Report Domain: policy.test Submitter: sender.test Report-ID: <20260314.policy.test@sender.test>',
      'tls-report-domain': 'policy.test',
      'tls-report-submitter': 'sender.test',
      'tls-required': 'No',
      'auto-submitted': 'auto-generated',
      'message-id': '<tlsrpt.20260314.0123@sender.test>',
      date: 'Sun, 15 Mar 2026 00:10:00 +0000',
      'mime-version': '1.0',
    };
    for (const [name, value] of Object.entries(expected))
      assert.equal(fields.get(name), value, name);
    assert.match(fields.get('content-type') ?? '', /^multipart\/report; report-type="tlsrpt"; /);
    for (const name of ['TLS-Report-Domain', 'TLS-Report-Submitter', 'TLS-Required']) {
      assert.ok(text.includes(`\r\n${name}: `), name);
    }
  });

  test('R126, R127, R128, R129: has a text for people and the report as it is', async () => {
    const { parts } = parseMultipart(await compose());
    const [text, report, ...others] = parts;
    assert.deepEqual([text?.type, report?.type], ['text/plain', 'application/tlsrpt+gzip']);
    assert.equal(others.length, 0);
    for (const word of [
      'policy.test',
      '2026-03-14 23:59:59',
      'Example Ltd',
      '_smtp._tls.policy.test',
    ]) {
      assert.ok(text?.content.includes(word), word);
    }
    assert.deepEqual(report?.content, GZIP);
    assert.equal(report?.fields.get('content-transfer-encoding'), 'base64');
    // RFC 8460 §5.1
    const name = 'sender.test!policy.test!1773446400!1773532799.json.gz';
    assert.equal(report?.fields.get('content-disposition'), `attachment; filename=${name}`);
  });

  test('has the submitter in A-labels', async () => {
    const { fields } = parseMultipart(await compose({ contact: 'tls@bücher.test' }));
    assert.equal(fields.get('tls-report-submitter'), 'xn--bcher-kva.test');
  });

  test('does without an organization', async () => {
    const { fields } = parseMultipart(await compose({ organization: '' }));
    assert.equal(fields.get('from'), 'noreply@sender.test');
  });
});

describe('the signature', () => {
  test('R131, R133, R134, R135: is one of the domain of From, and covers what a receiver goes by', {
    skip: dkimpyMissing,
  }, async () => {
    const [signature, ...others] = verifyDkim(await compose(), {
      records: RECORDS,
      tlsrpt: 'strict',
    });
    assert.equal(others.length, 0);
    assert.deepEqual([signature?.valid, signature?.error], [true, '']);
    const { d, h = '', l } = signature?.tags ?? {};
    assert.equal(d, 'sender.test');
    assert.equal(l, undefined, 'RFC 8460 §3');
    const names = ['from', 'to', 'subject', 'date', 'message-id', 'mime-version', 'content-type'];
    for (const name of [...names, 'tls-report-domain', 'tls-report-submitter']) {
      assert.ok(h.split(/:\s*/).includes(name), name);
    }
  });

  for (const [from, why] of [
    ['a@other.test', /no key of dkim/],
    ['a@keyless.test', /no key that works/],
  ] as const) {
    test(`none from ${from}: no mail`, async () => {
      await assert.rejects(compose({ from }), (error) => {
        assert.ok(error instanceof ReportUnsignedError);
        assert.match(error.message, why);
        return true;
      });
    });
  }
});

test('nothing that strangers chose gets out of its place', { skip: dkimpyMissing }, async () => {
  const bit = fc.constantFrom(
    ...['\r\n', '\n', '\r', '\0', '\u2028', '\x85', ': x', 'Bcc: a@b', '<', '>', '"', ',', ';'],
    ...['ü', '世', '%', '=?utf-8?q?x?=', ' ', '\t', 'word', '--', '\ud800', 'x'.repeat(90)],
  );
  const hostile = fc.array(bit, { maxLength: 12 }).map((bits) => bits.join(''));
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,62}$/);
  const domain = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'));
  const local = fc.stringMatching(/^[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}$/);
  const changes = fc.record({
    organization: hostile,
    reportId: hostile,
    policyDomain: fc.oneof(domain, hostile),
    messageId: hostile,
    host: hostile,
    to: fc.tuple(local, domain).map((halves) => halves.join('@')),
  });
  const made = fc.sample(changes, 80);
  const mails = await Promise.all(made.map((one) => compose(one)));
  const verified = verifyAll(mails, { records: RECORDS, tlsrpt: 'strict' });
  for (const [i, mail] of mails.entries()) {
    const what = JSON.stringify(made[i]);
    const { fields, parts } = parseMultipart(mail);
    const names = 'dkim-signature from to tls-report-submitter date message-id tls-required';
    const known = new Set(`${names} auto-submitted mime-version content-type subject`.split(' '));
    for (const name of fields.keys()) {
      assert.ok(known.has(name) || name === 'tls-report-domain', `${name}: ${what}`);
    }
    assert.deepEqual(
      parts.map(({ type }) => type),
      ['text/plain', 'application/tlsrpt+gzip'],
      what,
    );
    assert.deepEqual(parts[1]?.content, GZIP);
    for (const line of mail.toString('latin1').split('\r\n')) {
      assert.ok(line.length <= 998 && /^[\t\x20-\x7e]*$/.test(line), `${what}: ${line}`);
    }
    // A local part that is no dot-atom is quoted (RFC 5322 §3.4.1), which makes it no other.
    const [to] = addressparser(fields.get('to') ?? '', { flatten: true });
    assert.equal(to?.address?.replaceAll('"', ''), made[i]?.to, what);
    assert.equal(verified[i]?.[0]?.valid, true, `${what}: ${verified[i]?.[0]?.error}`);
  }
});
