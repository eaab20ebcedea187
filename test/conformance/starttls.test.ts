/**
 * STARTTLS as a client (RFC 3207), with real MX hosts that misbehave at each step of it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_KEYWORDS, type MxSessionRecord } from '../support/mx-script.ts';
import { type Sent, senderWorld } from '../support/sender.ts';

const world = senderWorld();

/** The commands of a session, those over TLS in brackets. */
function dialogOf({ commands }: MxSessionRecord): readonly string[] {
  return commands.map(({ verb, overTls }) => (overTls ? `[${verb}]` : verb));
}

function causeOf({ outcome }: Sent): string {
  assert.ok(outcome.kind === 'deferred', outcome.kind);
  const { failure } = outcome.diagnosis;
  return failure.kind === 'local' ? failure.cause : String(failure.reply.code);
}

const WHOLE_DIALOG = ['EHLO', 'STARTTLS', '[EHLO]', '[MAIL]', '[RCPT]', '[DATA]', '[QUIT]'];

describe('RFC 3207 §4.2 Result of the STARTTLS Command', () => {
  test('R280 after the handshake EHLO is said again, and nothing is said before it', async () => {
    await using sender = await world.sender();
    const { mx } = await world.domain('r280.test');
    await sender.send('bob@r280.test');
    const [session] = await (mx[0]?.waitForSessions(1) ?? []);
    assert.deepEqual(session && dialogOf(session), WHOLE_DIALOG);
  });

  test('R281 what was offered in clear text only is not used', async () => {
    await using sender = await world.sender();
    const keywordsOverTls = ['ENHANCEDSTATUSCODES'];
    const { mx } = await world.domain('r281.test', {
      mx: [{ host: 'mx.r281.test', keywordsOverTls }],
    });
    const { messages } = await sender.send('bob@r281.test');
    assert.deepEqual(messages[0]?.mailFrom.params, []);
    assert.deepEqual(mx[0]?.sessions[0]?.violations, []);
  });

  test('R281 what is offered over TLS only is used', async () => {
    await using sender = await world.sender();
    const host = { host: 'mx.r281b.test', keywords: [], keywordsOverTls: DEFAULT_KEYWORDS };
    await world.domain('r281b.test', { mx: [host] });
    const { messages } = await sender.send('bob@r281b.test');
    assert.match(messages[0]?.mailFrom.params.join(' ') ?? '', /^SIZE=\d+$/);
  });

  const injections = ['250 injected\r\n', '250-mx\r\n250 SIZE 1\r\n', '2'];
  const ways = injections.flatMap((text) => [[text, false] as const, [text, true] as const]);
  for (const [n, [injectAfterStartTls, injectApart]] of ways.entries()) {
    const where = injectApart ? ', in a packet of its own,' : '';
    test(`R282 clear text behind the reply to STARTTLS${where} ends the session (${n + 1})`, async () => {
      await using sender = await world.sender();
      const name = `r282-${n}.test`;
      const host = { host: `mx.${name}`, injectAfterStartTls, injectApart };
      const { mx } = await world.domain(name, { mx: [host], sts: {} });
      const sent = await sender.send(`bob@${name}`);
      assert.equal(causeOf(sent), 'clear-text-after-starttls');
      for (const session of mx[0]?.sessions ?? []) {
        assert.deepEqual(dialogOf(session), ['EHLO', 'STARTTLS']);
      }
    });
  }
});

