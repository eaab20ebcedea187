import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  type LoadOptions,
  type LoadResult,
  loadSettings,
  settingsFrom,
} from '../../src/config/load.ts';
import { formatProblem, formatWarning } from '../../src/config/problems.ts';
import { tempDir } from '../support/temp-dir.ts';

const CONTRACT = fileURLToPath(new URL('../fixtures/config/contract.yaml', import.meta.url));
const NOW = Date.UTC(2026, 5, 1);

function load(text: string, options: LoadOptions = {}): { file: string; result: LoadResult } {
  using dir = tempDir();
  const file = dir.file('stsrelay.yaml');
  writeFileSync(file, text);
  return {
    file,
    result: loadSettings({ configFile: file, environment: {}, nowMs: NOW, ...options }),
  };
}

/** The problems of a text, without the file's name. */
function problemsOf(text: string): readonly string[] {
  const { file, result } = load(text);
  return result.ok ? [] : result.problems.map((p) => formatProblem(p).replace(`${file}:`, ''));
}

/** The warnings of a text, those about this machine left out. */
function warningsOf(text: string): readonly string[] {
  const environment = {
    STSRELAY_POSTMASTER: 'ops@example.net',
    STSRELAY_TLSRPT_ENABLED: 'false',
  };
  const { file, result } = load(`hostname: relay.example.net\n${text}`, { environment });
  return result.warnings.map((warning) => formatWarning(warning).replace(`${file}:`, ''));
}

describe('the file', () => {
  test('without one the defaults hold', () => {
    using dir = tempDir();
    const result = loadSettings({ directory: dir.path, environment: {} });
    assert.ok(result.ok);
    assert.equal(result.file, undefined);
    assert.deepEqual(result.settings.listeners, [
      { address: '127.0.0.1', port: 2525, tls: 'starttls', auth: 'optional' },
    ]);
    assert.equal(result.settings.limits.messageSize, 50 * 1024 * 1024);
    assert.equal(result.settings.limits.messagesPerClient, undefined);
    assert.equal(result.settings.outbound.timeouts.dataDone, 600_000);
    assert.equal(result.settings.retry.delayWarning, 4 * 3_600_000);
    assert.deepEqual(
      result.settings.retry.classes.greylisted.schedule,
      [300_000, 600_000, 900_000, 1_800_000],
    );
    assert.deepEqual(result.settings.overrides, []);
  });

  test('--config goes before STSRELAY_CONFIG, that before ./stsrelay.yaml', () => {
    using dir = tempDir();
    for (const name of ['stsrelay.yaml', 'environment.yaml', 'named.yaml']) {
      writeFileSync(dir.file(name), `node: ${name}`);
    }
    const nodeWith = (options: LoadOptions): string => {
      const result = loadSettings({ directory: dir.path, environment: {}, ...options });
      assert.ok(result.ok);
      return result.settings.node;
    };
    const environment = { STSRELAY_CONFIG: dir.file('environment.yaml') };
    assert.equal(nodeWith({}), 'stsrelay.yaml');
    assert.equal(nodeWith({ environment }), 'environment.yaml');
    assert.equal(nodeWith({ environment, configFile: dir.file('named.yaml') }), 'named.yaml');
  });

  test('one that is named and not there is a problem', () => {
    using dir = tempDir();
    const configFile = dir.file('missing.yaml');
    const result = loadSettings({ configFile, environment: {} });
    assert.ok(!result.ok);
    assert.deepEqual(result.problems.map(formatProblem), [
      `${configFile}: found ENOENT, expected a readable file`,
    ]);
  });

  test('a directory is none', () => {
    using dir = tempDir();
    mkdirSync(dir.file('stsrelay.yaml'));
    const result = loadSettings({ directory: dir.path, environment: {} });
    assert.ok(!result.ok);
    assert.match(formatProblem(result.problems[0] as never), /found no regular file/);
  });

  test('empty, or nothing but comments, is as good as none', () => {
    assert.ok(load('').result.ok);
    assert.ok(load('# nothing\n').result.ok);
  });

  test('a key without a value is as if it were not there', () => {
    const { result } = load('limits:\n#  messageSize: 1MiB\nnode:\noutbound: { timeouts: }\n');
    assert.ok(result.ok);
    assert.equal(result.settings.limits.connections, 1000);
    assert.equal(result.settings.outbound.timeouts.tls, 30_000);
  });

  test('what came out of it cannot be changed', () => {
    const { result } = load('node: a');
    assert.ok(result.ok);
    assert.throws(
      () => (result.settings.limits as { connections: number }).connections++,
      TypeError,
    );
  });
});

