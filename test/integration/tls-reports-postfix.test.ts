/**
 * TLS reports between real parts: the running relay mails those of a day to a mailbox behind a Postfix, whose
 * certificate has expired under a policy in mode enforce. What Postfix has stored is judged by nothing of
 * ours: dkimpy verifies it as the receiver of a report does, Python's mail library, gzip and JSON open it. The
 * counts are held against what the MX hosts of this test saw, and against the relay's log.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { TlsReport } from '../../src/protocol/tlsrpt/report.ts';
import type { ResultType } from '../../src/protocol/tlsrpt/result-type.ts';
import { runStsrelay } from '../support/cli.ts';
import { rsaPair } from '../support/dkim-keys.ts';
import { dkimpyMissing, verifyAll } from '../support/dkimpy.ts';
import { type Postfix, postfixMissing, startPostfix } from '../support/postfix.ts';
import type { MxDescription, PretendDomain } from '../support/pretend-internet.ts';
import type { LogLine } from '../support/relay-process.ts';
import { type RelayWorld, startWorldWith } from '../support/relay-world.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { assertIsReport } from '../support/tlsrpt-schema.ts';
import { waitFor } from '../support/wait-for.ts';
import { WrongClock } from '../support/wrong-clock.ts';

const DAY_MS = 86_400_000;
/** Nobody's, on every system that Postfix runs on; it must not be Postfix's own. */
const MAILBOX_UID = 65_534;

const pair = rsaPair(2048, 's=tlsrpt; ');
const records = { 's1._domainkey.sender.test': pair.record };

interface Scene {
  readonly mode: 'enforce' | 'testing' | 'unpublished';
  readonly certificate: Exclude<MxDescription['certificate'], undefined>;
  readonly messages: number;
  /** How its sessions fail; absent: they do not. */
  readonly fails?: ResultType;
}

const EXPIRED = { certificate: 'expired', fails: 'certificate-expired' } as const;
const CLEAR = { certificate: null, fails: 'starttls-not-supported' } as const;
const MISMATCH = { certificate: 'wrong-host', fails: 'certificate-host-mismatch' } as const;

/** By domain. */
const SCENES: Readonly<Record<string, Scene>> = {
  'good-enforce.test': { mode: 'enforce', certificate: 'good', messages: 3 },
  'good-testing.test': { mode: 'testing', certificate: 'good', messages: 2 },
  'good-unpublished.test': { mode: 'unpublished', certificate: 'good', messages: 1 },
  'expired-enforce.test': { mode: 'enforce', ...EXPIRED, messages: 2 },
  'expired-testing.test': { mode: 'testing', ...EXPIRED, messages: 3 },
  // Without a policy nobody asks for a certificate (RFC 8460 §4.2.1).
  'expired-unpublished.test': { mode: 'unpublished', certificate: 'expired', messages: 2 },
  'clear-enforce.test': { mode: 'enforce', ...CLEAR, messages: 1 },
  'clear-testing.test': { mode: 'testing', ...CLEAR, messages: 2 },
  'clear-unpublished.test': { mode: 'unpublished', ...CLEAR, messages: 3 },
  'mismatch-enforce.test': { mode: 'enforce', ...MISMATCH, messages: 1 },
  'mismatch-testing.test': { mode: 'testing', ...MISMATCH, messages: 2 },
  'mismatch-unpublished.test': { mode: 'unpublished', certificate: 'wrong-host', messages: 2 },
};

/** A mail as Python's library reads it. */
interface ReadMail {
  readonly fields: Readonly<Record<string, string>>;
  readonly type: string;
  readonly reportType: string;
  readonly parts: readonly string[];
  readonly fileName: string;
  readonly report: TlsReport;
}

const READ = `
import base64, email, email.policy, gzip, json, sys
read = []
for text in json.load(sys.stdin):
    message = email.message_from_bytes(base64.b64decode(text), policy=email.policy.default)
    _, report = parts = list(message.iter_parts())
    read.append({
        'fields': {name.lower(): str(value) for name, value in message.items()},
        'type': message.get_content_type(),
        'reportType': message.get_param('report-type'),
        'parts': [part.get_content_type() for part in parts],
        'fileName': report.get_filename(),
        'report': json.loads(gzip.decompress(report.get_content()).decode('utf-8')),
    })
json.dump(read, sys.stdout)
`;

