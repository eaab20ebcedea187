/**
 * The store as its users see it: what was committed is there, octet for octet, and stays; what was
 * not is nowhere.
 */
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { newMessageId } from '../../src/mail/message-id.ts';
import { foldRecords, type SpoolRecord } from '../../src/spool/message-state.ts';
import { type Draft, type Spool, SpoolError, type StoredMessage } from '../../src/spool/store.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import {
  attempt,
  destinationOf,
  FAILURE,
  fill,
  octets,
  openSpool,
  sampleEnvelope,
  store,
} from './sample-mail.ts';

/** Octets that differ everywhere. */
function patterned(length: number): Buffer {
  const body = Buffer.alloc(length);
  for (let at = 0; at < length; at++) body[at] = (at * 31 + (at >> 8)) & 0xff;
  return body;
}

async function listed(spool: Spool): Promise<StoredMessage[]> {
  const messages: StoredMessage[] = [];
  for await (const message of spool.list()) messages.push(message);
  return messages;
}

describe('the segment store', () => {
  let dir: TempDir;
  let spool: Spool;
  before(async () => {
    dir = tempDir();
    ({ spool } = await openSpool(dir.file('spool')));
  });
  after(async () => {
    await spool.close();
    dir.remove();
  });
  /** Files of their own that bodies have. */
  const bodyFiles = () => readdirSync(dir.file('spool/large'));

  /** The same question, asked of a store that begins anew. */
  async function reopened<T>(ask: (again: Spool) => Promise<T>): Promise<T> {
    await spool.close();
    ({ spool } = await openSpool(dir.file('spool')));
    return ask(spool);
  }

  test('gives back what was committed, octet for octet, however it came', async () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 8 });
    const given: { stored: StoredMessage; body: Buffer }[] = [];
    await fc.assert(
      fc.asyncProperty(chunks, async (parts) => {
        const envelope = sampleEnvelope();
        const draft = await spool.begin(envelope.id);
        for (const part of parts) await draft.write(Buffer.from(part));
        const stored = await draft.commit(envelope);
        const body = Buffer.concat(parts);
        given.push({ stored, body });
        assert.equal(stored.sizeBytes, body.length);
        assert.deepEqual(await octets(await spool.openBody(envelope.id)), body);
        assert.deepEqual(await spool.read(envelope.id), stored);
      }),
      { numRuns: 25 },
    );
    await reopened(async (again) => {
      for (const { stored, body } of given) {
        assert.deepEqual(await again.read(stored.envelope.id), stored);
        assert.deepEqual(await octets(await again.openBody(stored.envelope.id)), body);
        await again.remove(stored.envelope.id);
      }
    });
  });

  test('takes any size: in a segment up to 128 KiB, in a file of its own beyond', async () => {
    const limit = 128 * 1024;
    for (const size of [0, 1, limit - 1, limit, limit + 1, 3_000_001]) {
      const envelope = sampleEnvelope();
      const body = patterned(size);
      const draft = await spool.begin(envelope.id);
      for (let at = 0; at < size; at += 65_000) await draft.write(body.subarray(at, at + 65_000));
      await draft.commit(envelope);
      const opened = await spool.openBody(envelope.id);
      assert.equal(Buffer.isBuffer(opened), size <= limit, `${size}`);
      assert.ok((await octets(opened)).equals(body), `${size}`);
      assert.equal(bodyFiles().length, size <= limit ? 0 : 1);
      await reopened(async (again) => {
        assert.ok((await octets(await again.openBody(envelope.id))).equals(body), `${size}`);
        await again.remove(envelope.id);
      });
      assert.deepEqual(bodyFiles(), []);
    }
  });

  test('takes one octet at a time, without holding more than it may', async () => {
    const envelope = sampleEnvelope();
    const body = patterned(140_000);
    const draft = await spool.begin(envelope.id);
    for (let at = 0; at < body.length; at++) await draft.write(body.subarray(at, at + 1));
    await draft.commit(envelope);
    assert.ok((await octets(await spool.openBody(envelope.id))).equals(body));
    await spool.remove(envelope.id);
  });

  test('a large body can be left half read', async () => {
    const envelope = sampleEnvelope();
    await store(spool, envelope, patterned(600_000));
    const body = await spool.openBody(envelope.id);
    assert.ok(!Buffer.isBuffer(body));
    for await (const chunk of body) {
      assert.ok((chunk as Buffer).length > 0);
      break;
    }
    assert.equal(body.destroyed, true);
    await spool.remove(envelope.id);
  });

  test('keeps every field of an envelope', async () => {
    const envelope = sampleEnvelope({
      reversePath: '',
      recipients: [
        { address: '用户@dest.example', notify: ['SUCCESS', 'DELAY'], orcpt: 'utf-8;x@y' },
        { address: '"a\\"b\u2028"@dest.example', notify: ['NEVER'] },
      ],
      eightBitMime: true,
      smtpUtf8: true,
      ret: 'FULL',
      envid: 'é+\ud800',
      client: { address: '::1', helo: 'x', user: 'u', tls: true },
    });
    await store(spool, envelope);
    assert.deepEqual((await spool.read(envelope.id))?.envelope, envelope);
    await reopened(async (again) => {
      assert.deepEqual((await again.read(envelope.id))?.envelope, envelope);
      assert.ok((await listed(again)).some((message) => message.envelope.id === envelope.id));
      await again.remove(envelope.id);
    });
  });

  test('has nothing under an id it never saw or removed', async () => {
    const envelope = sampleEnvelope();
    assert.equal(await spool.read(envelope.id), undefined);
    await assert.rejects(spool.openBody(envelope.id), SpoolError);
    for (const size of [20, 200_000]) {
      const gone = sampleEnvelope();
      await store(spool, gone, patterned(size));
      await spool.remove(gone.id);
      assert.equal(await spool.read(gone.id), undefined);
      await assert.rejects(spool.openBody(gone.id), SpoolError);
      await assert.rejects(spool.append(gone.id, [attempt()]), (error: SpoolError) => {
        assert.equal(error.kind, 'gone');
        return error instanceof SpoolError;
      });
      await spool.remove(gone.id); // again does no harm
      assert.equal(await reopened((again) => again.read(gone.id)), undefined);
    }
  });

  test('takes drafts side by side, each invisible before its commit', async () => {
    const envelopes = Array.from({ length: 12 }, () => sampleEnvelope());
    const bodyOf = (n: number) => Buffer.alloc(n % 2 === 0 ? 200_000 : 2000, `${n} `);
    const drafts = await Promise.all(envelopes.map(({ id }) => spool.begin(id)));
    await Promise.all(drafts.map((draft, n) => fill(draft, bodyOf(n))));
    for (const { id } of envelopes) assert.equal(await spool.read(id), undefined);
    assert.deepEqual(await listed(spool), []);
    await Promise.all(drafts.map((draft, n) => draft.commit(envelopes[n] ?? assert.fail())));
    for (const [n, { id }] of envelopes.entries()) {
      assert.ok((await octets(await spool.openBody(id))).equals(bodyOf(n)));
      await spool.remove(id);
    }
  });

  test('never overwrites a message by another one of the same id', async () => {
    for (const size of [10, 200_000]) {
      const envelope = sampleEnvelope();
      await store(spool, envelope, Buffer.alloc(size, 'first'));
      for (const other of [Buffer.from('second'), patterned(200_000)]) {
        const draft = await spool.begin(envelope.id);
        await assert.rejects(async () => {
          await draft.write(other);
          await draft.commit(envelope);
        }, SpoolError);
        await draft.discard();
      }
      const body = await octets(await spool.openBody(envelope.id));
      assert.ok(body.equals(Buffer.alloc(size, 'first')));
      await spool.remove(envelope.id);
    }
    const envelope = sampleEnvelope();
    const both = await Promise.allSettled([
      store(spool, envelope, 'one'),
      store(spool, envelope, 'two'),
    ]);
    assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    await spool.remove(envelope.id);
  });

  test('does not commit a draft under the id of another', async () => {
    const draft = await spool.begin(sampleEnvelope().id);
    await fill(draft, patterned(200_000));
    await assert.rejects(draft.commit(sampleEnvelope()), SpoolError);
    await draft.discard();
    assert.deepEqual(bodyFiles(), []);
  });

  test('keeps all of several appends at once, in order', async () => {
    const envelope = sampleEnvelope();
    await store(spool, envelope);
    const records = Array.from({ length: 50 }, (_, n) => attempt({ atMs: n }));
    await Promise.all(records.map((record) => spool.append(envelope.id, [record])));
    assert.deepEqual((await spool.read(envelope.id))?.records, records);
    await reopened(async (again) => {
      assert.deepEqual((await again.read(envelope.id))?.records, records);
      await again.remove(envelope.id);
    });
  });

  test('takes the envelope and the records of very many recipients', async () => {
    const recipients = Array.from({ length: 20_000 }, (_, n) => {
      return { address: `${'x'.repeat(60)}${n}@dest.example`, orcpt: `rfc822;${'y'.repeat(300)}` };
    });
    const envelope = sampleEnvelope({ recipients });
    await store(spool, envelope);
    const failure = { ...FAILURE, text: 'z'.repeat(1000) };
    const record = attempt({ deferred: recipients.map((_, index) => ({ index, failure })) });
    await spool.append(envelope.id, [record]);
    await reopened(async (again) => {
      const stored = await again.read(envelope.id);
      assert.equal(stored?.envelope.recipients.length, 20_000);
      assert.deepEqual(stored?.records, [record]);
      await again.remove(envelope.id);
    });
  });

  test('is readable by its owner alone', async () => {
    const envelope = sampleEnvelope();
    await store(spool, envelope, patterned(200_000));
    const names = readdirSync(dir.file('spool'), { recursive: true, withFileTypes: true });
    assert.ok(names.filter((entry) => entry.isFile()).length >= 3);
    for (const entry of names) {
      const { mode } = statSync(`${entry.parentPath}/${entry.name}`);
      assert.equal(mode & 0o777, entry.isFile() ? 0o600 : 0o700, entry.name);
    }
    assert.equal(statSync(dir.file('spool')).mode & 0o777, 0o700);
    await spool.remove(envelope.id);
  });
});