describe("the contract's example", () => {
  const result = loadSettings({ configFile: CONTRACT, environment: {}, nowMs: NOW });
  test('is valid', () => {
    assert.deepEqual(result.ok ? [] : result.problems.map(formatProblem), []);
  });
  test('says what is meant', () => {
    assert.ok(result.ok);
    const { settings } = result;
    assert.equal(settings.hostname, 'relay.example.net');
    assert.equal(settings.outbound.heloName, 'relay.example.net', 'heloName defaults to hostname');
    assert.equal(settings.listeners.length, 3);
    assert.deepEqual(settings.listeners[2]?.proxyProtocol, ['10.0.0.5']);
    assert.equal(settings.overrides[0]?.expires, Date.UTC(2027, 1, 1));
    assert.equal(settings.routes[0]?.nextHop, 'mx.branch.internal:25');
    assert.equal(settings.retry.domains[0]?.lifetime, 2 * 86_400_000);
    assert.equal(settings.tlsRpt.sendAfter, 600_000);
  });
  test('warns of a key that is not there', () => {
    const keys = result.warnings.map(({ key }) => key);
    assert.deepEqual(keys, ['postmaster', 'dkim[0].keyFile']);
  });
});

describe('problems', () => {
  /** Text, what is said about it, why. */
  const bad: readonly (readonly [string, readonly string[], string])[] = [
    [
      'hostnam: a.example',
      ['1: hostnam: found an unknown key, expected a known key: did you mean hostname?'],
      'a slip in a key',
    ],
    [
      'dkim:\n  - { domain: a.example, selector: s, keyFile: k }\n  - { domain: a.example, selector: s, keyFile: l }',
      [
        '3: dkim[1].selector: found "s" of a.example again, expected each selector of a domain once',
      ],
      'two keys where one public key is',
    ],
    [
      'dkim:\n  - { domain: a.example, selector: 2026, keyFile: k }\n  - { domain: a.example, selector: a_b, keyFile: l }',
      [
        '2: dkim[0].selector: found 2026, expected a selector such as s1 or "2026" (digits alone in quotes)',
        '3: dkim[1].selector: found "a_b", expected a selector such as s1 or "2026" (digits alone in quotes)',
      ],
      'a selector that YAML takes for a number, and one that is none',
    ],
    [
      'messageSize: 1MiB',
      [
        '1: messageSize: found an unknown key, expected a known key: did you mean limits.messageSize?',
      ],
      'a key in the wrong place',
    ],
    [
      'log:\n  level: info\n  levle: info',
      ['3: log.levle: found an unknown key, expected a known key: did you mean level?'],
      'a slip below',
    ],
    [
      'destinations:\n  conections: 3\n  connections: 3',
      ['conections', 'connections'].map(
        (key, i) =>
          `${i + 2}: destinations.${key}: found an unknown key, expected a known key: did you mean destinations.default.connections?`,
      ),
      'a key of a section below, with a slip or not, and not its namesake in limits',
    ],
    [
      'destinations: { slow.example: { connections: 1 } }',
      [
        '1: destinations.slow.example: found an unknown key, expected a known key: what holds for one domain is in the list destinations.domains, as "- domain: slow.example"',
      ],
      'a domain for a key',
    ],
    [
      'destinations:\n  domains:\n    - { domain: a.example, idel: 1s }\n    - { domain: b.example, failures: 3 }',
      [
        '3: destinations.domains[0].idel: found an unknown key, expected a known key: did you mean idle?',
        '4: destinations.domains[1].failures: found an unknown key, expected a known key: did you mean destinations.breaker.failures?',
      ],
      'slips in a list',
    ],
    [
      'log: { colour: true }',
      ['1: log.colour: found an unknown key, expected one of level, format'],
      'nothing like it',
    ],
    [
      'limits:\n  messageSize: 50MB\n  connections: 0',
      [
        '2: limits.messageSize: found "50MB", expected a size from 1KiB to 1GiB (64KiB 50MiB 1GiB)',
        '3: limits.connections: found 0, expected a whole number from 1 to 1000000',
      ],
      'two at once',
    ],
    [
      'retry:\n  lifetime: 5\n',
      ['2: retry.lifetime: found 5, expected a duration from 10ms to 365d (250ms 30s 5m 4h 5d)'],
      'a number without a unit',
    ],
    [
      'retry: { schedule: [] }',
      [
        '1: retry.schedule: found an empty list, expected a list of at least 1, each a duration from 10ms to 30d (250ms 30s 5m 4h 5d)',
      ],
      'no schedule',
    ],
    [
      'listeners:\n  - { address: 127.0.0.1, port: 25 }\n  - { address: localhost, port: 99999, tls: maybe }',
      [
        '3: listeners[1].address: found "localhost", expected an IP address',
        '3: listeners[1].port: found 99999, expected a port from 0 to 65535 (0: any free one)',
        '3: listeners[1].tls: found "maybe", expected none, starttls or implicit',
      ],
      'places in lists',
    ],
    [
      'listeners:\n  - address: 127.0.0.1',
      ['2: listeners[0].port: found nothing, expected a port from 0 to 65535 (0: any free one)'],
      'something missing',
    ],
    [
      'listeners:\n  - { address: "::1", port: 25 }\n  - { address: "::1", port: 25 }',
      ['3: listeners[1]: found ::1 port 25 again, expected each address and port once'],
      'the same listener twice',
    ],
    [
      'listeners:\n  - { address: 0.0.0.0, port: 25 }\n  - { address: "::", port: 25 }\n  - { address: 127.0.0.1, port: 25 }\n  - { address: 127.0.0.1, port: 26 }',
      [
        '4: listeners[2]: found 127.0.0.1 port 25 again, expected each address and port once: 0.0.0.0 has 127.0.0.1 in it',
      ],
      'a listener on an address that another one has already',
    ],
    [
      'listeners:\n  - { address: "::1", port: 25 }\n  - { address: 127.0.0.1, port: 25 }\nhttp: { address: "::", port: 25 }',
      [
        '4: http.port: found :: port 25 again, expected each address and port once: :: has ::1 in it',
      ],
      'http on the port of a listener',
    ],
    [
      'listeners:\n  - { address: "::1", port: 25 }\n  - { address: "0:0:0:0:0:0:0:1", port: 25 }\n  - { address: 127.0.0.1, port: 26 }\n  - { address: "::FFFF:127.0.0.1", port: 26 }\n  - { address: "fe80::1%a", port: 27 }\n  - { address: "fe80::1%b", port: 27 }',
      [
        '3: listeners[1]: found 0:0:0:0:0:0:0:1 port 25 again, expected each address and port once',
        '5: listeners[3]: found ::FFFF:127.0.0.1 port 26 again, expected each address and port once',
      ],
      'one address in two spellings',
    ],
    [
      'access:\n  trustedNetworks: ["::/0", "0.0.0.0/00", "::ffff:0:0/96", "::FFFF:10.0.0.0/096", "::ffff:10.0.0.0/104"]',
      [
        ...['::/0', '0.0.0.0/00', '::ffff:0:0/96', '::FFFF:10.0.0.0/096'].map(
          (network, i) =>
            `2: access.trustedNetworks[${i}]: found "${network}", expected a network smaller than the whole Internet (this would be an open relay)`,
        ),
      ],
      'all of the Internet in all its spellings (promise 6)',
    ],
    [
      'listeners:\n  - { address: "::1", port: 25, proxyProtocol: [] }\n  - { address: "::1", port: 26, proxyProtocol: [10.0.0.0/33] }',
      [
        '2: listeners[0].proxyProtocol: found an empty list, expected a list of at least 1, each an IP address or a network such as 10.0.0.0/8',
        '3: listeners[1].proxyProtocol[0]: found "10.0.0.0/33", expected an IP address or a network such as 10.0.0.0/8',
      ],
      'proxies that are none',
    ],
    [
      'listeners:\n  - { address: "::1", port: 25, proxyProtocol: [10.0.0.5, "::/0", "::ffff:0:0/96"] }',
      ['::/0', '::ffff:0:0/96'].map(
        (network, i) =>
          `2: listeners[0].proxyProtocol[${i + 1}]: found "${network}", expected a network smaller than the whole Internet (this would be an open relay)`,
      ),
      'everybody as a proxy that names a trusted client (promise 6)',
    ],
    ['limits: 5', ['1: limits: found 5, expected a section (keys and values)'], 'no section'],
    [
      'routes: 5',
      ['1: routes: found 5, expected a list of sections, each "- domain: …"'],
      'no list',
    ],
    ['- a', ['1: found a list, expected a section (keys and values)'], 'no keys at all'],
    [
      'tls: { keyFile: "" }',
      ['1: tls.keyFile: found "", expected a path, because tls.certFile is set'],
      'half a certificate',
    ],
    [
      'redis: { mode: embedded, url: "redis://r.example" }',
      ['1: redis.mode: found "embedded", expected external, or no redis.url'],
      'two places for Redis',
    ],
    [
      'redis: { mode: external }',
      ['1: redis.mode: found "external", expected embedded, or a redis.url'],
      'no place for Redis',
    ],
    [
      'redis: { url: "redis://r.example", sentinelPassword: geheim }',
      [
        '1: redis.sentinelPassword: found "***", expected nothing, because there are no redis.sentinels',
      ],
      'a password for nobody, which is not shown',
    ],
    [
      'redis: { sentinels: [s1.example], sentinelUser: me }',
      [
        '1: redis.sentinelPassword: found nothing, expected the password, because redis.sentinelUser is set',
      ],
      'a user without a password',
    ],
    [
      'redis: { url: "http://user:geheim@r.example" }',
      [
        '1: redis.url: found "http://user:***@r.example", expected redis://[user:password@]host[:port][/database] or rediss:// for TLS, or ""',
      ],
      'the password is not shown',
    ],
    [
      'access: { trustedNetworks: [10.0.0.0/8, 0.0.0.0/0] }',
      [
        '1: access.trustedNetworks[1]: found "0.0.0.0/0", expected a network smaller than the whole Internet (this would be an open relay)',
      ],
      'an open relay',
    ],
    [
      'access: { trustedNetworks: [10.0.0.0/33] }',
      [
        '1: access.trustedNetworks[0]: found "10.0.0.0/33", expected an IP address or a network such as 10.0.0.0/8',
      ],
      'no network',
    ],
    [
      'overrides:\n  - { domain: "a b", tls: never, expires: 2027-02-30 }',
      [
        '2: overrides[0].domain: found "a b", expected a domain name',
        '2: overrides[0].tls: found "never", expected none, opportunistic, encrypt or verify',
        '2: overrides[0].expires: found "2027-02-30", expected a day such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z',
      ],
      'exceptions',
    ],
    [
      'overrides:\n  - { domain: A.example, tls: none }\n  - { domain: a.example., tls: verify }',
      ['3: overrides[1].domain: found "a.example" again, expected each domain once'],
      'two exceptions for one domain',
    ],
    [
      'outbound:\n  allowPrivateAddresses: [10.0.0.0/8, "?"]',
      [
        '2: outbound.allowPrivateAddresses[1]: found "?", expected true, false or a list, each a domain or a network such as 10.0.0.0/8',
      ],
      'a value of two forms',
    ],
    [
      'outbound: { ipFamilies: [ipv4, ipv4] }',
      ['1: outbound.ipFamilies: found ipv4, ipv4, expected each family once'],
      'a family twice',
    ],
    [
      'routes:\n  - { domain: "*", nextHop: "mx:", user: u }',
      ['1: routes[0].nextHop: found "mx:", expected "host:port" or "mx:domain"'].map((text) =>
        text.replace('1:', '2:'),
      ),
      'no next hop',
    ],
    [
      'routes:\n  - { domain: "*", nextHop: "mx:25", user: u }',
      ['2: routes[0].passwordFile: found nothing, expected text, because user is set'],
      'half a login',
    ],
    [
      'routes:\n  - { domain: "*", nextHop: "a.example", tls: none, user: u, passwordFile: /p }',
      [
        '2: routes[0].tls: found "none", expected opportunistic, encrypt or verify, because AUTH is made over TLS alone',
      ],
      'a password in clear text',
    ],
    [
      'routes:\n  - { domain: "*", nextHop: "a.example", tls: none, wrapper: implicit }',
      [
        '2: routes[0].tls: found "none", expected opportunistic, encrypt or verify, because wrapper is implicit',
      ],
      'TLS from the first octet, and none',
    ],
    [
      'hostname: relay.example\npostmaster: Postmaster@relay.example',
      [
        '2: postmaster: found "Postmaster@relay.example", expected a mailbox elsewhere, to which it goes on',
      ],
      'a postmaster who is his own',
    ],
    [
      'tlsRpt: { contact: "tls@bücher.example", from: "größe@example.net" }',
      [
        '1: tlsRpt.from: found "größe@example.net", expected a mailbox such as user@example.net with nothing but ASCII before the "@", or ""',
      ],
      'reports from a mailbox that needs SMTPUTF8',
    ],
    [
      'http: { tls: "yes" }\nlog: { format: xml }',
      [
        '1: http.tls: found "yes", expected true or false',
        '2: log.format: found "xml", expected json or pretty',
      ],
      'a quoted flag',
    ],
    [
      'node: a\nnode: b',
      ['2: found the key node for the second time, expected each key once'],
      'twice',
    ],
    ['__proto__: { a: 1 }', ['1: __proto__: found an unknown key'], 'a name every object has'],
  ];
  for (const [text, expected, why] of bad) {
    test(why, () => {
      const found = problemsOf(text);
      assert.equal(found.length, expected.length, found.join('\n'));
      for (const [i, problem] of expected.entries()) {
        assert.equal(found[i]?.slice(0, problem.length), problem);
      }
    });
  }

  test('syntax errors have a line', () => {
    const [first] = problemsOf('node: a\nlimits: [\n');
    assert.match(first ?? '', /^\d+: found .*, expected valid YAML$/s);
  });

  test('a second document is not passed over', () => {
    assert.deepEqual(problemsOf('---\nnode: a\n---\nnode: b\n'), [
      '3: found a second document (behind ---), expected one document',
    ]);
    assert.deepEqual(problemsOf('%YAML 1.2\n---\nnode: a\n...\n# the end\n'), []);
  });

  test('every problem of a long text is found, in the order of its lines', () => {
    const found = problemsOf('nod: a\nlimits: { connections: -1 }\nhttp: { port: x }\ndns: [a]\n');
    assert.deepEqual(
      found.map((line) => line.split(':', 2).join(':')),
      ['1: nod', '2: limits.connections', '3: http.port', '4: dns'],
    );
  });

  test('a broken file still tells where the relay is, if it can', () => {
    const { result } = load('dataDir: /srv/relay\nlimit: 3');
    assert.ok(!result.ok);
    assert.equal(result.dataDir, '/srv/relay');
    const unreadable = load('dataDir: [').result;
    assert.ok(!unreadable.ok);
    assert.equal(unreadable.dataDir, undefined);
    assert.deepEqual(unreadable.warnings, [], 'nobody knows what it would have set');
  });
});

