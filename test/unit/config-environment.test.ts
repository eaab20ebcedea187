import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { Environment } from '../../src/config/environment.ts';
import { type LoadResult, loadSettings } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problems.ts';
import type { Settings } from '../../src/config/settings.ts';
import { tempDir } from '../support/temp-dir.ts';

function load(environment: Environment, text = ''): LoadResult {
  using dir = tempDir();
  writeFileSync(dir.file('stsrelay.yaml'), text);
  return loadSettings({ directory: dir.path, environment });
}
function settings(environment: Environment, text = ''): Settings {
  const result = load(environment, text);
  assert.ok(result.ok, result.ok ? '' : result.problems.map(formatProblem).join('\n'));
  return result.settings;
}
function problems(environment: Environment, text = ''): readonly string[] {
  const result = load(environment, text);
  return result.ok ? [] : result.problems.map(formatProblem);
}

describe('settings from environment variables', () => {
  test('every form of value', () => {
    const found = settings({
      STSRELAY_HOSTNAME: 'Relay.Example.NET',
      STSRELAY_LIMITS_MESSAGESIZE: '10MiB',
      STSRELAY_LIMITS_CONNECTIONS: '7',
      STSRELAY_SECURITY_MTASTS_ENABLED: 'false',
      STSRELAY_OUTBOUND_TIMEOUTS_DATAINIT: '5s',
      STSRELAY_RETRY_SCHEDULE: '1s, 2s',
      STSRELAY_DNS_SERVERS: '127.0.0.1:5353,::1',
      STSRELAY_OUTBOUND_ALLOWPRIVATEADDRESSES: '10.0.0.0/8,branch.example',
      STSRELAY_LIMITS_MESSAGESPERCLIENT: '600/1m',
    });
    assert.equal(found.hostname, 'relay.example.net');
    assert.equal(found.limits.messageSize, 10 * 1024 * 1024);
    assert.equal(found.limits.connections, 7);
    assert.equal(found.security.mtaSts.enabled, false);
    assert.equal(found.outbound.timeouts.dataInit, 5000);
    assert.deepEqual(found.retry.schedule, [1000, 2000]);
    assert.deepEqual(found.dns.servers, ['127.0.0.1:5353', '::1']);
    assert.deepEqual(found.outbound.allowPrivateAddresses, ['10.0.0.0/8', 'branch.example']);
    assert.deepEqual(found.limits.messagesPerClient, { count: 600, perMs: 60_000 });
  });

  test('go before the file', () => {
    const found = settings(
      { STSRELAY_LOG_LEVEL: 'debug' },
      'log: { level: error, format: pretty }',
    );
    assert.deepEqual(found.log, { level: 'debug', format: 'pretty' });
  });

  test('an empty one empties lists and texts', () => {
    const found = settings(
      { STSRELAY_ACCESS_TRUSTEDNETWORKS: '', STSRELAY_NODE: '' },
      'node: a\naccess: { trustedNetworks: [10.0.0.0/8] }',
    );
    assert.deepEqual(found.access.trustedNetworks, []);
    assert.equal(found.node, '');
  });

  test('positions in lists: the default, what the file has, one more', () => {
    assert.equal(settings({ STSRELAY_LISTENERS_0_PORT: '2526' }).listeners[0]?.port, 2526);
    const found = settings(
      {
        STSRELAY_LISTENERS_0_ADDRESS: '127.0.0.2',
        STSRELAY_LISTENERS_1_ADDRESS: '127.0.0.3',
        STSRELAY_LISTENERS_1_PORT: '26',
      },
      'listeners: [{ address: 127.0.0.1, port: 25, auth: required }]',
    );
    assert.deepEqual(found.listeners, [
      { address: '127.0.0.2', port: 25, tls: 'starttls', auth: 'required' },
      { address: '127.0.0.3', port: 26, tls: 'starttls', auth: 'optional' },
    ]);
  });

  test('a position with a gap before it is a problem', () => {
    assert.deepEqual(problems({ STSRELAY_LISTENERS_4_PORT: '25' }), [
      'STSRELAY_LISTENERS_4_PORT: found "25", expected positions in a list without a gap',
    ]);
  });

  test('a Redis of the environment replaces the embedded one of the file', () => {
    const found = settings(
      { STSRELAY_REDIS_URL: 'redis://r.example' },
      'redis: { mode: embedded }',
    );
    assert.deepEqual([found.redis.mode, found.redis.url], ['external', 'redis://r.example']);
  });

  test('problems name the variable, and no secret', () => {
    assert.deepEqual(
      problems({
        STSRELAY_LIMITS_MESSAGESIZE: '5 MB',
        STSRELAY_HTTP_PORT: 'http',
        STSRELAY_REDIS_URL: 'rdis://u:geheim@r.example',
      }),
      [
        'STSRELAY_HTTP_PORT: http.port: found "http", expected a port from 0 to 65535 (0: any free one)',
        'STSRELAY_LIMITS_MESSAGESIZE: limits.messageSize: found "5 MB", expected a size from 1KiB to 1GiB (64KiB 50MiB 1GiB)',
        'STSRELAY_REDIS_URL: redis.url: found "rdis://u:***@r.example", expected redis://[user:password@]host[:port][/database] or rediss:// for TLS, or ""',
      ],
    );
  });

  test('one that is no setting is a problem, with a suggestion', () => {
    assert.deepEqual(problems({ STSRELAY_LOG_LEVLE: 'info', STSRELAY_LIMITS: 'x' }), [
      'STSRELAY_LIMITS: found "x" for an unknown setting, expected the name of a setting',
      'STSRELAY_LOG_LEVLE: found "info" for an unknown setting, expected the name of a setting; did you mean STSRELAY_LOG_LEVEL?',
    ]);
  });

  test('what others set with our prefix is ignored', () => {
    settings({
      STSRELAY_SERVICE_HOST: '10.0.0.1',
      STSRELAY_SERVICE_PORT_SMTP: '25',
      STSRELAY_PORT: 'tcp://10.0.0.1:25',
      STSRELAY_PORT_25_TCP_ADDR: '10.0.0.1',
      PATH: '/bin',
    });
  });

  test('nonsense in the file where a variable goes is still the problem of the file', () => {
    const [first] = problems({ STSRELAY_LIMITS_CONNECTIONS: '5' }, 'limits: 5');
    assert.match(first ?? '', /stsrelay\.yaml:1: limits: found 5/);
  });

  test('no variable reaches the prototype', () => {
    assert.equal(
      problems({ STSRELAY___PROTO___POLLUTED: '1', STSRELAY_CONSTRUCTOR: '1' }).length,
      2,
    );
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });
});
