import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  formatPasswordHash,
  hashPassword,
  matchesPassword,
  NOBODYS_HASH,
  parsePasswordHash,
} from '../../src/intake/password.ts';
import { addUser, readUsers, removeUser } from '../../src/intake/users-edit.ts';
import {
  isSenderPattern,
  isUserName,
  parseUsers,
  UsersFileError,
} from '../../src/intake/users-file.ts';
import { tempDir } from '../support/temp-dir.ts';

/** Cheap: the default cost would take a tenth of a second each. */
const COST = { logN: 10, blockSize: 8, parallel: 1 };
const HASH = await hashPassword('geheim', COST);

describe('password hashes', () => {
  test('match their password and no other', async () => {
    const hash = parsePasswordHash(HASH);
    assert.ok(hash);
    assert.equal(await matchesPassword('geheim', hash), true);
    for (const wrong of ['Geheim', 'geheim ', '', 'geheimgeheim']) {
      assert.equal(await matchesPassword(wrong, hash), false, wrong);
    }
  });
  test('each has a salt of its own, and cost and length of today', async () => {
    const hash = await hashPassword('geheim');
    assert.match(hash, /^\$scrypt\$ln=15,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    assert.notEqual(await hashPassword('geheim', COST), HASH);
  });
  test('the same letters, composed or not, are the same password', async () => {
    const hash = parsePasswordHash(await hashPassword('gehe\u0069m\u0308', COST));
    assert.ok(hash);
    assert.equal(await matchesPassword('gehe\u0069m\u0308'.normalize('NFC'), hash), true);
    const composed = parsePasswordHash(await hashPassword('caf\u00e9', COST));
    assert.ok(composed);
    assert.equal(await matchesPassword('cafe\u0301', composed), true);
  });
  test('the vector of RFC 7914 §12', async () => {
    const vector = {
      logN: 10,
      blockSize: 8,
      parallel: 16,
      salt: Buffer.from('NaCl'),
      key: Buffer.from(
        'fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640',
        'hex',
      ),
    };
    assert.equal(await matchesPassword('password', vector), true);
  });
  test('a password that is too long matches nothing, not even itself', async () => {
    const long = 'a'.repeat(1025);
    const hash = parsePasswordHash(await hashPassword(long, COST));
    assert.ok(hash);
    assert.equal(await matchesPassword(long, hash), false);
    const empty = parsePasswordHash(await hashPassword('', COST));
    assert.ok(empty);
    assert.equal(await matchesPassword(long, empty), false);
  });
  test('read as written', () => {
    assert.deepEqual(parsePasswordHash(formatPasswordHash(NOBODYS_HASH)), NOBODYS_HASH);
  });
  const salt = 'c2FsdHNhbHRzYWx0c2FsdA';
  const key = 'a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U';
  const bad: readonly (readonly [string, string])[] = [
    ['', 'empty'],
    ['geheim', 'a password in clear'],
    [`$scrypt$ln=9,r=8,p=1$${salt}$${key}`, 'too cheap'],
    [`$scrypt$ln=19,r=8,p=1$${salt}$${key}`, 'half a gigabyte'],
    [`$scrypt$ln=99,r=99,p=99$${salt}$${key}`, 'beyond any memory'],
    [`$scrypt$ln=15,r=0,p=1$${salt}$${key}`, 'no block'],
    [`$scrypt$ln=15,r=8,p=1$$${key}`, 'no salt'],
    [`$scrypt$ln=15,r=8,p=1$${salt}$a2V5`, 'a short key'],
    [`$argon2id$v=19$m=65536,t=3,p=4$${salt}$${key}`, 'another function'],
    [`${HASH}\n`, 'a line end'],
  ];
  for (const [text, why] of bad) {
    test(`not one: ${why}`, () => assert.equal(parsePasswordHash(text), undefined));
  }
});

describe('names and patterns', () => {
  for (const name of ['alice', 'alice@example.com', 'a b', '用户', '0', '__proto__']) {
    test(`${name} is a name`, () => assert.equal(isUserName(name), true));
  }
  for (const name of ['', ' a', 'a ', 'a\nb', 'a\u0000', 'a'.repeat(256)]) {
    test(`${JSON.stringify(name).slice(0, 20)} is none`, () =>
      assert.equal(isUserName(name), false));
  }
  for (const pattern of [
    '*',
    'a@example.com',
    '*@example.com',
    '@example.com',
    'example.com',
    '*.example.com',
  ]) {
    test(`${pattern} is a pattern`, () => assert.equal(isSenderPattern(pattern), true));
  }
  for (const pattern of [
    '',
    '@',
    '*@',
    'a@',
    '*@*',
    'a b@example.com',
    '*.*.example.com',
    'a@exam ple',
  ]) {
    test(`${JSON.stringify(pattern)} is none`, () => assert.equal(isSenderPattern(pattern), false));
  }
});

describe('reading', () => {
  test('name, hash and senders', () => {
    const users = parseUsers(
      'u',
      `alice:\n  hash: ${HASH}\n  allowedSenders: [a@example.com, "*"]\n`,
    );
    assert.deepEqual([...users.keys()], ['alice']);
    assert.deepEqual(users.get('alice')?.allowedSenders, ['a@example.com', '*']);
  });
  test('an empty file has no users', () => assert.equal(parseUsers('u', '').size, 0));
  test('a name every object has is a name', () => {
    const users = parseUsers(
      'u',
      `__proto__: { hash: ${JSON.stringify(HASH)}, allowedSenders: ["*"] }`,
    );
    assert.ok(users.get('__proto__'));
    assert.equal(users.get('constructor'), undefined);
  });
  const entry = `hash: ${JSON.stringify(HASH)}`;
  const bad: readonly (readonly [string, RegExp, string])[] = [
    ['- a', /u: found no users/, 'a list'],
    [`a: { ${entry}, allowedSenders: ["*"] }\nb:`, /u:2: b/, 'no entry'],
    [`a: { ${entry} }`, /u:1: a\.allowedSenders/, 'no senders'],
    [`a: { ${entry}, allowedSenders: [] }`, /u:1: a\.allowedSenders/, 'an empty list of senders'],
    [
      `a: { ${entry}, allowedSenders: ["x y"] }`,
      /u:1: a\.allowedSenders: found "x y"/,
      'no pattern',
    ],
    [`a: { ${entry}, allowedSenders: ["*"], admin: true }`, /u:1: a/, 'something unknown'],
    ['a:\n  hash: geheim\n  allowedSenders: ["*"]', /u:2: a\.hash/, 'a password in clear'],
    [
      `a: { ${entry}, allowedSenders: ["*"] }\na: {}`,
      /u:2: found the key a for the second/,
      'twice',
    ],
    ['a: [', /valid YAML/, 'no YAML'],
  ];
  for (const [text, expected, why] of bad) {
    test(`not a users file: ${why}`, () => {
      assert.throws(
        () => parseUsers('u', text),
        (error: unknown) => {
          assert.ok(error instanceof UsersFileError);
          assert.match(error.message, expected);
          assert.doesNotMatch(error.message, /geheim/);
          return true;
        },
      );
    });
  }
});

describe('editing', () => {
  const alice = { name: 'alice', hash: HASH, allowedSenders: ['alice@example.com'] };

  test('a new file is for its owner alone', async () => {
    using dir = tempDir();
    const file = dir.file('users.yaml');
    assert.equal(await addUser(file, alice), 'added');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(
      (await readUsers(file)).map(({ name, allowedSenders }) => [name, allowedSenders]),
      [['alice', ['alice@example.com']]],
    );
  });

  test('comments, order and the right of the group to read stay', async () => {
    using dir = tempDir();
    const file = dir.file('users.yaml');
    const before = `# our users\n\n# the printer\nprinter:\n  hash: ${HASH} # old\n  allowedSenders: ["*@example.com"]\n`;
    writeFileSync(file, before);
    chmodSync(file, 0o644);
    await addUser(file, alice);
    assert.equal(statSync(file).mode & 0o777, 0o640, 'others may read no more');
    assert.ok(readFileSync(file, 'utf8').startsWith(before.slice(0, before.indexOf('["*@'))));
    assert.equal(await removeUser(file, 'alice'), true);
    assert.match(readFileSync(file, 'utf8'), /# our users\n\n# the printer\nprinter:\n.*# old\n/);
    assert.deepEqual(
      (await readUsers(file)).map(({ name }) => name),
      ['printer'],
    );
  });

  test('a user who is there stays as it is, unless it is to be replaced', async () => {
    using dir = tempDir();
    const file = dir.file('users.yaml');
    await addUser(file, alice);
    const other = { ...alice, allowedSenders: ['*'] };
    assert.equal(await addUser(file, other), 'exists');
    assert.deepEqual((await readUsers(file))[0]?.allowedSenders, ['alice@example.com']);
    assert.equal(await addUser(file, other, true), 'replaced');
    assert.deepEqual((await readUsers(file))[0]?.allowedSenders, ['*']);
  });

  test('names that look like numbers or flags', async () => {
    using dir = tempDir();
    const file = dir.file('users.yaml');
    for (const name of ['123', 'true', 'null', '0x10']) await addUser(file, { ...alice, name });
    assert.deepEqual(
      (await readUsers(file)).map(({ name }) => name),
      ['123', 'true', 'null', '0x10'],
    );
    assert.equal(await addUser(file, { ...alice, name: '123' }), 'exists');
    assert.equal(await removeUser(file, '123'), true);
    assert.equal(await removeUser(file, '16'), false);
  });

  test('the last one goes, the next one comes', async () => {
    using dir = tempDir();
    const file = dir.file('users.yaml');
    await addUser(file, alice);
    await removeUser(file, 'alice');
    assert.deepEqual(await readUsers(file), []);
    await addUser(file, alice);
    assert.match(readFileSync(file, 'utf8'), /^alice:\n {2}hash: /m);
  });

  test('edits at the same time lose nothing', async () => {
    using dir = tempDir();
    const file = dir.file('users.yaml');
    const names = Array.from({ length: 10 }, (_, i) => `user${i}`);
    await Promise.all(names.map((name) => addUser(file, { ...alice, name })));
    assert.deepEqual((await readUsers(file)).map(({ name }) => name).sort(), names);
    assert.equal(existsSync(`${file}.lock`), false);
  });

  test('a file that is not understood is not touched', async () => {
    using dir = tempDir();
    const file = dir.file('users.yaml');
    writeFileSync(file, 'alice: geheim\n');
    await assert.rejects(addUser(file, alice), UsersFileError);
    assert.equal(readFileSync(file, 'utf8'), 'alice: geheim\n');
    assert.equal(existsSync(`${file}.lock`), false);
  });

  test('a directory that is not there is told', async () => {
    await assert.rejects(
      addUser('/nowhere/users.yaml', alice),
      /no directory \/nowhere for \/nowhere\/users\.yaml: create it/,
    );
    assert.deepEqual(await readUsers('/nowhere/users.yaml'), []);
  });
});
