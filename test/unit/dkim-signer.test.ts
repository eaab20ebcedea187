/**
 * DKIM signatures: which messages get one, with which key, and that another implementation takes them.
 */
import assert from 'node:assert/strict';
import { chmodSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { outgoingContent } from '../../src/delivery/outgoing-content.ts';
import { type DkimEvents, DkimSigner, type MaySignFor } from '../../src/dkim/signer.ts';
import type { Envelope } from '../../src/mail/envelope.ts';
import { newMessageId } from '../../src/mail/message-id.ts';
import { MOST_HEADER_OCTETS } from '../../src/protocol/dkim/header.ts';
import { MOST_OF_A_NAME } from '../../src/protocol/dkim/signature.ts';
import { rsaPair } from '../support/dkim-keys.ts';
import { dkimpyMissing, verifyAll, verifyDkim } from '../support/dkimpy.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';

const pair = rsaPair();
const other = rsaPair();
const RECORDS = {
  's1._domainkey.example.net': pair.record,
  's2._domainkey.example.net': other.record,
};
const MESSAGE = 'From: A <a@example.net>\r\nTo: b@x.test\r\nSubject: s\r\n\r\nHello\r\n';

let dir: TempDir;
before(() => {
  dir = tempDir();
  writeFileSync(dir.file('s1.pem'), pair.keyPem);
  writeFileSync(dir.file('s2.pem'), other.keyPem);
});
after(() => dir.remove());

type Told = readonly [name: keyof DkimEvents, facts?: unknown];

function scene(selectors: readonly string[] = ['s1'], domain = 'example.net') {
  const told: Told[] = [];
  const clock = new FakeClock();
  const signer = new DkimSigner({
    clock,
    events: {
      signed: () => told.push(['signed']),
      unsigned: (facts) => told.push(['unsigned', facts]),
      malformed: (facts) => told.push(['malformed', facts]),
      keyFailed: (facts) => told.push(['keyFailed', facts]),
      keyChanged: (facts) => told.push(['keyChanged', facts]),
    },
  });
  const settings = selectors.map((selector) => ({
    ...{ domain, selector },
    keyFile: dir.file(`${selector}.pem`),
  }));
  signer.use(settings);
  return { signer, told, clock, settings };
}

/** The message with what goes on top of it; undefined when it is not signed. */
async function signed(
  signer: DkimSigner,
  message: string | Buffer,
  cuts: readonly number[] = [],
  maySignFor?: MaySignFor,
): Promise<Buffer | undefined> {
  const octets = Buffer.from(message as string, 'latin1');
  const signing = signer.begin(maySignFor);
  const places = [0, ...cuts.map((at) => Math.min(at, octets.length)).sort((a, b) => a - b)];
  for (const [i, from] of places.entries()) signing?.push(octets.subarray(from, places[i + 1]));
  const result = await signing?.end();
  return result?.kind === 'signed'
    ? Buffer.concat([Buffer.from(result.fields), octets])
    : undefined;
}

describe('which messages are signed', () => {
  const good: readonly (readonly [string, string])[] = [
    [MESSAGE, 'the author is of the domain'],
    [`DKIM-Signature: v=1; d=other.test; s=x\r\n${MESSAGE}`, 'somebody else signed it'],
    ['From: a@example.net\r\n', 'a header and nothing else'],
    ['From: a@EXAMPLE.net\r\n\r\n', 'no body'],
  ];
  for (const [message, why] of good) {
    test(why, async () => assert.ok(await signed(scene().signer, message)));
  }
  const none: readonly (readonly [string, string])[] = [
    [MESSAGE.replace('example.net', 'other.test'), 'another domain'],
    [MESSAGE.replace('example.net', 'sub.example.net'), 'a domain below it'],
    [`DKIM-Signature: v=1; d=example.net; s=x\r\n${MESSAGE}`, 'it is signed by the domain'],
    [`From: b@example.net\r\n${MESSAGE}`, 'two From fields'],
    ['Subject: s\r\n\r\nFrom: a@example.net\r\n', 'From stands in the body'],
    ['', 'nothing at all'],
  ];
  for (const [message, why] of none) {
    test(`not: ${why}`, async () => {
      const { signer, told } = scene();
      assert.equal(await signed(signer, message), undefined);
      assert.deepEqual(told, []);
    });
  }

  test('not: the client may not write as that author', async () => {
    const asked: string[] = [];
    const maySignFor = (author: string) => asked.push(author) < 0;
    assert.equal(await signed(scene().signer, MESSAGE, [], maySignFor), undefined);
    assert.deepEqual(asked, ['a@example.net']);
  });

  test('nothing is begun where nothing is configured', () => {
    assert.equal(scene([]).signer.begin(), undefined);
  });

  for (const line of [
    'garbage',
    ': x',
    'From a@example.net Mon Jan  1 00:00:00 2026',
    ' a fold of nothing',
    'Ü: x',
  ]) {
    test(`a line that is no field, ${JSON.stringify(line)}: goes without, no alarm`, async () => {
      const { signer, told } = scene();
      assert.equal(await signed(signer, `${line}\r\n${MESSAGE}`, [10]), undefined);
      assert.deepEqual(told, [['malformed', { domain: 'example.net' }]]);
      const others = MESSAGE.replace('example.net', 'other.test');
      assert.equal(await signed(signer, `${line}\r\n${others}`), undefined);
      assert.equal(told.length, 1, 'of another domain: nothing is told');
    });
  }

  const beyond = `X: ${'x'.repeat(MOST_HEADER_OCTETS)}\r\n`;
  const [from = ''] = MESSAGE.split('\r\n');
  const large: readonly (readonly [string, readonly string[], string])[] = [
    [`${from}\r\n${beyond}`, ['example.net'], 'is told'],
    [`${from.replace('example.net', 'other.test')}\r\n${beyond}`, [], 'another domain: not told'],
    [`${beyond}${from}\r\n`, [], 'the author comes too late: not told'],
    [`${from}${'x'.repeat(MOST_HEADER_OCTETS)}\r\n`, [], 'half an author: not told'],
  ];
  for (const [header, domains, why] of large) {
    test(`a header beyond measure goes without; ${why}`, async () => {
      const { signer, told } = scene();
      assert.equal(await signed(signer, `${header}\r\nbody\r\n`, [50, 100_000]), undefined);
      const expected = domains.map((domain) => {
        return ['unsigned', { domain, reason: 'the header is too large to be signed' }];
      });
      assert.deepEqual(told, expected);
    });
  }
});

describe('a signature', () => {
  test('is ASCII in lines that fit, and covers the header without l=', async () => {
    const { signer } = scene();
    const message = `TLS-Report-Domain: x.test\r\nTLS-Report-Submitter: y\r\n${MESSAGE}`;
    const result = await signer.sign(Buffer.from(message));
    const fields = result.kind === 'signed' ? result.fields : '';
    assert.match(fields, /^DKIM-Signature: v=1;(?:[\x20-\x7e]{1,900}\r\n[ \t])*[\x20-\x7e]+\r\n$/);
    const h = /\sh=([^;]*);/.exec(fields)?.[1]?.split(/:\s*/) ?? [];
    for (const name of ['from', 'to', 'subject', 'tls-report-domain', 'tls-report-submitter']) {
      assert.ok(h.includes(name), name);
    }
    assert.doesNotMatch(fields, /\bl=/);
    assert.match(fields, /a=rsa-sha256; c=relaxed\/relaxed; d=example\.net;/);
  });

  test('by every selector of the domain', { skip: dkimpyMissing }, async () => {
    const message = await signed(scene(['s1', 's2']).signer, MESSAGE);
    const said = verifyDkim(message ?? Buffer.alloc(0), { records: RECORDS });
    assert.deepEqual(
      said.map(({ valid, tags }) => [tags['s'], valid]),
      [
        ['s1', true],
        ['s2', true],
      ],
    );
  });

  test('does not hold for other content', { skip: dkimpyMissing }, async () => {
    const message = (await signed(scene().signer, MESSAGE))?.toString() ?? '';
    const changed = [
      message.replace('Hello', 'Hallo'),
      message.replace('Subject: s', 'Subject: t'),
      message.replace('From: A', 'From: B'),
      `${message}more\r\n`,
    ].map((text) => Buffer.from(text));
    const said = verifyAll([Buffer.from(message), ...changed], { records: RECORDS });
    assert.deepEqual(
      said.map(([one]) => one?.valid),
      [true, false, false, false, false],
    );
  });

  describe('is over when somebody adds a field above', { skip: dkimpyMissing }, () => {
    const whole = [
      ...['Sender: s@example.net', 'Date: Sun, 22 Nov 2026 10:00:00 +0000', 'Message-ID: <1@x>'],
      ...['In-Reply-To: <0@x>', 'References: <0@x>', 'MIME-Version: 1.0', 'Cc: c@x.test'],
      ...['Reply-To: a@example.net', 'Content-Type: text/plain'],
      ...['Content-Transfer-Encoding: 7bit', 'List-Id: <l>', 'Resent-To: d@x.test', MESSAGE],
    ].join('\r\n');
    const twice = whole.replace('Subject: s', 'Subject: u\r\nSubject: s');
    const rows: readonly (readonly [message: string, added: string, holds: boolean])[] = [
      // There is one already.
      ...(
        [
          ...['From: b@evil.test', 'Reply-To: b@evil.test', 'Subject: t', 'To: z@x.test'],
          ...['Cc: z@x.test', 'Sender: b@evil.test', 'Date: Mon, 23 Nov 2026 10:00:00 +0000'],
          ...['Message-ID: <2@x>', 'In-Reply-To: <2@x>', 'References: <2@x>'],
          ...['MIME-Version: 2', 'Content-Type: text/html', 'Content-Transfer-Encoding: base64'],
          'subject: t',
        ] as const
      ).map((added) => [whole, added, false] as const),
      [twice, 'Subject: t', false],
      // There is none.
      ...['Reply-To: b@evil.test', 'Cc: z@x.test'].map((added) => [MESSAGE, added, false] as const),
      [MESSAGE.replace('To: b@x.test\r\n', ''), 'To: z@x.test', false],
      [MESSAGE.replace('Subject: s\r\n', ''), 'Subject: t', false],
      // What hosts on the way put in.
      ...['Received: x', 'Date: Mon, 23 Nov 2026 10:00:00 +0000', 'Message-ID: <2@x>'].map(
        (added) => [MESSAGE, added, true] as const,
      ),
      ...['MIME-Version: 1.0', 'Content-Type: text/plain', 'Sender: l@x.test'].map(
        (added) => [MESSAGE, added, true] as const,
      ),
      ...['List-Id: <m>', 'Resent-To: e@x.test'].map((added) => [whole, added, true] as const),
    ];
    for (const [message, added, holds] of rows) {
      const what =
        message === whole ? 'all there is' : message === twice ? 'two' : 'a bare message';
      test(`${added}, above ${what}: ${holds ? 'holds' : 'does not hold'}`, async () => {
        const one = await signed(scene().signer, message);
        assert.ok(one);
        const more = Buffer.from(`${added}\r\n${one}`);
        const said = verifyAll([one, more], { records: RECORDS });
        assert.deepEqual(
          said.map(([first]) => first?.valid),
          [true, holds],
        );
      });
    }
  });

  test('lists a name a few times at most', { skip: dkimpyMissing }, async () => {
    const many = `${'To: b@x.test\r\n'.repeat(1000)}${MESSAGE}`;
    const [one] = verifyDkim((await signed(scene().signer, many)) ?? Buffer.alloc(0), {
      records: RECORDS,
    });
    assert.equal(one?.valid, true, one?.error);
    const listed = one.tags['h']?.split(':').filter((name) => name.trim() === 'to');
    assert.equal(listed?.length, MOST_OF_A_NAME);
  });

  test('is taken by another implementation, whatever the message', {
    skip: dkimpyMissing,
  }, async () => {
    const { signer } = scene();
    // Blanks and line ends in every place where relaxing them matters (RFC 6376 §3.4).
    const bit = fc.constantFrom(
      ...[' ', '\t', '\r\n', 'a', '.', '\xe4', '\x80', '\xa0', '\x85', 'word', ':', '=', ';'],
    );
    const text = fc.array(bit, { maxLength: 40 }).map((bits) => bits.join(''));
    const value = text.map((bits) => bits.replaceAll('\r\n', '\r\n '));
    const name = fc.constantFrom('Subject', 'TO', 'cc', 'X-Other', 'References');
    const field = fc.tuple(name, value).map(([key, rest]) => `${key}:${rest}x\r\n`);
    const message = fc
      .tuple(fc.array(field, { maxLength: 6 }), text)
      .map(([fields, body]) => `${fields.join('')}From: a@example.net\r\n\r\n${body}\r\n`);
    const made = fc.sample(fc.tuple(message, fc.array(fc.nat(200), { maxLength: 5 })), 300);
    const all = await Promise.all(made.map(([one, cuts]) => signed(signer, one, cuts)));
    const messages = all.map((one) => one ?? Buffer.alloc(0));
    for (const [i, [one]] of verifyAll(messages, { records: RECORDS }).entries()) {
      assert.equal(
        one?.valid,
        true,
        `${one?.error} ${JSON.stringify(messages[i]?.toString('latin1'))}`,
      );
    }
  });
});

describe('the key', () => {
  test('is read again when its file changed, a few seconds later at most', async () => {
    const { signer, told, clock } = scene(['changing']);
    const file = dir.file('changing.pem');
    writeFileSync(file, pair.keyPem);
    assert.ok(await signer.canSignFor('example.net'));
    writeFileSync(file, other.keyPem);
    clock.advance(5000);
    assert.ok(await signed(signer, MESSAGE));
    assert.deepEqual(
      told.map(([name]) => name),
      ['keyChanged', 'signed'],
    );
  });

  test('one that cannot be used any more leaves the one before in use, and is told once', async () => {
    const { signer, told, clock } = scene(['broken']);
    const file = dir.file('broken.pem');
    writeFileSync(file, pair.keyPem);
    assert.ok(await signed(signer, MESSAGE));
    for (const spoil of [() => writeFileSync(file, 'half a k'), () => unlinkSync(file)]) {
      spoil();
      for (let i = 0; i < 3; i++) {
        clock.advance(5000);
        assert.ok(await signed(signer, MESSAGE));
      }
    }
    const failed = told.filter(([name]) => name === 'keyFailed');
    assert.deepEqual(
      failed.map(([, facts]) => (facts as { keeps: boolean }).keeps),
      [true, true],
    );
    assert.match(JSON.stringify(failed[0]), /broken\.pem holds no private key in PEM/);
    assert.match(JSON.stringify(failed[1]), /broken\.pem cannot be read \(ENOENT\)/);
  });

  test('one that never worked: mail goes without, and it is tried again', async () => {
    const { signer, told, clock } = scene(['late']);
    const file = dir.file('late.pem');
    for (let i = 0; i < 2; i++) assert.equal(await signed(signer, MESSAGE), undefined);
    assert.deepEqual(
      told.map(([name]) => name),
      ['keyFailed', 'unsigned', 'unsigned'],
    );
    writeFileSync(`${file}.new`, pair.keyPem);
    renameSync(`${file}.new`, file);
    clock.advance(5000);
    assert.ok(await signed(signer, MESSAGE));
    assert.deepEqual(
      told.slice(3).map(([name]) => name),
      ['keyChanged', 'signed'],
    );
  });

  test('a clock that was set back keeps no old key in use', async () => {
    const { signer, told, clock } = scene(['clock']);
    const file = dir.file('clock.pem');
    writeFileSync(file, pair.keyPem);
    assert.ok(await signer.canSignFor('example.net'));
    chmodSync(file, 0o600);
    writeFileSync(file, other.keyPem);
    clock.now = () => Date.UTC(2020, 0, 1);
    assert.ok(await signer.canSignFor('example.net'));
    assert.deepEqual(
      told.map(([name]) => name),
      ['keyChanged'],
    );
  });

  test('other settings hold at once; what stays is not read anew', async () => {
    const { signer, settings } = scene(['s1']);
    assert.ok(await signer.canSignFor('example.net'));
    signer.use([...settings, { ...settings[0], domain: 'two.test' } as (typeof settings)[0]]);
    assert.ok(await signer.canSignFor('two.test'));
    signer.use([]);
    assert.equal(await signer.canSignFor('example.net'), false);
    assert.equal(signer.begin(), undefined);
  });
});

describe('what is handed over', () => {
  const id = newMessageId(0);
  const body = Buffer.from('Received: x\r\n\r\nbody');
  const content = (signature: string | undefined, isStream: boolean) =>
    outgoingContent(
      {
        envelope: { id, ...(signature === undefined ? {} : { signature }) } as Envelope,
        sizeBytes: body.length,
      },
      {
        openBody: async () =>
          isStream
            ? Readable.from([body.subarray(0, 3), body.subarray(3)], { objectMode: false })
            : body,
        bodyInMemory: () => (isStream ? undefined : body),
      },
    );
  for (const isStream of [false, true]) {
    for (const signature of [undefined, 'DKIM-Signature: x\r\n']) {
      test(`${isStream ? 'a stream' : 'a buffer'}, ${signature ? '' : 'not '}signed`, async () => {
        const { openBody, sizeBytes, bodyInMemory } = content(signature, isStream);
        const opened = await openBody();
        const octets = Buffer.isBuffer(opened) ? opened : Buffer.concat(await opened.toArray());
        assert.equal(octets.toString(), `${signature ?? ''}${body}`);
        assert.equal(sizeBytes, octets.length);
        if (!isStream) assert.deepEqual(bodyInMemory(), octets);
        if (!isStream && signature === undefined) assert.equal(opened, body, 'no copy');
      });
    }
  }
});
