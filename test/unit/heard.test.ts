/** What the sessions of an attempt say about the hosts: this is what opens and closes a breaker. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Failure,
  type LocalCause,
  localFailure,
  type SmtpStage,
} from '../../src/mail/failure.ts';
import { hostsOf, type MxCandidate, type Route } from '../../src/mail/route.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import { heardFrom } from '../../src/outcome/heard.ts';
import { parseReply } from '../../src/protocol/smtp/reply.ts';
import { domain } from './policy-parts.ts';

function session(failure: Failure, at: string | null = '192.0.2.1'): SessionResult {
  const candidate = { host: domain('mx.example'), preference: 10, port: 25 };
  const requirement = {
    level: 'opportunistic',
    minVersion: 'TLSv1.2',
    source: { kind: 'default' },
  } as const;
  const address = at ?? undefined;
  const facts = { candidate, address, localAddress: undefined, requirement, tls: undefined };
  return { kind: 'ended-early', facts, failure };
}
const local = (cause: LocalCause) => session(localFailure(cause, `why: ${cause}`));
function reply(stage: SmtpStage, text: string): SessionResult {
  const parsed = parseReply(text);
  assert.ok(parsed);
  return session({ kind: 'reply', stage, reply: parsed });
}

test('hosts are away when none of those asked let us as far as MAIL', () => {
  const away = [
    local('connect-refused'),
    local('connect-unreachable'),
    local('timeout'),
    local('connection-lost'),
    reply('greeting', '421 4.3.2 too busy'),
    local('refused-before-tls'),
    reply('ehlo', '451 4.3.0 later'),
    reply('mail', '421 4.7.0 closing'),
  ];
  for (const one of away) {
    const heard = heardFrom([one]);
    assert.ok(typeof heard === 'object', JSON.stringify(one));
    assert.match(heard.away, /^mx\.example\[192\.0\.2\.1\]: /);
  }
  assert.deepEqual(heardFrom([local('connect-refused'), local('timeout')]), {
    away: 'mx.example[192.0.2.1]: why: timeout',
  });
});

test('one that answered is enough, whatever it said', () => {
  const answered = [
    reply('mail', '550 5.7.1 no'),
    reply('starttls', '454 4.7.0 no TLS'),
    local('certificate-expired'),
    local('tls-handshake-failed'),
    local('message-too-large'),
  ];
  for (const one of answered) {
    assert.equal(heardFrom([local('connect-refused'), one]), 'answered', JSON.stringify(one));
  }
});

test('hosts that refuse everything for good answer, unless another one may yet', () => {
  const refusal = reply('greeting', '554 5.7.1 no');
  assert.equal(heardFrom([refusal]), 'answered');
  assert.equal(heardFrom([refusal, reply('ehlo', '550 5.7.1 no')]), 'answered');
  assert.equal(typeof heardFrom([refusal, local('timeout')]), 'object');
});

test('nothing is known of hosts when the destination’s own policy left some of them out', () => {
  for (const cause of ['mx-outside-policy', 'address-refused'] as const) {
    const leftOut = session(localFailure(cause, 'no'), null);
    assert.equal(heardFrom([leftOut, local('timeout')]), undefined);
    assert.equal(heardFrom([leftOut, local('certificate-expired')]), 'answered');
  }
  const nameless = session(localFailure('no-usable-mx', 'no address'), null);
  assert.equal(typeof heardFrom([nameless, local('timeout')]), 'object', 'nobody can ask it');
});

test('nothing is known where no host was asked, or the relay itself was in the way', () => {
  assert.equal(heardFrom([]), undefined);
  assert.equal(heardFrom([session(localFailure('dns-failed', 'SERVFAIL'), null)]), undefined);
  assert.equal(heardFrom([local('spool-unreadable')]), undefined);
  assert.equal(heardFrom([local('relay-stopping')]), undefined);
});

test('routes with the same hosts are the same load, in whatever order they name them', () => {
  const candidate = (host: string, port = 25): MxCandidate => ({
    host: domain(host),
    preference: 10,
    port,
  });
  const route = (...candidates: MxCandidate[]): Route => ({
    destination: 'a.example',
    policyDomain: undefined,
    kind: 'mx',
    candidates,
  });
  const [one, two] = [candidate('mx1.example'), candidate('mx2.example')];
  assert.equal(hostsOf(route(two, one)), 'mx1.example, mx2.example');
  assert.equal(hostsOf(route(one, two, one)), hostsOf(route(two, one)));
  assert.equal(hostsOf(route(candidate('mx.example', 2525))), 'mx.example:2525');
  const many = Array.from({ length: 20 }, (_, n) => candidate(`mx${n}.a-rather-long-name.example`));
  assert.equal(hostsOf(route(...many)), hostsOf(route(...many.toReversed())));
  assert.notEqual(hostsOf(route(...many)), hostsOf(route(...many.with(15, one))));
  assert.match(hostsOf(route(...many)), /^mx0\..{190,210}\.\.\. \(20 hosts, [0-9a-f]{16}\)$/);
  const literal = { host: undefined, preference: 0, port: 25, address: '192.0.2.7' };
  assert.equal(hostsOf(route(literal)), '[192.0.2.7]');
});
