/**
 * `stsrelay check` as an administrator runs it: the real program against the pretend internet. Its
 * verdict is the one a delivery would get, it finds what is wrong at each step, sends no MAIL
 * FROM, and leaves nothing behind.
 */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { stringify } from 'yaml';
import type { Examination, Finding } from '../../src/check/types.ts';
import { type CliResult, runStsrelay } from '../support/cli.ts';
import type { MxHost } from '../support/mx-host.ts';
import {
  type DomainDescription,
  type PretendInternet,
  startPretendInternet,
} from '../support/pretend-internet.ts';
import { onVerb } from '../support/relay-mail.ts';
import { mergeSettings, type Settings } from '../support/relay-process.ts';
import { assertToldNothing } from '../support/relay-world.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';

let net: PretendInternet;
let dir: TempDir;
before(async () => {
  net = await startPretendInternet();
  dir = tempDir();
});
after(async () => {
  await net?.close();
  dir?.remove();
});

let configs = 0;
/** A configuration file for this internet, in a directory of its own. */
function configFile(settings: Settings = {}): string {
  configs += 1;
  const defaults = { hostname: 'relay.example.net', dataDir: dir.file(`data${configs}`) };
  const ours = mergeSettings(defaults, net.relaySettings());
  const file = dir.file(`stsrelay${configs}.yaml`);
  writeFileSync(file, stringify(mergeSettings(ours, settings)));
  return file;
}

interface Checked extends CliResult {
  readonly all: readonly Examination[];
  readonly one: Examination;
}

async function check(args: readonly string[], settings: Settings = {}): Promise<Checked> {
  const result = await runStsrelay(['--config', configFile(settings), 'check', '--json', ...args]);
  const all = JSON.parse(result.stdout) as Examination[];
  const [one] = all;
  assert.ok(one !== undefined, result.stderr);
  return { ...result, all, one };
}

const codesOf = ({ findings }: Examination, severity: Finding['severity']) =>
  findings.filter((finding) => finding.severity === severity).map(({ code }) => code);

/** Findings that every domain here gets, for it asks for no TLS reports. */
const ALWAYS: readonly string[] = ['tlsrpt-missing'];

/** Domain, exit code, `outcome how`, errors, warnings besides those every domain gets. */
type Row = readonly [
  name: string,
  description: DomainDescription,
  code: 0 | 1,
  verdict: string,
  errors: readonly string[],
  warnings: readonly string[],
];

const one = (mx: Omit<NonNullable<DomainDescription['mx']>[number], 'host'>, name: string) => [
  { host: `mx.${name}`, ...mx },
];
const enforced = (name: string, mx: Parameters<typeof one>[0]): DomainDescription => ({
  sts: {},
  mx: one(mx, name),
});