describe('warnings', () => {
  /** Text, the warnings, why. */
  const doubtful: readonly (readonly [string, readonly RegExp[]])[] = [
    ['security: { dane: auto }', []],
    ['security: { dane: off }', []],
    ['retry: { delayWarning: off }', []],
    ['destinations: { default: { idle: 1s, rate: 5/1s } }', []],
    [
      'destinations: { domains: [{ domain: a.example, messagesPerConnection: 1, rate: 5/1s }] }',
      [],
    ],
    ['destinations: { breaker: { failures: 3 } }', []],
    ['http: { address: 0.0.0.0 }', [/^2: http\.address: off loopback without TLS/]],
    ['http: { address: 127.0.0.2 }', []],
    [
      'listeners: [{ address: 0.0.0.0, port: 587, auth: required }]\naccess: { trustedNetworks: [10.0.0.0/8] }',
      [/^3: access\.trustedNetworks: they make no difference/],
    ],
    [
      'listeners: [{ address: 0.0.0.0, port: 587, auth: optional }]\naccess: { trustedNetworks: [10.0.0.0/8] }',
      [],
    ],
    ['http: { address: "::1" }', []],
    ['outbound: { systemRoots: false }', [/^2: outbound\.systemRoots: without trustedCaFiles/]],
    [
      'tls: { certFile: /nowhere/a, keyFile: /nowhere/b }',
      [/a cannot be read/, /b cannot be read/],
    ],
    [
      'listeners: [{ address: 0.0.0.0, port: 25, tls: none, auth: required }]',
      [/nobody can relay here/, /in clear text/],
    ],
    [
      'overrides: [{ domain: a.example, tls: none, owner: o, reason: r, expires: 2026-05-31 }]',
      [/^2: overrides\[0\]\.expires: this exception is over/],
    ],
    ['overrides: [{ domain: a.example, tls: none, owner: o, reason: r, expires: 2026-06-01 }]', []],
    ['overrides: [{ domain: a.example, tls: none }]', [/never ends/, /says not who/]],
    [
      'routes: [{ domain: "*", nextHop: "a.example:587", user: u, passwordFile: /nowhere/p }]',
      [/the password goes to whoever answers/, /p cannot be read/],
    ],
    [
      'routes: [{ domain: "*", nextHop: "192.0.2.1:25", tls: verify }]',
      [/routes\[0\]\.tls: its mail waits for ever: nextHop is an address/],
    ],
    [
      'routes: [{ domain: "*", nextHop: "a.example:587", wrapper: implicit, tls: verify, user: u, passwordFile: /dev/null }]',
      [/\/dev\/null holds a password and is open to other users \(mode 666\)/],
    ],
    ['routes: [{ domain: "*", nextHop: "a.example", wrapper: implicit }]', []],
    [
      'dkim: [{ domain: a.example, selector: "2026", keyFile: /nowhere/k }]',
      [/^2: dkim\[0\]\.keyFile: \/nowhere\/k cannot be read \(ENOENT\)/],
    ],
    [
      'dkim: [{ domain: a.example, selector: s, keyFile: /dev/null }]',
      [/holds a private key and is open/, /null is no regular file; until then mail from a\.exam/],
    ],
  ];
  for (const [text, expected] of doubtful) {
    test(`${text}: ${expected.length}`, () => {
      const found = warningsOf(text);
      assert.equal(found.length, expected.length, found.join('\n'));
      for (const [i, pattern] of expected.entries()) assert.match(found[i] ?? '', pattern);
    });
  }

  test('have no line where the file says nothing about it', () => {
    const { file, result } = load(
      [
        'access:',
        '  allowedSenderDomains: []',
        'tlsRpt:',
        '  organization: Example',
        'overrides:',
        '  - domain: a.example',
        '    tls: none',
        '  - { domain: b.example, tls: none, owner: o, reason: r, expires: 2026-05-31 }',
      ].join('\n'),
      { environment: { STSRELAY_HOSTNAME: 'relay' } },
    );
    const places = result.warnings.map(({ source, line, key }) => [source, line, key]);
    assert.deepEqual(places, [
      [file, undefined, 'postmaster'],
      [file, 3, 'tlsRpt'],
      [file, 6, 'overrides[0]'],
      [file, 6, 'overrides[0]'],
      [file, 8, 'overrides[1].expires'],
      ['STSRELAY_HOSTNAME', undefined, 'hostname'],
    ]);
  });

  test('a postmaster who is nobody (RFC 5321 §4.5.1)', () => {
    const { result } = load('hostname: relay.example.net');
    assert.match(result.warnings.map(formatWarning).join(), /postmaster: mail for <postmaster> is/);
  });

  test('TLS reports that cannot leave by mail (RFC 8460 §3)', () => {
    const contact = 'tlsRpt: { contact: t@example.net, from: r@example.net }';
    const key = '{ domain: example.net, selector: s, keyFile: /dev/null }';
    const rows: readonly (readonly [string, RegExp | undefined])[] = [
      ['hostname: relay.example.net', /until there is tlsRpt\.contact, tlsRpt\.from, a dkim key/],
      [contact, /until there is a dkim key for example\.net/],
      [`${contact}\ndkim: [${key}]`, undefined],
    ];
    for (const [text, expected] of rows) {
      const warnings = load(text).result.warnings.map(formatWarning);
      const about = warnings.filter((one) => one.includes('none leaves by mail'));
      if (expected) assert.match(about.join(), expected);
      else assert.deepEqual(about, []);
    }
  });

  test('a host name that is not fully qualified', () => {
    const { result } = load('hostname: relay');
    assert.match(result.warnings.map(formatWarning).join(), /hostname: .*not fully qualified/);
  });
});

describe('settings from values in the program', () => {
  test('are completed', () => {
    const settings = settingsFrom({ hostname: 'a.example', redis: { url: 'rediss://r.example' } });
    assert.equal(settings.outbound.heloName, 'a.example');
    assert.equal(settings.redis.mode, 'external');
  });
  test('throw with all problems', () => {
    assert.throws(
      () => settingsFrom({ node: 'a b', http: { port: -1 } }),
      /settings: node: .*\nsettings: http\.port: /,
    );
  });
});
