/**
 * The file store: what was committed is there, octet for octet, and stays readable whatever a
 * crash, a full disk or a flipped bit left behind.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import type { Envelope } from '../../src/mail/envelope.ts';
import { type MessageId, newMessageId } from '../../src/mail/message-id.ts';
import { formatLine, parseJournal } from '../../src/spool/line-format.ts';
import { foldRecords, type SpoolRecord } from '../../src/spool/message-state.ts';
import { type Spool, SpoolError, type StoredMessage } from '../../src/spool/store.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';
import {
  attempt,
  destinationOf,
  FAILURE,
  filesBelow,
  fill,
  octets,
  openSpool,
  pathOf,
  RECEIVED_AT,
  sampleEnvelope,
  store,
} from './sample-mail.ts';

const RECORDS: readonly SpoolRecord[] = [
  attempt({ deferred: [{ index: 0, failure: FAILURE }], nextAttemptMs: RECEIVED_AT + 60_000 }),
  attempt({ delivered: [1], dsnId: newMessageId(RECEIVED_AT) }),
  { kind: 'notified', atMs: RECEIVED_AT, dsnId: newMessageId(RECEIVED_AT) },
];

describe('the file store', () => {
  let dir: TempDir;
  let spool: Spool;
  before(async () => {
    dir = tempDir();
    ({ spool } = await openSpool(dir.file('spool')));
  });
  after(() => dir.remove());

  test('gives back what was committed, octet for octet', async () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(chunks, async (parts) => {
        const envelope = sampleEnvelope();
        const draft = await spool.begin(envelope.id);
        for (const part of parts) draft.body.write(Buffer.from(part));
        const stored = await draft.commit(envelope);
        const body = Buffer.concat(parts);
        assert.equal(stored.sizeBytes, body.length);
        assert.deepEqual(await octets(await spool.openBody(envelope.id)), body);
        assert.deepEqual(await spool.read(envelope.id), stored);
        await spool.remove(envelope.id);
      }),
      { numRuns: 15 },
    );
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
    assert.ok((await listed(spool)).some((message) => message.envelope.id === envelope.id));
    await spool.remove(envelope.id);
  });

  test('has nothing under an id it never saw or removed', async () => {
    const envelope = sampleEnvelope();
    assert.equal(await spool.read(envelope.id), undefined);
    await store(spool, envelope);
    await spool.remove(envelope.id);
    assert.equal(await spool.read(envelope.id), undefined);
    await assert.rejects(spool.openBody(envelope.id), SpoolError);
    await assert.rejects(spool.append(envelope.id, [attempt()]), SpoolError);
    await spool.remove(envelope.id); // again does no harm
    assert.deepEqual(filesOf(dir, envelope.id), []);
  });

  test('is invisible before its commit', async () => {
    const envelope = sampleEnvelope();
    const draft = await spool.begin(envelope.id);
    await fill(draft, 'x');
    assert.equal(await spool.read(envelope.id), undefined);
    assert.ok(!(await listed(spool)).some((message) => message.envelope.id === envelope.id));
    await draft.discard();
  });

  test('takes drafts side by side', async () => {
    const envelopes = Array.from({ length: 8 }, () => sampleEnvelope());
    await Promise.all(
      envelopes.map((envelope, n) => store(spool, envelope, Buffer.alloc(200_000, n))),
    );
    for (const [n, { id }] of envelopes.entries()) {
      assert.deepEqual(await octets(await spool.openBody(id)), Buffer.alloc(200_000, n));
      await spool.remove(id);
    }
  });

  test('leaves nothing of a draft that is discarded, at whatever moment', async () => {
    const moments: ((draft: Awaited<ReturnType<Spool['begin']>>) => unknown)[] = [
      () => {},
      (draft) => draft.body.write('half a mess'),
      (draft) => fill(draft, 'whole'),
      (draft) => draft.body.destroy(new Error('the client went away')),
      (draft) => draft.commit(sampleEnvelope({ id: draft.id })),
    ];
    for (const moment of moments) {
      const { id } = sampleEnvelope();
      const draft = await spool.begin(id);
      draft.body.on('error', () => {});
      await moment(draft);
      await draft.discard();
      await draft.discard();
      assert.deepEqual(filesOf(dir, id), []);
    }
  });

  test('does not commit half a body', async () => {
    const envelope = sampleEnvelope();
    const draft = await spool.begin(envelope.id);
    draft.body.on('error', () => {});
    draft.body.write('half');
    draft.body.destroy(new Error('the client went away'));
    await assert.rejects(draft.commit(envelope), SpoolError);
    await draft.discard();
    assert.equal(await spool.read(envelope.id), undefined);
  });

  test('never overwrites a message by another one of the same id', async () => {
    const envelope = sampleEnvelope();
    await store(spool, envelope, 'first');
    const draft = await spool.begin(envelope.id);
    draft.body.on('error', () => {});
    await assert.rejects(draft.commit(envelope), SpoolError);
    assert.equal(String(await octets(await spool.openBody(envelope.id))), 'first');
    await spool.remove(envelope.id);
  });

  test('keeps all of several appends at once, in order', async () => {
    const envelope = sampleEnvelope();
    await store(spool, envelope);
    const records = Array.from({ length: 20 }, (_, n) => attempt({ atMs: n }));
    await Promise.all(records.map((record) => spool.append(envelope.id, [record])));
    assert.deepEqual((await spool.read(envelope.id))?.records, records);
    await spool.remove(envelope.id);
  });

  test('is readable by its owner alone', async () => {
    const envelope = sampleEnvelope();
    await store(spool, envelope);
    const path = pathOf(dir.file('spool'), envelope.id);
    assert.equal(statSync(`${path}.eml`).mode & 0o777, 0o600);
    assert.equal(statSync(`${path}.journal`).mode & 0o777, 0o600);
    for (const directory of [
      dir.file('spool'),
      pathOf(dir.file('spool'), envelope.id).slice(0, -17),
    ]) {
      assert.equal(statSync(directory).mode & 0o777, 0o700, directory);
    }
    await spool.remove(envelope.id);
  });

  test('says how long what took, and what went wrong', async () => {
    const { spool: own, recorded } = await openSpool(dir.file('spool'));
    const envelope = sampleEnvelope();
    await store(own, envelope);
    await own.append(envelope.id, [attempt()]);
    await own.remove(envelope.id);
    const took = recorded.of('took');
    assert.deepEqual(
      took.map(([operation]) => operation),
      ['commit', 'append', 'remove'],
    );
    assert.ok(took.every(([, seconds]) => typeof seconds === 'number' && seconds < 10));
    await own.append(envelope.id, []).catch(() => {});
    assert.equal(recorded.of('failed')[0]?.[0], 'append');
  });
});

describe('room', () => {
  test('a new message is refused below the reserve; settling and reading go on', async () => {
    using dir = tempDir();
    let reserve = 0;
    const { spool } = await openSpool(dir.file('spool'), () => reserve);
    const envelope = sampleEnvelope();
    await store(spool, envelope);
    assert.equal(spool.health().ok, true);

    reserve = Number.MAX_SAFE_INTEGER;
    const refusal = await spool.begin(sampleEnvelope().id).catch((error: unknown) => error);
    assert.ok(refusal instanceof SpoolError);
    assert.equal(refusal.kind, 'full');
    assert.match(refusal.message, /minFreeDisk/);
    assert.equal(spool.health().ok, false);
    assert.match(spool.health().reason, /minFreeDisk/);
    await spool.append(envelope.id, [attempt({ delivered: [0] })]);
    assert.equal((await spool.read(envelope.id))?.records.length, 1);

    reserve = 0;
    // Nobody offers a message to a relay that is not ready: health has to find out by itself.
    await waitFor('health to recover', () => spool.health().ok);
    await spool.remove(envelope.id);
  });

  test('a commit that fails makes the store unhealthy', async () => {
    using dir = tempDir();
    const { spool } = await openSpool(dir.file('spool'));
    const envelope = sampleEnvelope();
    const draft = await spool.begin(envelope.id);
    writeFileSync(`${pathOf(dir.file('spool'), envelope.id)}.new`, '');
    await assert.rejects(draft.commit(envelope), SpoolError);
    assert.equal(spool.health().ok, false);
    await draft.discard();
    await waitFor('health to recover', () => spool.health().ok);
  });

  test('a journal that cannot grow stays readable, and grows again later', async () => {
    using dir = tempDir();
    const { spool } = await openSpool(dir.file('spool'));
    const envelope = sampleEnvelope();
    await store(spool, envelope);
    // A limit on the size of files (`ulimit -f`, 4 blocks) cuts a write short in the middle.
    const script = `
      import { openFileStore } from ${JSON.stringify(import.meta.resolve('../../src/spool/file-store.ts'))};
      const nothing = () => {};
      const events = { took: nothing, failed: nothing, damaged: nothing };
      const spool = await openFileStore({ directory: process.argv[1], minFreeBytes: () => 0, events });
      const record = JSON.parse(process.argv[3]);
      let kept = 0;
      try {
        for (; kept < 100; kept++) await spool.append(process.argv[2], [record]);
      } catch (error) {
        console.log(JSON.stringify({ kept, name: error.name, code: error.cause?.code }));
      }`;
    const args = ['-c', 'ulimit -f 4; exec "$@"', 'sh', process.execPath, '--input-type=module'];
    const record = attempt({ deferred: [{ index: 0, failure: FAILURE }] });
    args.push('-e', script, dir.file('spool'), envelope.id, JSON.stringify(record));
    const { stdout } = await promisify(execFile)('/bin/sh', args);
    const { kept, name, code } = JSON.parse(stdout) as { kept: number; name: string; code: string };
    assert.deepEqual([name, code], ['SpoolError', 'EFBIG']);
    assert.ok(kept > 0);
    assert.equal((await spool.read(envelope.id))?.records.length, kept);
    assert.equal(lastOctet(dir, envelope.id), '\n', 'the torn write was undone');
    await spool.append(envelope.id, [attempt({ delivered: [0] })]);
    assert.equal((await spool.read(envelope.id))?.records.length, kept + 1);
  });
});

describe('after a crash', () => {
  test('what nobody was told about is gone, the rest is there', async () => {
    using dir = tempDir();
    const first = await openSpool(dir.file('spool'));
    const kept = sampleEnvelope();
    await store(first.spool, kept);
    const path = (id: MessageId) => pathOf(dir.file('spool'), id);
    const [bodyOnly, withNew, newOnly] = [sampleEnvelope(), sampleEnvelope(), sampleEnvelope()];
    writeFileSync(`${path(bodyOnly.id)}.eml`, 'half a body');
    writeFileSync(`${path(withNew.id)}.eml`, 'a body');
    writeFileSync(`${path(withNew.id)}.new`, header(withNew).subarray(0, 40));
    writeFileSync(`${path(newOnly.id)}.new`, header(newOnly));

    const { spool, recorded } = await openSpool(dir.file('spool'));
    assert.deepEqual(await listedIds(spool), [kept.id]);
    for (const { id } of [bodyOnly, withNew, newOnly]) assert.deepEqual(filesOf(dir, id), []);
    assert.deepEqual(recorded.of('damaged'), []);
    await store(spool, bodyOnly); // the id is free again
  });

  test('in the middle of a removal: nothing comes back', async () => {
    using dir = tempDir();
    const first = await openSpool(dir.file('spool'));
    const envelope = sampleEnvelope();
    await store(first.spool, envelope);
    const path = pathOf(dir.file('spool'), envelope.id);
    const body = readFileSync(`${path}.eml`);
    await first.spool.remove(envelope.id);
    writeFileSync(`${path}.eml`, body);
    const { spool } = await openSpool(dir.file('spool'));
    assert.deepEqual(await listedIds(spool), []);
    assert.equal(existsSync(`${path}.eml`), false);
  });

  test('a journal torn at any octet keeps its whole lines, and the next record survives', async () => {
    using dir = tempDir();
    const { spool } = await openSpool(dir.file('spool'));
    const [torn, other] = [sampleEnvelope(), sampleEnvelope()];
    await store(spool, torn);
    await store(spool, other);
    const lines = [header(torn), ...RECORDS.map(formatLine)];
    const journal = Buffer.concat(lines);
    const file = `${pathOf(dir.file('spool'), torn.id)}.journal`;
    const next = attempt({ delivered: [0] });
    for (let size = journal.length; size >= 0; size--) {
      writeFileSync(file, journal.subarray(0, size));
      const whole = wholeLines(lines, size);
      if (size % 20 === 0) {
        const messages = await listed(spool);
        assert.ok(messages.some(({ envelope }) => envelope.id === other.id));
        assert.equal(messages.length, whole > 0 ? 2 : 1, `at ${size}`);
      }
      if (whole === 0) {
        await assert.rejects(spool.read(torn.id), SpoolError);
        await assert.rejects(spool.append(torn.id, [next]), SpoolError);
        continue;
      }
      assert.deepEqual((await spool.read(torn.id))?.records, RECORDS.slice(0, whole - 1));
      await spool.append(torn.id, [next]);
      const { records } = (await spool.read(torn.id)) ?? { records: [] };
      assert.deepEqual(records, [...RECORDS.slice(0, whole - 1), next], `at ${size}`);
    }
  });

  test('a flipped bit anywhere costs one record, and the message only in its header', () => {
    const envelope = sampleEnvelope();
    const head = header(envelope);
    const journal = Buffer.concat([head, ...RECORDS.map(formatLine)]);
    for (let at = 0; at < journal.length * 8; at++) {
      const flipped = Buffer.from(journal);
      flipped.writeUInt8(flipped.readUInt8(at >> 3) ^ (1 << (at & 7)), at >> 3);
      const read = parseJournal(flipped);
      if (at >> 3 < head.length) continue; // it only must not throw
      assert.equal(read.kind, 'read');
      if (read.kind !== 'read') return;
      assert.deepEqual(read.header.envelope, envelope);
      // A line end that is gone takes the next record along.
      assert.ok(read.records.length >= RECORDS.length - 2);
      assert.ok(read.records.every((record) => RECORDS.some((one) => same(one, record))));
    }
  });

  test('a line that is no record is passed over and told, whoever wrote it', () => {
    const envelope = sampleEnvelope();
    const foreign = [{ kind: 'held', atMs: 1 }, { kind: 'attempt', delivered: [0] }, null, 7, []];
    const lines = foreign.map((value) => formatLine(value as never));
    const journal = [header(envelope), header(envelope), ...lines, ...RECORDS.map(formatLine)];
    const read = parseJournal(Buffer.concat(journal));
    assert.equal(read.kind, 'read');
    if (read.kind !== 'read') return;
    assert.deepEqual(read.records, RECORDS);
    assert.equal(read.damagedLines, 1 + foreign.length);
  });

  test('arbitrary octets are no journal, and nothing throws', async () => {
    using dir = tempDir();
    const { spool, recorded } = await openSpool(dir.file('spool'));
    const [bad, good] = [sampleEnvelope(), sampleEnvelope()];
    await store(spool, good);
    const file = `${pathOf(dir.file('spool'), bad.id)}.journal`;
    const files = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.json().map((json) => formatLine(JSON.parse(json) as SpoolRecord)),
    );
    await fc.assert(
      fc.asyncProperty(files, async (content) => {
        writeFileSync(file, content);
        assert.deepEqual(await listedIds(spool), [good.id]);
      }),
      { numRuns: 40 },
    );
    assert.ok(recorded.of('damaged').length > 0);
  });

  test('a journal of a later format is left alone and reported', async () => {
    using dir = tempDir();
    const { spool, recorded } = await openSpool(dir.file('spool'));
    const envelope = sampleEnvelope();
    const file = `${pathOf(dir.file('spool'), envelope.id)}.journal`;
    const content = formatLine({ version: 2, sizeBytes: 1, envelope });
    writeFileSync(file, content);
    assert.deepEqual(await listedIds(spool), []);
    assert.match(String(recorded.of('damaged')[0]?.[1]), /version 2/);
    assert.deepEqual(readFileSync(file), content);
  });

  test('a shard that cannot be read hides no other', async () => {
    using dir = tempDir();
    const { spool, recorded } = await openSpool(dir.file('spool'));
    const envelope = sampleEnvelope();
    await store(spool, envelope);
    const shard = envelope.id.endsWith('7') ? '8' : '7';
    const { rmSync } = await import('node:fs');
    rmSync(dir.file(`spool/${shard}`), { recursive: true });
    writeFileSync(dir.file(`spool/${shard}`), 'a file in its place');
    assert.deepEqual(await listedIds(spool), [envelope.id]);
    assert.equal(recorded.of('damaged').length, 1);
  });

  test('what stands in a foreign name is no message', async () => {
    using dir = tempDir();
    const { spool } = await openSpool(dir.file('spool'));
    for (const name of ['x.journal', '.journal', 'lost+found', `${'A'.repeat(15)}I.journal`]) {
      appendFileSync(dir.file(`spool/A/${name}`), 'x');
    }
    assert.deepEqual(await listedIds(spool), []);
  });
});

test('the fold of what was read is the fold of what was appended', async () => {
  using dir = tempDir();
  const { spool } = await openSpool(dir.file('spool'));
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
  await fc.assert(
    fc.asyncProperty(batches, async (appended) => {
      const envelope = sampleEnvelope({
        recipients: ['a@dest.example', 'b@other.example', 'c@dest.example', 'broken'].map(
          (address) => ({ address }),
        ),
      });
      await store(spool, envelope);
      for (const batch of appended) await spool.append(envelope.id, batch);
      const stored = await spool.read(envelope.id);
      assert.ok(stored);
      assert.deepEqual(
        foldRecords(stored.envelope, stored.records, destinationOf),
        foldRecords(envelope, appended.flat(), destinationOf),
      );
      await spool.remove(envelope.id);
    }),
    { numRuns: 40 },
  );
});

function header(envelope: Envelope): Buffer {
  return formatLine({ version: 1, sizeBytes: 23, envelope });
}

function wholeLines(lines: readonly Buffer[], size: number): number {
  let end = 0;
  return lines.filter((line) => {
    end += line.length;
    return end <= size;
  }).length;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function lastOctet(dir: TempDir, id: MessageId): string {
  return readFileSync(`${pathOf(dir.file('spool'), id)}.journal`, 'latin1').slice(-1);
}

function filesOf(dir: TempDir, id: MessageId): string[] {
  return filesBelow(dir.file('spool')).filter((name) => name.startsWith(id));
}

async function listed(spool: Spool): Promise<StoredMessage[]> {
  const messages: StoredMessage[] = [];
  for await (const message of spool.list()) messages.push(message);
  return messages;
}

async function listedIds(spool: Spool): Promise<MessageId[]> {
  return (await listed(spool)).map(({ envelope }) => envelope.id);
}