const VERIFIED = 'delivered verified-tls';
const ROWS: readonly Row[] = [
  ['good.test', { sts: {} }, 0, VERIFIED, [], []],
  [
    'expired.test',
    enforced('expired.test', { certificate: 'expired' }),
    1,
    'deferred',
    ['certificate-expired'],
    [],
  ],
  [
    'name.test',
    enforced('name.test', { certificate: 'wrong-host' }),
    1,
    'deferred',
    ['certificate-host-mismatch'],
    [],
  ],
  [
    'cn.test',
    enforced('cn.test', { certificate: 'cn-only' }),
    1,
    'deferred',
    ['certificate-host-mismatch'],
    [],
  ],
  [
    'chain.test',
    enforced('chain.test', { certificate: 'missing-intermediate' }),
    1,
    'deferred',
    ['certificate-untrusted'],
    [],
  ],
  [
    'notls.test',
    enforced('notls.test', { certificate: null }),
    1,
    'deferred',
    ['starttls-not-offered'],
    [],
  ],
  [
    'oldtls.test',
    enforced('oldtls.test', { maxTls: 'TLSv1.1' }),
    1,
    'deferred',
    ['tls-version-too-low'],
    [],
  ],
  [
    'garbage.test',
    enforced('garbage.test', { startTls: 'garbage' }),
    1,
    'deferred',
    ['clear-text-after-starttls'],
    [],
  ],
  ['down.test', enforced('down.test', { down: true }), 1, 'deferred', ['connect-refused'], []],
  [
    'greets.test',
    enforced('greets.test', { script: onVerb('CONNECT', '554 5.7.1 go away') }),
    1,
    'deferred',
    ['refused-before-tls'],
    [],
  ],
  [
    'outside.test',
    { sts: { mx: ['mx.elsewhere.test'] } },
    1,
    'deferred',
    ['mx-outside-policy'],
    [],
  ],
  [
    'outside-expired.test',
    {
      sts: { mx: ['mx.elsewhere.test'] },
      mx: one({ certificate: 'expired' }, 'outside-expired.test'),
    },
    1,
    'deferred',
    ['mx-outside-policy', 'certificate-expired'],
    [],
  ],
  [
    'redirect.test',
    { sts: {}, policy: { redirect: 'https://www.redirect.test/' } },
    1,
    VERIFIED,
    ['policy-host-redirect'],
    [],
  ],
  ['missing.test', { sts: {}, policy: { status: 404 } }, 1, VERIFIED, ['policy-host-status'], []],
  [
    'cert.test',
    { sts: {}, policy: { certificate: 'wrong-host' } },
    1,
    VERIFIED,
    ['policy-host-certificate-host-mismatch'],
    [],
  ],
  [
    'old.test',
    { sts: {}, policy: { certificate: 'expired' } },
    1,
    VERIFIED,
    ['policy-host-certificate-expired'],
    [],
  ],
  [
    'html.test',
    { sts: {}, policy: { headers: { 'content-type': 'text/html' } } },
    1,
    VERIFIED,
    ['policy-media-type'],
    [],
  ],
  [
    'syntax.test',
    { sts: {}, policy: { body: 'version: STSv1\nmode: enforce\n\n' } },
    1,
    VERIFIED,
    ['policy-malformed'],
    [],
  ],
  [
    'large.test',
    { sts: {}, policy: { body: 'x'.repeat(70_000) } },
    1,
    VERIFIED,
    ['policy-too-large'],
    [],
  ],
  [
    'reset.test',
    { sts: {}, policy: { reset: 'handshake' } },
    1,
    VERIFIED,
    ['policy-host-tls-failed'],
    [],
  ],
  ['unannounced.test', { sts: {}, stsTxt: null }, 1, VERIFIED, ['sts-policy-unannounced'], []],
  [
    'several.test',
    { sts: {}, stsTxt: ['v=STSv1; id=1;', 'v=STSv1; id=2;'] },
    1,
    VERIFIED,
    ['sts-record-multiple'],
    [],
  ],
  ['slip.test', { sts: {}, stsTxt: 'v=STSv1 id=1' }, 1, VERIFIED, ['sts-record-malformed'], []],
  [
    'testing.test',
    { sts: { mode: 'testing' }, mx: one({ certificate: 'expired' }, 'testing.test') },
    0,
    'delivered unauthenticated-tls',
    [],
    ['certificate-expired'],
  ],
  ['plain.test', {}, 0, VERIFIED, [], []],
  [
    'clear.test',
    { mx: one({ certificate: null }, 'clear.test') },
    0,
    'delivered clear-text',
    [],
    ['starttls-not-offered'],
  ],
  [
    'private.test',
    { mx: one({ certificate: 'self-signed' }, 'private.test') },
    0,
    'delivered unauthenticated-tls',
    [],
    ['certificate-self-signed'],
  ],
  ['null.test', { mx: [], nullMx: true }, 1, 'bounced', [], []],
  [
    'addressless.test',
    { mx: one({ noAddress: true }, 'addressless.test') },
    1,
    'bounced',
    ['mx-no-address'],
    [],
  ],
];