describe('RFC 3207 §4 The STARTTLS Extension', () => {
  test('R283 nothing is sent behind STARTTLS before its reply, also with PIPELINING', async () => {
    await using sender = await world.sender();
    const { mx } = await world.domain('r283.test');
    const { messages } = await sender.send('bob@r283.test');
    assert.equal(messages.length, 1);
    assert.deepEqual(mx[0]?.sessions[0]?.violations, []);
  });

  test('R284 STARTTLS is not sent again where a host offers it over TLS', async () => {
    await using sender = await world.sender();
    const keywordsOverTls = [...DEFAULT_KEYWORDS, 'STARTTLS'];
    const { mx } = await world.domain('r284.test', {
      mx: [{ host: 'mx.r284.test', keywordsOverTls }],
    });
    await sender.send('bob@r284.test');
    const [session] = await (mx[0]?.waitForSessions(1) ?? []);
    assert.deepEqual(session && dialogOf(session), WHOLE_DIALOG);
  });

  const refusals = [
    '454 4.7.0 TLS not available',
    '421 4.3.0 later',
    '501 5.5.4 no',
    '554 5.7.0 no',
  ];
  for (const refusal of refusals) {
    const code = refusal.slice(0, 3);
    const script = (_session: unknown, { verb }: { readonly verb: string }) =>
      verb === 'STARTTLS' ? refusal : undefined;

    test(`R285 ${code} to STARTTLS under a policy: the next host gets the message`, async () => {
      await using sender = await world.sender();
      const name = `r285-${code}.test`;
      const mx = [{ host: `a.${name}`, script }, { host: `b.${name}` }];
      const made = await world.domain(name, { mx, sts: {} });
      const { messages, sessions } = await sender.send(`bob@${name}`);
      assert.equal(sessions[0]?.kind, 'ended-early');
      assert.equal(messages[0]?.session, made.mx[1]?.sessions[0]);
    });
  }

  test('R285 STARTTLS refused without a policy: the message goes in clear text', async () => {
    await using sender = await world.sender();
    const mx = [{ host: 'mx.r285.test', startTls: 'refused' as const }];
    await world.domain('r285.test', { mx });
    const { messages, sessions } = await sender.send('bob@r285.test');
    assert.equal(messages[0]?.tls, undefined);
    assert.equal(sessions.at(-1)?.facts.clearTextBecause?.cause, 'starttls-refused');
  });

  test('R286 a handshake that fails ends its connection; clear text goes over a new one', async () => {
    await using sender = await world.sender();
    const host = { host: 'mx.r286.test', startTls: 'garbage' as const };
    const { mx } = await world.domain('r286.test', { mx: [host] });
    const { messages } = await sender.send('bob@r286.test');
    const sessions = await (mx[0]?.waitForSessions(3) ?? []);
    assert.deepEqual(sessions?.map(dialogOf), [
      ['EHLO', 'STARTTLS'],
      ['EHLO', 'STARTTLS'],
      ['EHLO', 'MAIL', 'RCPT', 'DATA', 'QUIT'],
    ]);
    assert.equal(messages[0]?.session, sessions?.[2]);
  });

  test('R286 a handshake that fails under a policy is never followed by clear text', async () => {
    await using sender = await world.sender();
    const host = { host: 'mx.r286b.test', startTls: 'garbage' as const };
    const { mx } = await world.domain('r286b.test', { mx: [host], sts: {} });
    assert.equal(causeOf(await sender.send('bob@r286b.test')), 'clear-text-after-starttls');
    for (const session of mx[0]?.sessions ?? []) {
      assert.deepEqual(dialogOf(session), ['EHLO', 'STARTTLS']);
    }
  });

  test('R287 a peer that the policy does not accept is told QUIT, and of no mail', async () => {
    await using sender = await world.sender();
    const host = { host: 'mx.r287.test', certificate: 'wrong-host' as const };
    const { mx } = await world.domain('r287.test', { mx: [host], sts: {} });
    assert.equal(causeOf(await sender.send('bob@r287.test')), 'certificate-host-mismatch');
    const [session] = await (mx[0]?.waitForSessions(1) ?? []);
    assert.deepEqual(session && dialogOf(session), ['EHLO', 'STARTTLS', '[EHLO]', '[QUIT]']);
  });

  const demands = [
    { by: 'a policy', description: { sts: {} }, settings: {} },
    {
      by: 'an override that asks for encryption',
      description: {},
      settings: {
        overrides: [{ domain: 'r288-1.test', tls: 'encrypt' as const, owner: 'x', reason: 'x' }],
      },
    },
  ];
  for (const [n, { by, description, settings }] of demands.entries()) {
    test(`R288 a host without STARTTLS gets nothing where TLS is asked for by ${by}`, async () => {
      await using sender = await world.sender({ settings });
      const name = `r288-${n}.test`;
      const host = { host: `mx.${name}`, startTls: 'off' as const };
      const { mx } = await world.domain(name, { mx: [host], ...description });
      assert.equal(causeOf(await sender.send(`bob@${name}`)), 'starttls-not-offered');
      assert.deepEqual(mx[0]?.messages, []);
    });
  }
});
