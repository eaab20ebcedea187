/**
 * Reports of failure, delay and relaying (RFC 3461, RFC 3464, RFC 6522, RFC 6533): the relay's own
 * intake makes the envelope, its own code settles what became of it and writes the report, which
 * is read back by a parser of its own; parameters are passed on to an MX host on loopback.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { dsnsOf, type Input, reportOf } from '../support/vectors/dsn.ts';
import type { DsnEvent } from '../support/vectors/dsn-event.ts';
import { intakeEnvelope } from '../support/vectors/intake-envelope.ts';
import { passedOn } from '../support/vectors/loopback-mx.ts';
import { octets } from '../unit/sample-mail.ts';

type Told = NonNullable<Awaited<ReturnType<typeof reportOf>>>;

const remote = (code: number, enhanced: string | null, text: string): DsnEvent => ({
  kind: 'remote',
  stage: 'RCPT',
  peer: 'mx.dest.example',
  code,
  enhanced,
  text,
});
const REFUSED = remote(550, '5.1.1', 'no such user');
const BUSY = remote(450, '4.2.1', 'busy');
const UNTRUSTED: DsnEvent = { kind: 'local', reason: 'sts-enforce-cert-invalid' };
const LOOPS: DsnEvent = { kind: 'local', reason: 'mail-loop' };
const accepted = (listsDsn: boolean): DsnEvent => ({
  kind: 'accepted',
  peer: 'mx.dest.example',
  peer_lists_dsn: listsDsn,
});
const delayed = (last: DsnEvent): DsnEvent => ({
  kind: 'delay-warning',
  last,
  retry_until: '2026-03-19T10:00:00Z',
});

type Recipient = Input['recipients'][number];
const bob = (event: DsnEvent, change: Partial<Recipient> = {}): Recipient => ({
  rcpt: 'bob@dest.example',
  event,
  ...change,
});

function input(message: Partial<Input['message']>, recipients: readonly Recipient[]): Input {
  const reporting_mta = 'out.relay.example';
  return { reporting_mta, message: { mail_from: 'ann@sender.example', ...message }, recipients };
}

/** The report about these recipients; null when nobody is told. */
async function told(
  recipients: readonly Recipient[],
  message: Partial<Input['message']> = {},
): Promise<Told | null> {
  return reportOf(input(message, recipients));
}

async function report(...args: Parameters<typeof told>): Promise<Told> {
  return (await told(...args)) ?? assert.fail('nobody is told');
}

async function block(event: DsnEvent, change: Partial<Recipient> = {}) {
  return (await report([bob(event, change)])).recipients[0] ?? assert.fail('no block');
}

/** The parameters that a host with these keywords gets. */
function passed(ehlo: readonly string[], from: readonly string[], to: readonly string[]) {
  const recipients = [{ to: 'bob@dest.example', parameters: to }];
  return passedOn(
    intakeEnvelope({ from: 'ann@sender.example', parameters: from, recipients }),
    ehlo,
  );
}