describe('verdict, findings and exit code', () => {
  const hosts = new Map<string, readonly MxHost[]>();
  const examined = new Map<string, Examination>();
  before(async () => {
    for (const [name, description] of ROWS) {
      hosts.set(name, (await net.domain(name, description)).mx);
    }
    // One run for each exit code.
    for (const expected of [0, 1]) {
      const names = ROWS.filter(([, , code]) => code === expected).map(([name]) => name);
      const { code, all, stderr } = await check(names);
      assert.deepEqual([code, stderr], [expected, '']);
      assert.deepEqual(
        all.map(({ domain }) => domain),
        names,
      );
      for (const examination of all) examined.set(examination.domain, examination);
    }
  });

  for (const [name, description, code, verdict, errors, warnings] of ROWS) {
    test(`${name}: ${verdict}${errors.map((error) => `, ${error}`).join('')}`, async () => {
      const examination = examined.get(name);
      assert.ok(examination !== undefined);
      const { outcome, how, why } = examination.verdict;
      assert.equal([outcome, how].filter(Boolean).join(' '), verdict, why);
      assert.equal(examination.ok, code === 0);
      assert.deepEqual(codesOf(examination, 'error'), errors);
      const expected = description.nullMx === true ? [] : [...warnings, ...ALWAYS];
      assert.deepEqual(codesOf(examination, 'warning').sort(), [...expected].sort());
      for (const { severity, fix, rfc, code: about } of examination.findings) {
        if (severity === 'error' || severity === 'warning') assert.ok(fix && rfc, about);
      }
      for (const host of hosts.get(name) ?? []) assertToldNothing(host);
    });
  }

  test('a domain that is not there: bounced, and nothing else said', async () => {
    const { code, one } = await check(['nowhere.test']);
    assert.deepEqual([code, one.verdict.outcome, one.verdict.status], [1, 'bounced', '5.1.2']);
    assert.deepEqual(codesOf(one, 'error'), ['domain-not-found']);
    assert.deepEqual(codesOf(one, 'warning'), []);
    assert.ok(one.findings[0]?.text.includes(`(asked: ${net.dns.endpoint})`));
  });

  test('a resolver that is not there: deferred, and one finding', async () => {
    const server = `${net.deadAddress}:53`;
    const { code, one } = await check(['good.test'], { dns: { servers: [server] } });
    assert.deepEqual([code, one.verdict.outcome], [1, 'deferred']);
    assert.deepEqual(codesOf(one, 'error'), ['resolver-unreachable']);
    assert.deepEqual(codesOf(one, 'warning'), []);
    assert.ok(one.verdict.why.startsWith('No resolver answered (connection refused by '));
  });

  test('a TXT lookup that fails: deferred, whoever might have a policy', async () => {
    await net.domain('servfail.test', { sts: {} });
    net.dns.behave('_mta-sts.servfail.test', 'TXT', 'servfail');
    const { code, one } = await check(['servfail.test']);
    assert.deepEqual([code, one.verdict.outcome, one.verdict.status], [1, 'deferred', '4.4.3']);
    assert.deepEqual(codesOf(one, 'error'), ['sts-record-lookup-failed']);
    assert.match(one.verdict.why, /After 1 hour of this/);
  });
});

