/**
 * What a DKIM signer reads of messages: the header however it comes, its author, who signed it before; and
 * files that may hold a key.
 */
import assert from 'node:assert/strict';
import { authorOf } from '../../../src/dkim/author.ts';
import { HeaderGatherer, signingDomainOf } from '../../../src/protocol/dkim/header.ts';
import { parseSigningKey } from '../../../src/protocol/dkim/signing-key.ts';
import { parseMailbox } from '../../../src/protocol/mailbox.ts';
import { chunksOf, type FuzzTarget } from '../engine/target.ts';

function gather(chunks: readonly Buffer[]) {
  const gatherer = new HeaderGatherer();
  let body: Buffer | undefined;
  for (const chunk of chunks) {
    if (body) body = Buffer.concat([body, chunk]);
    else body = gatherer.push(chunk);
  }
  return { ...gatherer.header(), body };
}

const message = (...lines: readonly string[]) =>
  Buffer.from(`${lines.join('\r\n')}\r\n\r\nbody\r\n`);

const header: FuzzTarget = {
  name: 'dkim-header',
  seeds: [
    message('From: A "b" <a@example.net>', 'DKIM-Signature: v=1; d=example.net;', '\ts=x; b='),
    message('FROM : group: a@example.net, =?utf-8?q?x?= <b@bücher.test>;', ' (comment (in it)) '),
    message('From: "a\\"b"@example.net', 'From: c@example.net'),
  ],
  tokens: [
    '\r\n',
    '\r\n\r\n',
    '\r\n ',
    'From:',
    'DKIM-Signature:',
    'd=',
    ';',
    '<',
    '>',
    '"',
    '@',
    '(',
    ',',
  ],
  run(input) {
    const whole = gather([input]);
    for (const chunks of chunksOf(input)) assert.deepEqual(gather(chunks), whole);
    for (const { key, line } of whole.fields) {
      assert.ok(key.length > 0 && !key.includes(':'), 'a name');
      assert.ok(input.toString('latin1').includes(line), 'a field of the message');
    }
    const author = authorOf(whole.fields);
    const isSigned = whole.fields.some((field) => signingDomainOf(field) !== undefined);
    if (!author) return isSigned ? 'signed' : 'nobody';
    const domain = parseMailbox(author.address)?.domain;
    assert.equal(domain?.kind === 'domain' && domain.name, author.domain);
    return isSigned ? 'author, signed' : 'author';
  },
};

const key: FuzzTarget = {
  name: 'dkim-key',
  seeds: [
    Buffer.from(
      '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n',
    ),
    Buffer.from('-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n'),
    Buffer.from('-----BEGIN PUBLIC KEY-----\n'),
  ],
  tokens: [
    '-----BEGIN ',
    'RSA ',
    'PRIVATE KEY-----\n',
    'PUBLIC KEY-----\n',
    'ENCRYPTED',
    'Proc-Type: ',
  ],
  run(input) {
    const parsed = parseSigningKey(input.toString());
    if (parsed.ok) return 'key';
    assert.doesNotMatch(parsed.why, /\n|-----/, 'one line, nothing of the file');
    return parsed.why.split(' ', 3).join(' ');
  },
};

export const dkimTargets: readonly FuzzTarget[] = [header, key];