function readMails(mails: readonly Buffer[]): readonly ReadMail[] {
  const input = JSON.stringify(mails.map((mail) => mail.toString('base64')));
  const { status, stdout, stderr } = spawnSync('python3', ['-c', READ], {
    input,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as readonly ReadMail[];
}

describe('a day of TLS reports in a mailbox behind Postfix', {
  skip: postfixMissing || dkimpyMissing,
}, () => {
  let clock: WrongClock;
  let files: TempDir;
  let mailboxes: TempDir;
  let world: RelayWorld;
  let postfix: Postfix;
  let day = '';
  const domains = new Map<string, PretendDomain>();
  /** What the relay said of the day. */
  let log: readonly LogLine[] = [];
  /** Sessions that the MX hosts of each domain saw on the day, and messages that they took. */
  const saw = new Map<string, { readonly sessions: number; readonly messages: number }>();
  let stored: readonly Buffer[] = [];
  let mails: readonly ReadMail[] = [];

  before(async () => {
    clock = new WrongClock();
    clock.set(DAY_MS + DAY_MS / 2 - (Date.now() % DAY_MS)); // noon: no midnight comes between
    files = tempDir();
    const keyFile = files.file('key.pem');
    writeFileSync(keyFile, pair.keyPem, { mode: 0o600 });
    world = await startWorldWith(
      { env: clock.env },
      {
        destinations: { default: { messagesPerConnection: 1 } },
        retry: { schedule: ['12h'] },
        tlsRpt: {
          ...{ organization: 'Example Ltd', contact: 'tls@sender.test' },
          ...{ from: 'noreply@sender.test', sendAfter: '00:00', sendWindow: '0s' },
        },
        dkim: [{ domain: 'sender.test', selector: 's1', keyFile }],
      },
    );
    postfix = await startReportsHost();
    for (const [name, { mode, certificate }] of Object.entries(SCENES)) {
      const domain = await world.internet.domain(name, {
        mx: [{ host: `mx.${name}`, certificate }],
        ...(mode === 'unpublished' ? {} : { sts: { mode } }),
        tlsRptRua: 'mailto:tls@reports.test',
      });
      domains.set(name, domain);
    }
  });
  after(async () => {
    await world?.close();
    await postfix?.close();
    for (const one of [clock, files, mailboxes]) one?.remove();
  });

  /** Postfix as the MX host of reports.test. */
  async function startReportsHost(): Promise<Postfix> {
    const { internet } = world;
    const { mx } = await internet.domain('reports.test', {
      sts: { mode: 'enforce' },
      mx: [{ host: 'mx.reports.test', down: true }],
    });
    const { address = '' } = mx[0] ?? {};
    const { certPem, keyPem } = await internet.ca.issueKind('expired', 'mx.reports.test', address);
    writeFileSync(files.file('chain.pem'), keyPem + certPem);
    mailboxes = tempDir();
    chmodSync(mailboxes.path, 0o755);
    chownSync(mailboxes.path, MAILBOX_UID, MAILBOX_UID);
    return startPostfix({
      ...{ hostname: 'mx.reports.test', address, port: internet.mxPort },
      mainCf: {
        virtual_mailbox_domains: 'reports.test',
        virtual_mailbox_base: mailboxes.path,
        virtual_mailbox_maps: 'static:reports/',
        virtual_uid_maps: `static:${MAILBOX_UID}`,
        virtual_gid_maps: `static:${MAILBOX_UID}`,
        smtpd_tls_security_level: 'may',
        smtpd_tls_chain_files: files.file('chain.pem'),
        smtpd_tls_loglevel: '1',
      },
    });
  }

  function readStored(): readonly Buffer[] {
    const folder = mailboxes.file('reports/new');
    return readdirSync(folder).map((name) => readFileSync(`${folder}/${name}`));
  }

  function lines(event: string, matches: (line: LogLine) => boolean): readonly LogLine[] {
    return log.filter((line) => line.event === event && matches(line));
  }

  test('the day passes: mail goes, or waits, as the policies have it', async () => {
    const days = new Set<string>();
    const sendAll = async ([name, { messages, mode, fails }]: readonly [string, Scene]) => {
      for (let i = 0; i < messages; i++) {
        const answer = await world.answer(await world.send({ to: `ann${i}@${name}` }));
        const waits = mode === 'enforce' && fails !== undefined;
        const wanted = waits ? 'delivery.deferred' : 'delivery.delivered';
        assert.equal(answer.event, wanted, JSON.stringify(answer));
        days.add(String(answer.time).slice(0, 10));
      }
    };
    await Promise.all(Object.entries(SCENES).map(sendAll));
    assert.equal(days.size, 1);
    [day = ''] = days;
    log = [...world.relay.log];
    for (const [name, { mx, messages }] of domains) {
      const sessions = mx.reduce((sum, host) => sum + host.sessions.length, 0);
      saw.set(name, { sessions, messages: messages.length });
    }
  });

  test('R136 a report for each of its domains gets there, though the TLS of the way fails', async () => {
    clock.set(2 * DAY_MS + DAY_MS / 2 - (Date.now() % DAY_MS));
    await waitFor('the reports', async () => {
      const asked = ['tlsrpt', 'send', '--day', day, '--config', world.relay.configFile];
      await runStsrelay(asked); // a round of the relay's own may be first
      return world.relay.events('report.made').length > 0;
    });
    const count = Object.keys(SCENES).length;
    await world.relay.waitForEvents('report.delivered', count);
    await waitFor('the mails in the mailbox', () => readStored().length >= count);
    stored = readStored();
    assert.equal(stored.length, count);
    mails = readMails(stored);
    assert.match(postfix.log, /Anonymous TLS connection established from/);
  });

  test('R126 R127 R128 R129 R130 R132 it has the form of RFC 8460 §5, for Python, too', () => {
    const begin = Date.parse(`${day}T00:00:00Z`) / 1000;
    for (const { fields, type, reportType, parts, fileName, report } of mails) {
      const domain = String(fields['tls-report-domain']);
      assert.ok(domain in SCENES, domain);
      assert.deepEqual([type, reportType], ['multipart/report', 'tlsrpt']);
      assert.deepEqual(parts, ['text/plain', 'application/tlsrpt+gzip']);
      assert.equal(fileName, `sender.test!${domain}!${begin}!${begin + 86_399}.json.gz`);
      assert.equal(fields['tls-report-submitter'], 'sender.test');
      const id = `<${report['report-id']}>`;
      const subject = `Report Domain: ${domain} Submitter: sender.test Report-ID: ${id}`;
      assert.equal(fields['subject'], subject);
      assert.equal(fields['return-path'], '<noreply@sender.test>');
    }
  });

  test('R131 R133 R134 R135 dkimpy verifies what Postfix stored, strict about the service', () => {
    for (const signatures of verifyAll(stored, { records, tlsrpt: 'strict' })) {
      const [signature, ...others] = signatures;
      assert.deepEqual([signature?.valid, signature?.error, others.length], [true, '', 0]);
      const { d, h = '', l } = signature?.tags ?? {};
      assert.deepEqual([d, l], ['sender.test', undefined]);
      const covered = h.toLowerCase().split(/\s*:\s*/);
      for (const name of ['from', 'subject', 'tls-report-domain', 'tls-report-submitter']) {
        assert.ok(covered.includes(name), name);
      }
    }
  });

  for (const [name, { mode, fails, messages }] of Object.entries(SCENES)) {
    test(`R094 R095 ${name}: counts what its MX host saw, and the log`, () => {
      const found = mails.filter(({ fields }) => fields['tls-report-domain'] === name);
      assert.equal(found.length, 1);
      const report = found[0]?.report;
      assertIsReport(report);
      assert.ok(report);
      assert.ok(report['date-range']['start-datetime'].startsWith(day));
      const [policy, ...others] = report.policies;
      assert.equal(others.length, 0);
      const type = mode === 'unpublished' ? 'no-policy-found' : 'sts';
      assert.equal(policy?.policy['policy-type'], type);
      assert.equal(policy.policy['policy-domain'], name);

      const { sessions = 0, messages: taken } = saw.get(name) ?? {};
      assert.ok(sessions > 0);
      const [successful, failed] = fails === undefined ? [sessions, 0] : [0, sessions];
      assert.deepEqual(Object.values(policy.summary), [successful, failed]);
      const details = policy['failure-details'].map((detail) => [
        ...[detail['result-type'], detail['failed-session-count']],
        detail['receiving-mx-hostname'],
      ]);
      assert.deepEqual(details, fails === undefined ? [] : [[fails, sessions, `mx.${name}`]]);

      const counted = lines('report.failure_counted', ({ domain }) => domain === name);
      assert.equal(counted.length, failed);
      const isHere = ({ recipient }: LogLine) => String(recipient).endsWith(`@${name}`);
      const delivered = lines('delivery.delivered', isHere).length;
      assert.equal(delivered, taken);
      assert.equal(delivered, mode === 'enforce' && fails ? 0 : messages);
    });
  }
});