describe('several hosts', () => {
  test('all are looked at, the verdict is that of the first good one', async () => {
    const { mx } = await net.domain('three.test', {
      sts: {},
      mx: [
        { host: 'a.three.test', certificate: 'expired' },
        { host: 'b.three.test' },
        { host: 'c.three.test', certificate: 'self-signed' },
      ],
    });
    const { code, one } = await check(['three.test']);
    assert.equal(code, 1, 'two of the hosts are refused');
    assert.deepEqual([one.verdict.outcome, one.verdict.host], ['delivered', 'b.three.test']);
    assert.deepEqual(codesOf(one, 'error'), ['certificate-expired', 'certificate-self-signed']);
    for (const host of mx) {
      await host.waitForSessions(1);
      assert.equal(host.sessions.at(-1)?.commands.at(-1)?.verb, 'QUIT', host.name);
      assertToldNothing(host);
    }
    const [facts] = one.facts.hosts.flatMap(({ addresses }) => addresses);
    assert.match(facts?.certificate?.issuer ?? '', /stsrelay test root/);
    assert.deepEqual(facts?.certificate?.names, ['a.three.test']);
    assert.match(facts?.certificate?.key ?? '', /^ec /);
    assert.equal(facts?.tls?.certSha256, facts?.certificate?.sha256);
  });

  test('a backup that is away is a warning while another host takes the mail', async () => {
    await net.domain('backup.test', {
      sts: {},
      tlsRptRua: 'mailto:tls@backup.test',
      mx: [{ host: 'a.backup.test' }, { host: 'b.backup.test', down: true }],
    });
    const { code, one } = await check(['backup.test']);
    assert.equal(code, 0);
    assert.deepEqual(codesOf(one, 'warning'), ['connect-refused']);
  });

  test('an alias, a certificate about to expire, a wildcard: warned of, delivered', async () => {
    const certificate = await net.ca.issue({
      names: ['alias.odd.test'],
      notAfter: new Date(Date.now() + 3 * 86_400_000),
    });
    const mx = [{ host: 'alias.odd.test', certificate }];
    await net.domain('odd.test', { mx, sts: { mx: ['*.odd.test'], maxAge: 3600 } });
    const address = net.dns.endpoint && (await net.mxHost({ host: 'alias.odd.test' })).address;
    net.dns.remove('alias.odd.test');
    net.dns.set('alias.odd.test', 'CNAME', ['real.odd.test']);
    net.dns.set('real.odd.test', 'A', [address]);
    const { code, one } = await check(['odd.test']);
    assert.equal(code, 0, JSON.stringify(one.findings));
    assert.deepEqual(codesOf(one, 'warning').sort(), [
      'certificate-expires-soon',
      'mx-is-alias',
      'sts-max-age-short',
      'tlsrpt-missing',
    ]);
    assert.ok(codesOf(one, 'info').includes('sts-pattern-wildcard'));
  });
});

describe('what the configuration decides', () => {
  test('an override is obeyed and said', async () => {
    await net.domain('excepted.test', {
      sts: {},
      mx: one({ certificate: 'expired' }, 'excepted.test'),
    });
    const overrides = [{ domain: 'excepted.test', tls: 'encrypt' }];
    const checked = await check(['excepted.test'], { overrides });
    assert.equal(checked.one.verdict.outcome, 'delivered');
    assert.equal(checked.one.verdict.how, 'unauthenticated-tls');
    assert.ok(codesOf(checked.one, 'info').includes('override-applies'));
    assert.deepEqual(codesOf(checked.one, 'error'), ['certificate-expired']);
    assert.equal(checked.code, 1, 'what the domain publishes is broken for everybody else');
  });

  test('a route goes to the next hop and its policy', async () => {
    await net.domain('hub.test', { sts: {} });
    await net.domain('branch.test', { sts: { mx: ['nobody.test'] } });
    const routes = [{ domain: 'branch.test', nextHop: 'mx:hub.test' }];
    const { code, one } = await check(['branch.test'], { routes });
    assert.equal(code, 0, JSON.stringify(one.findings));
    assert.deepEqual([one.verdict.how, one.verdict.host], ['verified-tls', 'mx.hub.test']);
    assert.ok(codesOf(one, 'info').includes('route-applies'));
  });

  test('private addresses are not connected to unless they are allowed', async () => {
    const { mx } = await net.domain('inside.test', { sts: {} });
    const { code, one } = await check(['inside.test'], {
      outbound: { allowPrivateAddresses: false },
    });
    assert.equal(code, 1);
    assert.deepEqual(codesOf(one, 'error'), ['policy-host-private-address', 'mx-private-address']);
    assert.equal(mx[0]?.sessions.length, 0);
  });
});