describe('RFC 3461: who is told, and of what', () => {
  test('R242 a host that lists DSN gets the parameters as they came', async () => {
    const asked = ['NOTIFY=SUCCESS,DELAY', 'ORCPT=rfc822;Bob+2Bx@old.example'];
    assert.deepEqual(await passed(['DSN'], ['RET=HDRS', 'ENVID=a+2Bb'], asked), {
      mail_params: ['RET=HDRS', 'ENVID=a+2Bb'],
      rcpt_params: asked,
    });
    const none = await passed(['8BITMIME'], ['RET=HDRS', 'ENVID=a'], asked);
    assert.deepEqual(none, { mail_params: [], rcpt_params: [] });
  });

  test('R243 SUCCESS, and a host that does not list DSN: relayed', async () => {
    const { action } = await block(accepted(false), { notify: 'SUCCESS' });
    assert.equal(action, 'relayed');
    assert.equal(await told([bob(accepted(true), { notify: 'SUCCESS' })]), null);
  });

  test('R244 without SUCCESS nobody is told that a host took it', async () => {
    for (const notify of [undefined, 'FAILURE', 'FAILURE,DELAY', 'NEVER']) {
      assert.equal(await told([bob(accepted(false), notify ? { notify } : {})]), null);
    }
  });

  test('R245 a failure is told without NOTIFY, and with FAILURE', async () => {
    for (const notify of [undefined, 'FAILURE', 'SUCCESS,FAILURE']) {
      const { action } = await block(REFUSED, notify ? { notify } : {});
      assert.equal(action, 'failed');
    }
  });

  test('R246 a failure is not told with a NOTIFY that lacks FAILURE', async () => {
    for (const notify of ['SUCCESS', 'DELAY', 'SUCCESS,DELAY']) {
      assert.equal(await told([bob(REFUSED, { notify })]), null);
    }
  });

  test('R247 with NEVER nothing is told', async () => {
    for (const event of [REFUSED, accepted(false), delayed(BUSY)]) {
      assert.equal(await told([bob(event, { notify: 'NEVER' })]), null);
    }
  });

  test('R248 a delay is told without NOTIFY and with DELAY, else not', async () => {
    for (const [notify, isTold] of [
      [undefined, true],
      ['DELAY', true],
      ['FAILURE,DELAY', true],
      ['FAILURE', false],
      ['SUCCESS,FAILURE', false],
    ] as const) {
      const answer = await told([bob(delayed(BUSY), notify ? { notify } : {})]);
      assert.equal(answer?.recipients[0]?.['action'], isTold ? 'delayed' : undefined, notify);
    }
  });

  test('R249 no ORCPT is added where none came', async () => {
    const { rcpt_params } = await passed(['DSN'], [], ['NOTIFY=FAILURE']);
    assert.deepEqual(rcpt_params, ['NOTIFY=FAILURE']);
  });

  test('R251 nobody is told of mail from the null reverse-path', async () => {
    for (const event of [REFUSED, accepted(false), delayed(BUSY)]) {
      const notify = 'SUCCESS,FAILURE,DELAY';
      assert.equal(await told([bob(event, { notify })], { mail_from: '' }), null);
    }
  });

  test('R252 a report goes from <> to the sender, without RET, and with NOTIFY=NEVER', async () => {
    const asked = input({ envid: 'e', ret: 'FULL' }, [bob(REFUSED)]);
    const [{ envelope, body } = assert.fail()] = await dsnsOf(asked);
    await octets(body);
    assert.equal(envelope.reversePath, '');
    assert.deepEqual(
      envelope.recipients.map(({ address }) => address),
      ['ann@sender.example'],
    );
    assert.deepEqual(await passedOn(envelope, ['DSN']), {
      mail_params: [],
      rcpt_params: ['NOTIFY=NEVER'],
    });
  });

  test('R253 the whole message with FULL and a failure, else its header', async () => {
    const [whole, headers] = ['message/rfc822', 'text/rfc822-headers'];
    const third = async (event: DsnEvent, ret: string) =>
      (await report([bob(event, { notify: 'SUCCESS,FAILURE,DELAY' })], { ret })).third_part;
    assert.equal(await third(REFUSED, 'FULL'), whole);
    assert.equal(await third(REFUSED, 'HDRS'), headers);
    assert.equal(await third(accepted(false), 'FULL'), headers);
    assert.equal(await third(delayed(BUSY), 'FULL'), headers);
    const both = [
      bob(accepted(false), { notify: 'SUCCESS' }),
      bob(REFUSED, { rcpt: 'amy@dest.example' }),
    ];
    assert.equal((await report(both, { ret: 'FULL' })).third_part, whole);
  });

  test('R273 xtext in both directions', async () => {
    const envid = 'ENVID=a+2B+3Db';
    assert.deepEqual((await passed(['DSN'], [envid], [])).mail_params, [envid]);
    const { per_message } = await report([bob(REFUSED)], { envid: 'a+2B+3Db' });
    assert.equal(per_message['original-envelope-id'], 'a+=b');
    for (const wrong of ['ENVID=a+2b', 'ENVID=a+', 'ENVID=a=b']) {
      await assert.rejects(async () => passed(['DSN'], [wrong], []), /501|malformed/, wrong);
    }
  });
});