describe('a draft', () => {
  /** What somebody may have done with one before it is given up. */
  const moments: readonly (readonly [string, (draft: Draft) => unknown])[] = [
    ['begun', () => {}],
    ['half written', (draft) => draft.write(Buffer.from('half a mess'))],
    ['half written, large', (draft) => draft.write(Buffer.alloc(200_000))],
    ['about to get its file', (draft) => void draft.write(Buffer.alloc(200_000)).catch(() => {})],
    [
      'with several writes under way',
      (draft) => {
        for (let n = 0; n < 5; n++) void draft.write(Buffer.alloc(60_000, n)).catch(() => {});
      },
    ],
    [
      'refused',
      (draft) => draft.commit(sampleEnvelope()).catch(() => {}), // of another id
    ],
  ];
  for (const [name, moment] of moments) {
    test(`discarded when ${name} leaves nothing`, async () => {
      using dir = tempDir();
      const { spool, recorded } = await openSpool(dir.file('spool'));
      const { id } = sampleEnvelope();
      const draft = await spool.begin(id);
      await moment(draft);
      await Promise.all([draft.discard(), draft.discard()]);
      await assert.rejects(draft.write(Buffer.from('x')), SpoolError);
      await assert.rejects(draft.commit(sampleEnvelope({ id })), SpoolError);
      assert.deepEqual(readdirSync(dir.file('spool/large')), []);
      await spool.close();
      const again = await openSpool(dir.file('spool'));
      assert.deepEqual(await listed(again.spool), []);
      assert.deepEqual(again.recorded.of('leftover'), []);
      await again.spool.close();
      assert.deepEqual(recorded.of('damaged'), []);
    });
  }

  test('discarded while it is committed is a message, whole, or none', async () => {
    using dir = tempDir();
    const { spool } = await openSpool(dir.file('spool'));
    for (const size of [100, 200_000]) {
      const envelope = sampleEnvelope();
      const body = patterned(size);
      const draft = await spool.begin(envelope.id);
      await draft.write(body);
      const [committed] = await Promise.allSettled([draft.commit(envelope), draft.discard()]);
      assert.equal(committed.status, 'fulfilled');
      assert.ok((await octets(await spool.openBody(envelope.id))).equals(body));
    }
    await spool.close();
  });

  test('keeps the order of writes nobody waited for', async () => {
    using dir = tempDir();
    const { spool } = await openSpool(dir.file('spool'));
    const envelope = sampleEnvelope();
    const body = patterned(500_000);
    const draft = await spool.begin(envelope.id);
    const writes: Promise<void>[] = [];
    for (let at = 0; at < body.length; at += 50_000) {
      writes.push(draft.write(body.subarray(at, at + 50_000)));
    }
    await draft.commit(envelope);
    await Promise.all(writes);
    assert.ok((await octets(await spool.openBody(envelope.id))).equals(body));
    await spool.close();
  });
});