describe('the first line for people', () => {
  test('delivered, but broken; deferred, and why; nothing published by nobody', async () => {
    await net.domain('p404.test', { sts: {}, policy: { status: 404 } });
    await net.domain('away.test', enforced('away.test', { down: true }));
    await net.domain('other.test', { sts: { mx: ['mx.elsewhere.test'] } });
    const names = ['p404.test', 'away.test', 'other.test', 'nowhere2.test'];
    const { stdout } = await runStsrelay(['--config', configFile(), 'check', ...names]);
    for (const expected of [
      /^p404\.test: mail would be delivered over verified TLS, mx\.p404\.test, but its MTA-STS is broken: 1 error$/m,
      /^away\.test: mail would be deferred: no session with mx\.away\.test$/m,
      /^ {2}connection refused \(127\.[\d.:]+\)\. The MTA-STS|^ {2}connection refused \(127\.[\d.:]+\)\.$/m,
      /^other\.test: mail would be deferred: the policy does not list mx\.other\.test$/m,
      /^10\tmx\.other\.test\t127\.[\d.]+\tTLSv1\.3\tuntil [\d-]+\tmx-outside-policy, verified$/m,
      /^nowhere2\.test: mail would bounce\n {2}nowhere2\.test does not exist\.\n {2}1 error\n\nerror: /m,
      /^DANE {6}does not apply: DNSSEC does not vouch for the MX records$/m,
    ]) {
      assert.match(stdout, expected);
    }
    assert.doesNotMatch(stdout, /E[A-Z]+REFUSED/);
  });

  test('a policy host with TLS 1.2 is looked at as it is fetched from, whatever MX hosts must have', async () => {
    await net.domain('tls12.test', { sts: {}, policy: { maxTls: 'TLSv1.2' } });
    const strict = { security: { minTlsVersion: 'TLSv1.3' } };
    const { code, one: examined } = await check(['tls12.test'], strict);
    assert.equal(code, 0);
    assert.deepEqual(codesOf(examined, 'error'), []);
    assert.deepEqual(codesOf(examined, 'warning'), ALWAYS);
  });

  test('no resolver: nothing is known, and nothing is said to be absent', async () => {
    const file = configFile({ dns: { servers: [`${net.deadAddress}:53`] } });
    const { code, stdout } = await runStsrelay(['--config', file, 'check', 'good.test']);
    assert.equal(code, 1);
    assert.match(stdout, /^good\.test: mail would be deferred: DNS does not answer$/m);
    assert.match(
      stdout,
      /^MTA-STS {3}not known\npolicy {4}not known\nDANE {6}not known\nTLSRPT {4}not known$/m,
    );
  });
});