describe('RFC 3464, RFC 6522: the report', () => {
  test('R254 is a multipart/report of three parts', async () => {
    const { headers, parts } = await report([bob(REFUSED)]);
    assert.match(
      headers['content-type'] ?? '',
      /^multipart\/report; report-type=delivery-status; boundary=/,
    );
    assert.deepEqual(parts, ['text/plain', 'message/delivery-status', 'text/rfc822-headers']);
  });

  test('R255 has the header of one', async () => {
    const { headers } = await report([bob(REFUSED)]);
    assert.equal(headers['to'], 'ann@sender.example');
    assert.match(headers['from'] ?? '', /<MAILER-DAEMON@out\.relay\.example>$/);
    assert.equal(headers['auto-submitted'], 'auto-replied');
    assert.match(headers['message-id'] ?? '', /^<[^<>\s]+@out\.relay\.example>$/);
  });

  test('R256 names the reporting host', async () => {
    const { per_message } = await report([bob(REFUSED)]);
    assert.equal(per_message['reporting-mta'], 'dns; out.relay.example');
  });

  test('R257 has the ENVID exactly when one was given, decoded', async () => {
    const withOne = await report([bob(REFUSED)], { envid: 'Ab+20c' });
    assert.equal(withOne.per_message['original-envelope-id'], 'Ab c');
    const without = await report([bob(REFUSED)]);
    assert.equal('original-envelope-id' in without.per_message, false);
  });

  test('R258 says when the message came', async () => {
    const { per_message } = await report([bob(REFUSED)]);
    assert.equal(per_message['arrival-date'], 'Thu, 15 Jan 2026 12:00:00 +0000');
  });

  test('R259 names each recipient as it was accepted', async () => {
    const { 'final-recipient': to } = await block(REFUSED, { rcpt: 'Bob.J@Dest.Example' });
    assert.equal(to, 'rfc822; Bob.J@Dest.Example');
  });

  test('R260 has the ORCPT exactly when one was given, decoded', async () => {
    const one = await block(REFUSED, { orcpt: 'rfc822;Bob+2Bx@Old.example' });
    assert.equal(one['original-recipient'], 'rfc822; Bob+x@Old.example');
    assert.equal('original-recipient' in (await block(REFUSED)), false);
  });

  const actions: readonly (readonly [DsnEvent, action: string, status: string])[] = [
    [REFUSED, 'failed', '5.1.1'],
    [{ kind: 'expired', last: BUSY }, 'failed', '4.2.1'],
    [delayed(BUSY), 'delayed', '4.2.1'],
    [delayed(UNTRUSTED), 'delayed', '4.7.5'],
    [accepted(false), 'relayed', '2.0.0'],
  ];

  test('R261 the action is what happened', async () => {
    for (const [event, action] of actions) {
      const notify = 'SUCCESS,FAILURE,DELAY';
      assert.equal((await block(event, { notify }))['action'], action);
    }
  });

  test('R262 the status has the class of the action and no leading zeros', async () => {
    for (const [event, , status] of actions) {
      const notify = 'SUCCESS,FAILURE,DELAY';
      assert.equal((await block(event, { notify }))['status'], status);
    }
    assert.equal((await block(remote(550, '5.01.001', 'no')))['status'], '5.1.1');
    // Too many recipients is temporary, also in the words of a permanent reply.
    const tooMany = delayed(remote(552, '5.5.3', 'too many'));
    assert.equal((await block(tooMany))['status'], '4.5.3');
  });

  test('R263 the status is the host’s own where it fits its reply', async () => {
    assert.equal((await block(remote(550, '5.7.26', 'no')))['status'], '5.7.26');
    assert.equal((await block(remote(550, null, 'no')))['status'], '5.0.0');
    assert.equal((await block(remote(550, '2.1.5', 'odd')))['status'], '5.0.0');
    assert.equal((await block(LOOPS))['status'], '5.4.6');
  });

  test('R264 names the host that answered, and none where none did', async () => {
    assert.equal((await block(REFUSED))['remote-mta'], 'dns; mx.dest.example');
    assert.equal((await block(delayed(BUSY)))['remote-mta'], 'dns; mx.dest.example');
    for (const event of [LOOPS, delayed(UNTRUSTED)]) {
      assert.equal('remote-mta' in (await block(event)), false);
    }
  });

  test('R265 quotes the reply as of type smtp, and nothing else', async () => {
    assert.equal((await block(REFUSED))['diagnostic-code'], 'smtp; 550 5.1.1 no such user');
    assert.equal((await block(delayed(BUSY)))['diagnostic-code'], 'smtp; 450 4.2.1 busy');
    for (const event of [LOOPS, delayed(UNTRUSTED)]) {
      assert.match((await block(event))['diagnostic-code'] ?? '', /^x-stsrelay; /);
    }
  });

  test('R266 dates the last attempt', async () => {
    const { 'last-attempt-date': date } = await block(REFUSED);
    assert.equal(date, 'Thu, 15 Jan 2026 12:00:01 +0000');
  });

  test('R267 says until when it is tried for those who are delayed, and for no others', async () => {
    const { 'will-retry-until': until } = await block(delayed(BUSY));
    assert.equal(until, 'Thu, 19 Mar 2026 10:00:00 +0000');
    for (const event of [REFUSED, { kind: 'expired', last: BUSY } as const]) {
      assert.equal('will-retry-until' in (await block(event)), false);
    }
  });

  test('R268 has a block for each recipient to be told about', async () => {
    const recipients = ['a', 'b', 'c'].map((name) =>
      bob(REFUSED, { rcpt: `${name}@dest.example`, notify: name === 'b' ? 'NEVER' : 'FAILURE' }),
    );
    const [{ body } = assert.fail(), ...more] = await dsnsOf(input({}, recipients));
    assert.deepEqual(more, []);
    const text = String(await octets(body));
    const [, status = ''] = /\r\n\r\n(Reporting-MTA: [\s\S]*?)\r\n--/.exec(text) ?? [];
    const blocks = status.trimEnd().split('\r\n\r\n');
    assert.equal(blocks.length, 3);
    for (const [n, one] of blocks.entries()) {
      assert.match(one, n === 0 ? /^Reporting-MTA: / : /^Final-Recipient: rfc822; [ac]@/);
      assert.ok(one.split('\r\n').every((line) => line.trim() !== ''));
    }
  });

  test('R269 when the lifetime is over: the last cause, or 4.4.7', async () => {
    const status = async (last: DsnEvent) => (await block({ kind: 'expired', last }))['status'];
    assert.equal(await status(BUSY), '4.2.1');
    assert.equal(await status(UNTRUSTED), '4.7.5');
    assert.equal(await status({ kind: 'connect', peer: null, text: 'timed out' }), '4.4.7');
  });
});