test('the store says how long what took, and what went wrong', async () => {
  using dir = tempDir();
  const { spool, recorded } = await openSpool(dir.file('spool'));
  const envelope = sampleEnvelope();
  await store(spool, envelope);
  await spool.append(envelope.id, [attempt()]);
  await spool.remove(envelope.id);
  const took = recorded.of('took');
  assert.deepEqual(
    took.map(([operation]) => operation),
    ['commit', 'append', 'remove'],
  );
  assert.ok(took.every(([, seconds]) => typeof seconds === 'number' && seconds < 10));
  await assert.rejects(spool.append(envelope.id, []));
  assert.equal(recorded.of('failed')[0]?.[0], 'append');
  await spool.close();
});

test('a store that was closed takes nothing', async () => {
  using dir = tempDir();
  const { spool } = await openSpool(dir.file('spool'));
  const [kept, late] = [sampleEnvelope(), sampleEnvelope()];
  await store(spool, kept);
  const draft = await spool.begin(late.id);
  await spool.close();
  await assert.rejects(draft.commit(late), SpoolError);
  await assert.rejects(spool.append(kept.id, [attempt()]), SpoolError);
  await draft.discard();
  const again = await openSpool(dir.file('spool'));
  assert.deepEqual(
    (await listed(again.spool)).map(({ envelope }) => envelope.id),
    [kept.id],
  );
  await again.spool.close();
});