describe('the command', () => {
  test('--no-connect: DNS and policy, no MX host', async () => {
    const good = await net.domain('quiet.test', { sts: {} });
    await net.domain('quiet-outside.test', { sts: { mx: ['mx.elsewhere.test'] } });
    const { code, all } = await check(['--no-connect', 'quiet.test', 'quiet-outside.test']);
    assert.equal(code, 1);
    assert.deepEqual(
      all.map(({ domain, ok, verdict }) => [domain, ok, verdict.outcome, verdict.how]),
      [
        ['quiet.test', true, 'attempted', 'verified-tls'],
        ['quiet-outside.test', false, 'deferred', undefined],
      ],
    );
    assert.equal(good.mx[0]?.sessions.length, 0);
  });

  test('a host that says nothing does not hold it up for longer than --timeout', async () => {
    const { mx } = await net.domain('silent.test', {
      sts: {},
      mx: one({ script: onVerb('CONNECT', { ending: 'hang' }) }, 'silent.test'),
    });
    let checked: Checked | undefined;
    // The first with which it gets as far as the host.
    for (const timeout of ['2s', '6s', '18s']) {
      checked = await check(['--timeout', timeout, 'silent.test']);
      if (mx[0]?.sessions.length !== 0) break;
    }
    assert.ok(checked !== undefined);
    const { code, one: examination } = checked;
    assert.equal(code, 1);
    assert.deepEqual(codesOf(examination, 'error'), ['timeout', 'check-timed-out']);
  });

  test('a host that takes the connection and says nothing', async () => {
    const hang = onVerb('CONNECT', { ending: 'hang' });
    await net.domain('mute.test', { mx: one({ script: hang }, 'mute.test') });
    const outbound = { timeouts: { greeting: '1s' } };
    const { one: examination } = await check(['mute.test'], { outbound });
    const finding = examination.findings.find(({ code }) => code === 'timeout');
    assert.match(finding?.text ?? '', /accepts the connection but sends no greeting/);
    assert.doesNotMatch(finding?.fix ?? '', /listen/);
  });

  test('the report for people', async () => {
    await net.domain('xn--bcher-kva.test', {
      sts: { id: 'abc' },
      tlsRptRua: 'mailto:tls@reports.test',
      mx: [{ host: 'mx.xn--bcher-kva.test', certificate: 'expired' }],
    });
    const { code, stdout, stderr } = await runStsrelay([
      '--config',
      configFile(),
      'check',
      'BÜCHER.test',
    ]);
    assert.equal(code, 1);
    assert.equal(stderr, '', 'no progress where nobody watches');
    for (const expected of [
      /^xn--bcher-kva\.test \(bücher\.test\): mail would be deferred: refused at mx\.xn--bcher-kva\.test$/m,
      /^ {2}Certificate has expired .* The MTA-STS policy of xn--bcher-kva\.test \(mode enforce, id abc\) asks for TLS/m,
      /^ {2}1 error$/m,
      /^MTA-STS {3}id abc at _mta-sts\.xn--bcher-kva\.test$/m,
      /^policy {4}mode enforce, max_age 7 days, from mta-sts\.xn--bcher-kva\.test$/m,
      /^ {10}mx mx\.xn--bcher-kva\.test$/m,
      /^TLSRPT {4}mailto:tls@reports\.test$/m,
      /^10\tmx\.xn--bcher-kva\.test\t127\.[\d.]+\tTLSv1\.3\tuntil \d{4}-\d\d-\d\d\tcertificate-expired$/m,
      /^error: mx\.xn--bcher-kva\.test \(certificate-expired, RFC 8461 §4\.2\)$/m,
      /^ {2}-> Renew the certificate of mx\.xn--bcher-kva\.test/m,
    ]) {
      assert.match(stdout, expected);
    }
    // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none
    assert.doesNotMatch(stdout, /\u001b/);
  });

  test('what strangers publish cannot write to the terminal', async () => {
    await net.domain('escape.test', { stsTxt: 'v=STSv1\u001b[2J; id=\u009b1' });
    const { stdout } = await runStsrelay(['--config', configFile(), 'check', 'escape.test']);
    assert.match(stdout, /sts-record-malformed/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none
    assert.doesNotMatch(stdout, /[\u001b\u009b]/);
  });

  const refused: readonly (readonly [string, readonly string[], RegExp])[] = [
    [
      'a mailbox',
      ['a@example.com'],
      /a@example\.com is a mailbox; check its domain instead: stsrelay check example\.com/,
    ],
    ['an address', ['192.0.2.1'], /192\.0\.2\.1 is no domain/],
    ['a URL', ['https://example.com/'], /is no domain/],
    ['nothing', [], /missing required argument/],
    ['a time that is none', ['--timeout', 'soon', 'example.com'], /Expected a duration/],
  ];
  for (const [what, args, expected] of refused) {
    test(`refuses ${what}: exit 2`, async () => {
      const { code, stdout, stderr } = await runStsrelay(['check', ...args]);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, expected);
    });
  }

  test('a file that the configuration names and that is not there: exit 2', async () => {
    const file = configFile({ outbound: { trustedCaFiles: [dir.file('nowhere.pem')] } });
    const { code, stderr } = await runStsrelay(['--config', file, 'check', 'good.test']);
    assert.equal(code, 2);
    assert.match(stderr, /trustedCaFiles cannot be used/);
  });

  test('--help: exit codes, and what of the output is stable', async () => {
    const { code, stdout } = await runStsrelay(['check', '--help']);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^ {2}0 .*\n {2}1 .*null MX.*\n.*\n {2}2 {2}wrong usage or configuration$/m,
    );
    assert.match(stdout, /domain, ok, verdict and findings are stable; facts may change/);
  });

  test('leaves nothing behind', () => {
    const made = readdirSync(dir.path).filter((name) => !name.endsWith('.yaml'));
    assert.deepEqual(made, []);
  });
});