describe('RFC 6533: addresses that are not ASCII', () => {
  const user = { rcpt: '用户@dest.example', orcpt: 'utf-8;用户@old.example' };

  test('R270 are of type utf-8, as they are where the report is international, else escaped', async () => {
    const { recipients, parts } = await report([bob(REFUSED, user)], { smtputf8: true });
    assert.equal(parts[1], 'message/global-delivery-status');
    assert.equal(recipients[0]?.['final-recipient'], 'utf-8; 用户@dest.example');
    assert.equal(recipients[0]?.['original-recipient'], 'utf-8; 用户@old.example');
    const { 'original-recipient': escaped } = await block(REFUSED, {
      orcpt: 'utf-8;b\\x{F8}b@old.example',
    });
    assert.equal(escaped, 'utf-8; b\\x{F8}b@old.example');
  });

  test('R271 make the parts international: by SMTPUTF8 to such a sender, in ASCII to others', async () => {
    const types = ['text/plain', 'message/global-delivery-status', 'message/global-headers'];
    const [{ body, envelope } = assert.fail()] = await dsnsOf(
      input({ smtputf8: true }, [bob(REFUSED, user)]),
    );
    assert.equal(envelope.smtpUtf8, false);
    assert.match((await octets(body)).toString('latin1'), /^[\r\n -~]*$/);
    const ascii = await report([bob(REFUSED, user)], { smtputf8: true });
    assert.deepEqual(ascii.parts, types);
    const sender = { mail_from: 'émile@sender.example', smtputf8: true };
    const utf8 = await report([bob(REFUSED)], sender);
    assert.deepEqual([utf8.parts, utf8.mail_params], [types, ['SMTPUTF8']]);
    assert.equal(
      (await report([bob(REFUSED)], { ...sender, ret: 'FULL' })).third_part,
      'message/global',
    );
  });

  test('R272 an ORCPT of type utf-8 is passed on in ASCII', async () => {
    const recipients = [{ to: user.rcpt, parameters: ['ORCPT=utf-8;bøb@old.example'] }];
    const envelope = intakeEnvelope({
      from: 'ann@sender.example',
      parameters: ['SMTPUTF8'],
      recipients,
    });
    const { rcpt_params } = await passedOn(envelope, ['DSN', 'SMTPUTF8', '8BITMIME']);
    assert.deepEqual(rcpt_params, ['ORCPT=utf-8;b\\x{F8}b@old.example']);
  });
});
