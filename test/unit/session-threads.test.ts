/**
 * Sessions in threads of their own: that they come to what they would come to here, and what is left
 * of them when something goes wrong on the way or the thread ends. Real threads, real sockets, real
 * TLS; session-reuse.test.ts has the sessions themselves.
 */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { after, describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { SessionSettings } from '../../src/delivery/sessions.ts';
import {
  SessionThreads,
  type SessionThreadsOptions,
  type ThreadEvents,
} from '../../src/delivery/threads/session-threads.ts';
import type { RecipientReply, SessionResult } from '../../src/mail/session-result.ts';
import type { TlsRequirement } from '../../src/mail/tls-requirement.ts';
import { freePort } from '../support/free-port.ts';
import type { MxSessionRecord, Script } from '../support/mx-script.ts';
import {
  benchSettings,
  bodyOf,
  type Handing,
  SessionBench,
  type SessionBenchOptions,
} from '../support/session-bench.ts';
import { realProgram, realThread, threadProgram } from '../support/thread-programs.ts';
import { Chronicle, waitFor } from '../support/wait-for.ts';

const OPPORTUNISTIC: TlsRequirement = {
  level: 'opportunistic',
  minVersion: 'TLSv1.2',
  source: { kind: 'default' },
};

/** Session threads, and what they tell. */
class Watched implements AsyncDisposable {
  readonly ended = new Chronicle<Parameters<ThreadEvents['threadEnded']>[0]>();
  readonly warnings = new Chronicle<string>();
  readonly threads: SessionThreads;
  connections = 0;

  constructor(options: SessionThreadsOptions = {}) {
    const events = {
      connection: (change: 1 | -1) => {
        this.connections += change;
      },
      threadEnded: (facts: Parameters<ThreadEvents['threadEnded']>[0]) => this.ended.push(facts),
      nodeWarning: (warning: string) => this.warnings.push(warning),
    };
    this.threads = new SessionThreads(events, { count: 1, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.threads.end();
  }
}

/** The one that most tests share. */
const shared = new Watched();
after(async () => {
  await shared.threads.end();
  assert.deepEqual(shared.ended.entries, []);
});

const start = (options: SessionBenchOptions = {}) =>
  SessionBench.start({ home: shared.threads, ...options });

function replyTo(result: SessionResult, recipient = 0): RecipientReply | undefined {
  return result.kind === 'transacted' ? result.recipients.get(recipient) : undefined;
}

function assertAccepted(result: SessionResult, reused = false): void {
  assert.equal(replyTo(result)?.kind, 'accepted', JSON.stringify(result));
  assert.equal(result.facts.reused ?? false, reused);
}

function verbs(session: MxSessionRecord | undefined): string {
  return (session?.commands ?? []).map(({ verb }) => verb).join(' ');
}

/** A script under which the host says nothing more once it heard `verb`. */
function hangingAt(verb: string, heard: () => void = () => {}): SessionBenchOptions {
  return {
    script: (_session, command) => {
      if (command.verb !== verb) return undefined;
      heard();
      return { ending: 'hang' };
    },
  };
}

describe('a run in a thread comes to what it would come to here', () => {
  const gone = freePort();
  /** The usual reply says which session it was. */
  const takes: Script = (_session, { verb }) => (verb === '.' ? '250 2.0.0 taken' : undefined);
  type Case = readonly [what: string, Handing, SessionBenchOptions?];
  const cases: readonly Case[] = [
    ['accepted', {}],
    ['accepted, with the outcome on disk at once', { recorded: Promise.resolve() }],
    ['refused by RCPT', {}, { script: (_, { verb }) => ({ RCPT: '550 5.1.1 nobody' })[verb] }],
    ['refused by MAIL', {}, { script: (_, { verb }) => ({ MAIL: '451 4.3.0 later' })[verb] }],
    ['refused at the end', { recipients: 3 }, { script: (_, c) => ({ '.': '554 no' })[c.verb] }],
    ['reset at the end', {}, { script: (_, c) => ({ '.': { ending: 'reset' } as const })[c.verb] }],
    ['a certificate that has expired', {}, { validForMs: -1000 }],
    ['STARTTLS not offered', {}, { startTls: 'off' }],
    ['STARTTLS and garbage', {}, { startTls: 'garbage' }],
    ['in clear text', { plan: { requirement: OPPORTUNISTIC } }, { startTls: 'refused' }],
    ['no such address', { plan: { address: 'nonsense' } }],
    ['a body that is not as long as it was', { sizeBytes: 7 }],
    ['8BITMIME, SIZE', { sizeBytes: 8000 }, { keywords: ['SIZE 4000'] }],
  ];
  for (const [what, handing, options] of cases) {
    test(what, async () => {
      await using bench = await start({ script: takes, ...options });
      for (const _ of ['over a new session', 'over one that was used, where it is kept']) {
        const here = await bench.send({ ...handing, here: true });
        assert.deepEqual(await bench.send(handing), here);
      }
    });
  }

  test('nobody listening', async () => {
    await using bench = await start();
    const handing = { plan: { candidate: { ...bench.plan().candidate, port: await gone } } };
    const here = await bench.send({ ...handing, here: true });
    assert.ok(here.kind === 'ended-early');
    assert.deepEqual(await bench.send(handing), here);
  });

  test('some of the recipients, by their indexes in the envelope', async () => {
    await using bench = await start({
      script: (session, command) =>
        command.line.includes('<r3@') ? '550 5.1.1 nobody' : takes(session, command),
    });
    const handing = { recipients: 6, only: [1, 3, 4] };
    const here = await bench.send({ ...handing, here: true });
    const result = await bench.send(handing);
    assert.deepEqual(result, here);
    assert.ok(result.kind === 'transacted');
    assert.deepEqual(
      [...result.recipients].map(([index, { kind }]) => [index, kind]),
      [
        [1, 'accepted'],
        [3, 'failed'],
        [4, 'accepted'],
      ],
    );
    const named = bench.host.messages[1]?.recipients.map(({ address }) => address);
    assert.deepEqual(named, ['r1@reuse.test', 'r4@reuse.test']);
  });

  const unreadable = new Error('it is lost', { cause: { code: 'EIO' } });
  const midway = () =>
    Readable.from(
      (async function* () {
        yield Buffer.from('Subject: x\r\n\r\n');
        for (let i = 0; i < 20; i += 1) yield Buffer.from('line\r\n'.repeat(2000));
        throw new Error('the disk is on fire');
      })(),
      { objectMode: false },
    );
  for (const [what, body] of [
    ['cannot be opened', () => Promise.reject(unreadable)],
    ['cannot be opened, nobody knows why', () => Promise.reject(new Error('damaged'))],
    ['breaks off midway', midway],
    ['breaks off at once', () => midway().destroy(new Error('gone'))],
  ] as const) {
    test(`a body that ${what}: nothing is delivered`, async () => {
      await using bench = await start();
      const handing = { body, sizeBytes: 1_000_000 };
      const here = await bench.send({ ...handing, here: true });
      const result = await bench.send(handing);
      assert.match(JSON.stringify(replyTo(result) ?? result), /spool-unreadable/);
      assert.equal(bench.host.received.length, 0);
      const next = await bench.send();
      if (what.startsWith('cannot')) {
        assert.deepEqual(result, here);
        assertAccepted(next, true);
      } else {
        // How far the peer came before a stream broke off is a matter of chance: where MAIL was under
        // way the session is over, though nothing was answered.
        const mayBeReused = result.kind === 'ended-early' && next.facts.reused === true;
        assertAccepted(next, mayBeReused);
      }
    });
  }
});

describe('a body', () => {
  const lines = (count: number) =>
    Buffer.from(`Subject: x\r\n\r\n${'.a line\r\n..\r\n'.repeat(count)}`);
  const inPieces = (body: Buffer, size: number) => () => {
    const pieces = [];
    for (let at = 0; at < body.length; at += size) pieces.push(body.subarray(at, at + size));
    return Readable.from(pieces);
  };
  const large = lines(100_000);
  const cases: readonly (readonly [what: string, Buffer, Handing])[] = [
    ['at hand', bodyOf(7), { bodyInMemory: true }],
    ['at hand, and empty', Buffer.alloc(0), { bodyInMemory: true }],
    ['at hand, and large', lines(9000), { bodyInMemory: true }],
    ['read whole', bodyOf(7), {}],
    ['read whole, and large', large, {}],
    ['read in pieces', large, { body: inPieces(large, 65_536) }],
    ['read in small pieces', bodyOf(7), { body: inPieces(bodyOf(7), 1) }],
    [
      'read in pieces, some of them empty',
      bodyOf(7),
      { body: () => Readable.from([Buffer.alloc(0), bodyOf(7), Buffer.alloc(0)]) },
    ],
  ];
  for (const [what, body, handing] of cases) {
    test(`${what}, arrives octet for octet`, async () => {
      await using bench = await start();
      const sizeBytes = body.length;
      for (const reused of [false, true]) {
        assertAccepted(await bench.send({ body, sizeBytes, ...handing }), reused);
      }
      const { received } = bench.host;
      // RFC 5321 §4.1.1.4: a message ends with CRLF, also one that has no octets.
      const sent = body.length === 0 ? Buffer.from('\r\n') : body;
      assert.deepEqual(
        received.map(({ data }) => data.equals(sent)),
        [true, true],
      );
    });
  }

  test('is still its owner’s after it went along', async () => {
    await using bench = await start();
    const body = bodyOf(1);
    for (const reused of [false, true]) {
      assertAccepted(await bench.send({ body, bodyInMemory: true }), reused);
    }
    assert.deepEqual(body, bodyOf(1));
  });

  test('is read no further ahead than the peer takes it, and let go of at the end', async () => {
    await using bench = await start({ duringContent: { afterOctets: 50_000, ending: 'hang' } });
    const sizeBytes = 48 * 1024 * 1024;
    const piece = Buffer.from('a line\r\n'.repeat(8192));
    let read = 0;
    const stream = Readable.from(
      (function* () {
        for (; read < sizeBytes; read += piece.length) yield piece;
      })(),
      { objectMode: false, highWaterMark: piece.length },
    );
    const ending = new AbortController();
    const run = bench.send({ body: () => stream, sizeBytes, signal: ending.signal });
    let [before, since] = [-1, 0];
    await waitFor('the reading to stop', () => {
      if (read !== before) [before, since] = [read, performance.now()];
      return read > 0 && performance.now() - since > 500;
    });
    // What two sockets hold is the kernel's choice.
    assert.ok(read < sizeBytes / 2, `${read} octets were read`);
    ending.abort(new Error('enough'));
    await run;
    await waitFor('the end of the stream', () => stream.destroyed);
  });

  test('that is a stream is opened anew when its session turns out to have ended', async () => {
    await using bench = await start();
    await bench.send();
    bench.host.change({
      script: ({ number }, { verb }) =>
        number === 1 && verb === 'MAIL' ? { ending: 'reset' } : undefined,
    });
    const opened: Readable[] = [];
    const body = () => {
      const stream = inPieces(large, 65_536)();
      opened.push(stream);
      return stream;
    };
    assertAccepted(await bench.send({ body, sizeBytes: large.length }));
    assert.ok(bench.host.messages[1]?.data.equals(large));
    assert.equal(opened.length, 2);
    await waitFor('the end of both', () => opened.every(({ destroyed }) => destroyed));
  });
});

describe('an abort', () => {
  for (const verb of ['EHLO', 'STARTTLS', 'MAIL', 'RCPT', 'DATA', '.']) {
    test(`after ${verb} ends the session, with the reason it would have here`, async () => {
      let ending = new AbortController();
      const abort = () => ending.abort(new DOMException('no answer in 7 s', 'TimeoutError'));
      await using bench = await start({ keywords: [], ...hangingAt(verb, abort) });
      const here = await bench.send({ here: true, signal: ending.signal });
      ending = new AbortController();
      assert.deepEqual(await bench.send({ signal: ending.signal }), here);
      await bench.host.waitForSessions(2);
      assert.equal(bench.host.messages.length, 0);
    });
  }

  test('that came before the run: nobody is connected to', async () => {
    await using bench = await start();
    const signal = AbortSignal.abort(new Error('too late'));
    const here = await bench.send({ here: true, signal });
    assert.deepEqual(await bench.send({ signal }), here);
    assert.equal(bench.host.sessions.length, 0);
  });

  test('that came after the end leaves the session alone', async () => {
    await using bench = await start();
    const ending = new AbortController();
    await bench.send({ signal: ending.signal });
    ending.abort();
    assertAccepted(await bench.send(), true);
  });
});

describe('the outcome of a message', () => {
  test('is on disk before another one goes over its session', async () => {
    await using bench = await start();
    const disk = Promise.withResolvers<void>();
    assertAccepted(await bench.send({ recorded: disk.promise }));
    assertAccepted(await bench.send({ recorded: disk.promise }));
    assert.equal(bench.host.sessions.length, 2);
    disk.resolve();
    await disk.promise;
    assertAccepted(await bench.send(), true);
    assert.equal(bench.host.sessions.length, 2);
  });

  test('may be told together with the next message: it goes over that session', async () => {
    await using bench = await start();
    const disk = Promise.withResolvers<void>();
    await bench.send({ recorded: disk.promise });
    disk.resolve();
    await disk.promise; // so far comes the lane with the next one, within one turn of the event loop
    assertAccepted(await bench.send(), true);
    assert.equal(bench.host.sessions.length, 1);
  });

  test('that nobody could write lets go of the session, too', async () => {
    await using bench = await start();
    const disk = Promise.withResolvers<void>();
    await bench.send({ recorded: disk.promise });
    disk.reject(new Error('no disk'));
    await turn();
    assertAccepted(await bench.send(), true);
  });
});

describe('close', () => {
  test('ends the idle sessions, and those in use once their message has gone', async () => {
    await using bench = await start();
    const disk = Promise.withResolvers<void>();
    await Promise.all([bench.send(), bench.send({ recorded: disk.promise })]);
    await Promise.all([bench.sessions?.close(), bench.sessions?.close()]);
    const [idle] = await bench.host.waitForSessions(1);
    assert.match(verbs(idle), /QUIT$/);
    assert.equal(bench.host.connectionsOpen, 1);
    disk.resolve();
    for (const session of await bench.host.waitForSessions(2))
      assert.match(verbs(session), /QUIT$/);
    // Attempts that began before a reload go on.
    assertAccepted(await bench.send());
    await bench.host.waitForSessions(3);
  });

  test('does not wait for a thread that hangs, and neither does the end', async (t) => {
    const hanging = realProgram(`if (message.kind === 'close') for (;;);`);
    await using watched = new Watched({ program: hanging });
    await using bench = await SessionBench.start({ home: watched.threads });
    await bench.send();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const closed = bench.sessions?.close();
    t.mock.timers.tick(5000);
    await closed;
    t.mock.timers.reset();
    const late = assert.rejects(bench.send(), /thread ended/);
    await watched.threads.end();
    await late;
    assert.equal(watched.connections, 0);
    assert.deepEqual(watched.ended.entries, [], 'it was our doing');
  });

  test('nothing runs after the end', async () => {
    await using watched = new Watched();
    await using bench = await SessionBench.start({ home: watched.threads });
    await watched.threads.end();
    await assert.rejects(bench.send(), /have ended/);
  });
});

/** In a real thread: something in it that nobody caught, when it hears of a message so large. */
const CRASH = 4710;
const crashing = (how: string) =>
  realProgram(`if (message.kind === 'run' && message.order.sizeBytes === ${CRASH}) { ${how} }`);
const crash = (bench: SessionBench) =>
  bench.send({ body: Buffer.alloc(CRASH, 'x\r\n'), bodyInMemory: true });

describe('a thread that ends', () => {
  const ways: readonly (readonly [what: string, how: string, error: RegExp])[] = [
    ['throws', `throw new Error('boom')`, /^boom$/],
    ['throws in a later turn', `setImmediate(() => { throw new Error('boom') })`, /^boom$/],
    ['throws what is no error', `throw 'boom'`, /^boom$/],
    ['rejects what nobody waits for', `Promise.reject(new Error('boom'))`, /^boom$/],
    ['exits', 'process.exit(3)', /^exit code 3$/],
    ['says what cannot be said', 'port.postMessage(() => {})', /could not be cloned/],
  ];
  for (const [what, how, error] of ways) {
    test(`because it ${what}, rejects its runs; the next ones go through a new one`, async () => {
      await using watched = new Watched({ program: crashing(how) });
      const heard = Promise.withResolvers<void>();
      await using bench = await SessionBench.start({
        home: watched.threads,
        ...hangingAt('.', heard.resolve),
      });
      const hanging = assert.rejects(bench.send(), /the session thread ended: /);
      await heard.promise;
      assert.equal(watched.connections, 1);
      await assert.rejects(crash(bench), /the session thread ended: /);
      await hanging;
      assert.equal(watched.connections, 0);
      const [told, ...more] = watched.ended.entries;
      assert.deepEqual([told?.runs, more], [2, []]);
      assert.match(told?.error ?? '', error);
      if (error.source === '^boom$') assert.match(told?.stack ?? '', /boom/);
      await bench.host.waitForSessions(1);
      assert.equal(bench.host.received.length, 1);

      bench.host.change({ script: () => undefined });
      assertAccepted(await bench.send());
      assertAccepted(await bench.send(), true);
      assert.equal(watched.connections, 1);
    });
  }

  test('has told by then what it knew: a message that was delivered is not sent again', async () => {
    const late = crashing(`
      const real = globalThis.setImmediate;
      globalThis.setImmediate = (act) =>
        real(String(act).includes('post') ? () => { throw new Error('boom') } : act);`);
    await using watched = new Watched({ program: late });
    await using bench = await SessionBench.start({ home: watched.threads });
    assertAccepted(await bench.send());
    assertAccepted(await crash(bench), true);
    const [told] = await watched.ended.untilCount('the end of the thread', 1);
    assert.deepEqual([told?.error, told?.runs], ['boom', 0]);
  });

  test('at once rejects every run, and hangs none', async () => {
    await using watched = new Watched({ program: threadProgram(`throw new Error('no start')`) });
    await using bench = await SessionBench.start({ home: watched.threads });
    for (let i = 1; i <= 3; i += 1) {
      await assert.rejects(bench.send(), /the session thread ended: no start/);
      assert.equal(watched.ended.entries.length, i);
    }
    assert.equal(bench.host.sessions.length, 0);
  });

  test('while a body is read: the stream is let go of', async () => {
    const dying = realProgram(`if (message.kind === 'piece') process.exit(1);`);
    await using watched = new Watched({ program: dying });
    await using bench = await SessionBench.start({ home: watched.threads });
    const stream = Readable.from([bodyOf(1), bodyOf(2)]);
    await assert.rejects(bench.send({ body: () => stream, sizeBytes: 99 }), /exit code 1/);
    await waitFor('the end of the stream', () => stream.destroyed);
    assert.equal(bench.host.received.length, 0);
  });

  test('while settings are closed ends the wait; they are closed in the next one, too', async () => {
    const dying = realProgram(`if (message.kind === 'recorded') process.exit(1);`);
    await using watched = new Watched({ program: dying });
    await using bench = await SessionBench.start({ home: watched.threads });
    const disk = Promise.withResolvers<void>();
    await bench.send({ recorded: disk.promise });
    disk.resolve();
    await disk.promise;
    await bench.sessions?.close();
    await watched.ended.untilCount('the end of the thread', 1);
    assertAccepted(await bench.send());
    for (const session of await bench.host.waitForSessions(2)) assert.ok(session.ended);
    assert.match(verbs(bench.host.sessions[1]), /QUIT$/);
  });

  test('in the middle of an abort, or of its own end, ends once', async () => {
    await using watched = new Watched({
      program: realProgram(`if (message.kind === 'abort') throw 1`),
    });
    const ending = new AbortController();
    await using bench = await SessionBench.start({
      home: watched.threads,
      ...hangingAt('MAIL', () => ending.abort()),
    });
    await assert.rejects(bench.send({ signal: ending.signal }), /thread ended: 1/);
    await watched.threads.end();
    assert.equal(watched.ended.entries.length, 1);
  });
});

describe('what should not happen', () => {
  test('a run that throws rejects with message and stack, and others go on', async () => {
    await using bench = await start();
    // The way in clear text is open to nobody who asks for TLS.
    await assert.rejects(bench.send({ plan: { mode: 'clear' } }), (error: Error) => {
      assert.match(error.message, /clear text was planned/);
      assert.match(error.stack ?? '', /open-session\.ts/);
      return true;
    });
    assertAccepted(await bench.send());
  });

  test('an order that cannot be said ends the thread, and not the process', async () => {
    await using watched = new Watched();
    await using bench = await SessionBench.start({ home: watched.threads });
    const candidate = { ...bench.plan().candidate, surprise: () => {} };
    await assert.rejects(bench.send({ plan: { candidate } }), /could not be cloned/);
    assert.match(watched.ended.entries[0]?.error ?? '', /could not be cloned/);
    assertAccepted(await bench.send());
  });

  test('settings that cannot be opened fail where they are used, and nowhere else', async () => {
    await using bench = await start();
    const settings: SessionSettings = await benchSettings();
    const secure = { ...settings.secure, minVersion: 'TLSv9' as 'TLSv1.3' };
    const broken = shared.threads.open({ ...settings, secure });
    const never = async () => assert.fail('it was opened');
    const { signal } = new AbortController();
    const recipients: number[] = [];
    const envelope = { recipients } as unknown as Parameters<typeof broken.run>[1]['envelope'];
    const consignment = { envelope, sizeBytes: 0, recipients, openBody: never };
    await assert.rejects(broken.run(bench.plan(), consignment, signal), /TLSv9/);
    await broken.close();
    assertAccepted(await bench.send());
  });

  test('a warning of Node.js in a thread is told', async () => {
    await using watched = new Watched({ program: crashing(`process.emitWarning('look out')`) });
    await using bench = await SessionBench.start({ home: watched.threads });
    await crash(bench);
    assert.deepEqual(await watched.warnings.untilCount('warning', 1), ['Warning: look out']);
  });
});

describe('several threads', () => {
  test('find sessions with one address again', async () => {
    await using watched = new Watched({ count: 3 });
    for (const address of ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4']) {
      await using bench = await SessionBench.start({ home: watched.threads, address });
      for (const reused of [false, true, true]) assertAccepted(await bench.send(), reused);
    }
  });

  test('share the addresses, each of which has one of them', async () => {
    const program = threadProgram(`
      port.on('message', (messages) => {
        for (const { kind, id } of messages) {
          if (kind === 'run') say({ kind: 'threw', id, message: String(threadId) });
          if (kind === 'close') say({ kind: 'closed', generation: 0 });
        }
      });`);
    await using watched = new Watched({ count: 4, program });
    await using bench = await SessionBench.start({ home: watched.threads });
    const threadFor = async (address: string) => {
      const error = await bench.send({ plan: { address } }).then(
        () => assert.fail('nothing was sent'),
        (thrown: Error) => thrown,
      );
      return error.message;
    };
    const addresses = Array.from({ length: 200 }, (_, i) => `192.0.2.${i}`);
    const counts = new Map<string, number>();
    for (const address of addresses) {
      const thread = await threadFor(address);
      assert.equal(await threadFor(address), thread);
      counts.set(thread, (counts.get(thread) ?? 0) + 1);
    }
    assert.equal(counts.size, 4);
    for (const count of counts.values()) assert.ok(count >= 25, `${[...counts.values()]}`);
  });
});

describe('settings that nobody has any more', () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;

  test('are forgotten by the threads, and not while a run may name them', async () => {
    const program = threadProgram(`
      const runs = [];
      port.on('message', (messages) => {
        for (const { kind, id, generation } of messages) {
          if (kind === 'run') runs.push(id);
          if (kind === 'abort') say({ kind: 'threw', id: runs.pop(), message: 'aborted' });
          if (kind === 'forget') say({ kind: 'warning', warning: 'forgot ' + generation });
        }
      });`);
    await using watched = new Watched({ program });
    const settings = await benchSettings();
    await using bench = await SessionBench.start();
    const ending = new AbortController();
    const run = () => {
      const body = async () => Buffer.alloc(0);
      const envelope = { recipients: [] as number[] } as unknown as Parameters<
        ReturnType<SessionThreads['open']>['run']
      >[1]['envelope'];
      const consignment = { envelope, sizeBytes: 0, recipients: [], openBody: body };
      return watched.threads.open(settings).run(bench.plan(), consignment, ending.signal);
    };
    const running = assert.rejects(run(), /aborted/);
    const open = () => void watched.threads.open(settings);
    open();
    const forgotten = async (count: number) =>
      waitFor(`${count} forgotten`, () => {
        collectGarbage();
        return watched.warnings.entries.length >= count && watched.warnings.entries;
      });
    assert.deepEqual(await forgotten(1), ['forgot 1']);
    ending.abort();
    await running;
    assert.deepEqual(await forgotten(2), ['forgot 1', 'forgot 0']);
  });
});

describe('a thread that is stuck', () => {
  const ASK_MS = 10_000;

  test('for a minute is ended, and the next runs go through a new one', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    await using watched = new Watched({ program: crashing('for (;;);') });
    await using bench = await SessionBench.start({ home: watched.threads });
    await bench.send();
    const stuck = assert.rejects(crash(bench), /it said nothing for 60 s/);
    await turn();
    for (let asked = 0; asked < 6; asked += 1) t.mock.timers.tick(ASK_MS);
    await turn();
    assert.deepEqual(watched.ended.entries, []);
    t.mock.timers.tick(ASK_MS);
    await stuck;
    assert.equal(watched.connections, 0);
    assertAccepted(await bench.send());
    assert.equal(watched.ended.entries.length, 1);
  });

  test('is not one that has nothing to do', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const program = threadProgram(`
      const real = port.postMessage.bind(port);
      port.postMessage = (said) => { real(said); real([{ kind: 'warning', warning: 'heard' }]); };
      await import(${JSON.stringify(realThread.href)});`);
    await using watched = new Watched({ program });
    await using _bench = await SessionBench.start({ home: watched.threads });
    for (let asked = 1; asked <= 20; asked += 1) {
      t.mock.timers.tick(ASK_MS);
      await watched.warnings.untilCount('answer', asked);
    }
    assert.deepEqual(watched.ended.entries, []);
  });
});

test('a thread that computes keeps nothing here from its turn', async () => {
  await using watched = new Watched({
    program: crashing(`const until = Date.now() + 1000; while (Date.now() < until);`),
  });
  await using bench = await SessionBench.start({ home: watched.threads });
  await bench.send();
  let isOver = false;
  const run = crash(bench).then(() => {
    isOver = true;
  });
  let turns = 0;
  while (!isOver) {
    await turn();
    turns += 1;
  }
  await run;
  assert.ok(turns > 100, `${turns} turns`);
});