test('what is under way when the store closes is finished', async () => {
  using dir = tempDir();
  const { spool } = await openSpool(dir.file('spool'));
  const envelopes = Array.from({ length: 20 }, () => sampleEnvelope());
  const drafts = await Promise.all(envelopes.map(({ id }) => spool.begin(id)));
  const commits = drafts.map((draft, n) => draft.commit(envelopes[n] ?? assert.fail()));
  await Promise.all([Promise.all(commits), spool.close()]);
  const again = await openSpool(dir.file('spool'));
  assert.equal((await listed(again.spool)).length, 20);
  await again.spool.close();
});

test('the fold of what was read is the fold of what was appended', async () => {
  using dir = tempDir();
  const opened = await openSpool(dir.file('spool'));
  const index = fc.nat({ max: 3 });
  const failures = fc.array(
    index.map((one) => ({ index: one, failure: FAILURE })),
    { maxLength: 3 },
  );
  const ids = fc.constantFrom(newMessageId(1), newMessageId(2), newMessageId(3));
  const attempts = fc
    .record({
      destination: fc.constantFrom('dest.example', 'other.example', ''),
      delivered: fc.array(index, { maxLength: 2 }),
      bounced: failures,
      deferred: failures,
      nextAttemptMs: fc.nat(),
      owed: fc.option(ids, { nil: undefined }),
    })
    .map(({ owed, ...change }) =>
      attempt(owed === undefined ? change : { ...change, dsnId: owed }),
    );
  const notified = ids.map((dsnId): SpoolRecord => ({ kind: 'notified', atMs: 1, dsnId }));
  const batches = fc.array(fc.array(fc.oneof(attempts, notified), { maxLength: 3 }), {
    maxLength: 6,
  });
  const recipients = ['a@dest.example', 'b@other.example', 'c@dest.example', 'broken'];
  const all: { stored: StoredMessage; appended: SpoolRecord[] }[] = [];
  const check = ({ envelope, records }: StoredMessage, appended: readonly SpoolRecord[]) =>
    assert.deepEqual(
      foldRecords(envelope, records, destinationOf),
      foldRecords(envelope, appended, destinationOf),
    );
  await fc.assert(
    fc.asyncProperty(batches, async (appended) => {
      const envelope = sampleEnvelope({ recipients: recipients.map((address) => ({ address })) });
      await store(opened.spool, envelope);
      for (const batch of appended) await opened.spool.append(envelope.id, batch);
      const stored = (await opened.spool.read(envelope.id)) ?? assert.fail();
      check(stored, appended.flat());
      all.push({ stored, appended: appended.flat() });
    }),
    { numRuns: 40 },
  );
  await opened.spool.close();
  const again = await openSpool(dir.file('spool'));
  for (const { stored, appended } of all) {
    check((await again.spool.read(stored.envelope.id)) ?? assert.fail(), appended);
  }
  await again.spool.close();
});
