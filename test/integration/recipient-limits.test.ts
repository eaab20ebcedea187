/**
 * A message for more recipients than a server takes in one transaction (RFC 5321 §4.5.3.1.10,
 * RFC 9422 §4.2): everybody gets it at once and nobody twice, whatever happens in between.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MxDescription, PretendDomain } from '../support/pretend-internet.ts';
import { type RelayWorld, type Sent, startWorld } from '../support/relay-world.ts';

let world: RelayWorld;
before(async () => {
  world = await startWorld({ retry: { schedule: ['1h'] } });
});
after(() => world.close());

let domains = 0;
function domainWith(mx: Omit<MxDescription, 'host'>): Promise<PretendDomain> {
  const name = `many${++domains}.test`;
  return world.internet.domain(name, { sts: {}, mx: [{ host: `mx.${name}`, ...mx }] });
}

const mailboxes = ({ name }: PretendDomain, count: number) =>
  Array.from({ length: count }, (_, n) => `r${n}@${name}`);

const arrivals = ({ messages }: PretendDomain) =>
  messages.flatMap(({ recipients }) => recipients.map(({ address }) => address)).sort();

/** Every recipient has one answer, `delivered` at the first attempt. */
async function allDelivered(sent: Sent): Promise<void> {
  for (const recipient of sent.to) {
    const answer = await world.answer(sent, { recipient });
    assert.equal(answer.event, 'delivery.delivered', JSON.stringify(answer));
    assert.equal(answer['attempt'], 1);
    assert.equal(world.answers(sent, recipient).length, 1);
  }
}

describe('more recipients than a transaction takes', () => {
  test('announced (RCPTMAX): several transactions on one session', async () => {
    const keywords = ['PIPELINING', 'SIZE', 'DSN', 'LIMITS RCPTMAX=4'];
    const domain = await domainWith({ keywords });
    const to = mailboxes(domain, 10);
    const sent = await world.send({ to });
    await allDelivered(sent);
    assert.deepEqual(arrivals(domain), [...to].sort());
    const [session, ...more] = domain.mx[0]?.sessions ?? [];
    assert.equal(more.length, 0);
    assert.deepEqual(
      session?.messages.map(({ recipients }) => recipients.length),
      [4, 4, 2],
    );
    assert.deepEqual(session?.violations, []);
  });

  test('not announced (452): the rest goes at once, with no more than were taken', async () => {
    let asked = 0;
    const domain = await domainWith({
      script: (_session, { verb }) => {
        if (verb === 'MAIL') asked = 0;
        return verb === 'RCPT' && ++asked > 3 ? '452 4.5.3 Too many recipients' : undefined;
      },
    });
    const to = mailboxes(domain, 10);
    await allDelivered(await world.send({ to }));
    assert.deepEqual(arrivals(domain), [...to].sort());
    const rcpts = domain.mx[0]?.sessions.flatMap(({ commands }) =>
      commands.filter(({ verb }) => verb === 'RCPT'),
    );
    assert.equal(rcpts?.length, 10 + 3 + 3 + 1);
  });

  test('one whose address the server cannot take (R277) keeps the message from nobody', async () => {
    const domain = await domainWith({ keywords: ['PIPELINING', '8BITMIME', 'LIMITS RCPTMAX=2'] });
    const others = mailboxes(domain, 3);
    const to = [`ü@${domain.name}`, ...others.slice(0, 1), `ö@${domain.name}`, ...others.slice(1)];
    const sent = await world.send({ to, mailParams: 'SMTPUTF8' });
    await allDelivered({ ...sent, to: others });
    for (const recipient of [to[0], to[2]]) {
      const answer = await world.answer(sent, { recipient });
      assert.equal(answer.event, 'outcome.bounced');
      assert.equal(answer['status'], '5.6.7');
    }
    assert.deepEqual(arrivals(domain), others);
  });

  test('MAILMAX=1: each transaction over a connection of its own', async () => {
    const keywords = ['PIPELINING', 'LIMITS RCPTMAX=2 MAILMAX=1'];
    const domain = await domainWith({ keywords });
    await allDelivered(await world.send({ to: mailboxes(domain, 5) }));
    assert.deepEqual(
      domain.mx[0]?.sessions.map(({ messages }) => messages.length),
      [1, 1, 1],
    );
  });

  test('without SMTPUTF8: those whose address needs it hold nobody back', async () => {
    const domain = await domainWith({ keywords: ['PIPELINING', '8BITMIME', 'LIMITS RCPTMAX=3'] });
    const plain = mailboxes(domain, 5);
    const international = ['ä', 'ö'].map((name) => `${name}@${domain.name}`);
    const to = [...international, ...plain];
    const sent = await world.send({ to, mailParams: 'SMTPUTF8' });
    const events = await Promise.all(to.map((recipient) => world.answer(sent, { recipient })));
    assert.deepEqual(
      events.map(({ event }) => event),
      [...international.map(() => 'outcome.bounced'), ...plain.map(() => 'delivery.delivered')],
    );
    assert.deepEqual(arrivals(domain), plain);
  });

  test('those behind the last one that was taken wait like any other', async () => {
    const keywords = ['PIPELINING', 'LIMITS RCPTMAX=2'];
    let mails = 0;
    const domain = await domainWith({
      keywords,
      script: (_session, { verb }) =>
        verb === 'MAIL' && ++mails > 1 ? '452 4.3.1 No more today' : undefined,
    });
    const to = mailboxes(domain, 5);
    const sent = await world.send({ to });
    const events = await Promise.all(to.map((recipient) => world.answer(sent, { recipient })));
    assert.deepEqual(
      events.map(({ event, attempt }) => [event, attempt]),
      [
        ...Array.from({ length: 2 }, () => ['delivery.delivered', 1]),
        ...Array.from({ length: 3 }, () => ['delivery.deferred', 1]),
      ],
    );
  });

  test('SIGKILL between two transactions: nobody of the first gets it again', async () => {
    const keywords = ['PIPELINING', 'LIMITS RCPTMAX=3'];
    let mails = 0;
    const domain = await domainWith({
      keywords,
      script: (_session, { verb }) => {
        if (verb !== 'MAIL') return undefined;
        mails += 1;
        return mails === 2 ? { ending: 'hang' } : undefined;
      },
    });
    const to = mailboxes(domain, 8);
    await world.send({ to });
    const [host] = domain.mx;
    await host?.waitUntil('the second MAIL', ([session]) =>
      session?.commands.filter(({ verb }) => verb === 'MAIL').at(1),
    );
    await world.relay.kill('SIGKILL');
    await world.relay.start();
    await host?.waitForMessages(3);
    assert.deepEqual(arrivals(domain), [...to].sort());
  });
});
