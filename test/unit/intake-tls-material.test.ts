import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { openTlsMaterial, type PemPair } from '../../src/intake/tls-material.ts';
import { createCa } from '../support/ca.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { tempDir } from '../support/temp-dir.ts';
import { Chronicle, waitFor } from '../support/wait-for.ts';

async function pair(): Promise<PemPair> {
  const { certPem, keyPem } = await (await createCa()).issueKind('good', 'relay.example.net');
  return { cert: certPem, key: keyPem };
}

function setUp(hostname = 'relay.example.net') {
  const dir = tempDir();
  const files = { certFile: dir.file('tls.crt'), keyFile: dir.file('tls.key') };
  const clock = new FakeClock(new Date());
  const seen = new Chronicle<PemPair | string>();
  const write = ({ cert, key }: PemPair) => {
    writeFileSync(files.certFile, cert);
    writeFileSync(files.keyFile, key);
  };
  const open = () =>
    openTlsMaterial({
      files,
      dataDir: dir.path,
      hostname,
      clock,
      changed: (pem) => seen.push(pem),
      failed: (reason) => seen.push(reason),
    });
  /** Let one look at the files happen, to its end. */
  const look = async () => {
    await waitFor('the next look', () => clock.pending > 0);
    clock.advance(5000);
    await waitFor('the look after that', () => clock.pending > 0);
  };
  return { dir, files, clock, seen, write, open, look };
}

describe('the files of the configuration', () => {
  test('are read, and read again when they changed', async () => {
    const { files, seen, write, open, look } = setUp();
    const [first, second] = [await pair(), await pair()];
    write(first);
    const material = await open();
    assert.deepEqual(material.current(), first);
    assert.equal(material.warning, undefined);
    await look();
    assert.deepEqual(seen.entries, [], 'nothing changed');
    write(second);
    await look();
    assert.deepEqual(seen.entries, [second]);
    assert.deepEqual(material.current(), second);

    writeFileSync(files.certFile, first.cert);
    await look();
    await look();
    assert.equal(seen.entries.length, 2, 'told once');
    assert.match(String(seen.entries[1]), /does not belong to the certificate/);
    assert.deepEqual(material.current(), second, 'the old pair stays');
    write(first);
    await look();
    assert.deepEqual(material.current(), first);
    material.close();
  });
  test('a pair that vanishes stays in use', async () => {
    const { files, seen, write, open, look } = setUp();
    const first = await pair();
    write(first);
    const material = await open();
    rmSync(files.certFile);
    rmSync(files.keyFile);
    await look();
    assert.match(String(seen.entries[0]), /tls\.certFile .* cannot be read/);
    assert.deepEqual(material.current(), first);
    material.close();
  });
  test('that do not work are an error at start', async () => {
    const { files, write, open } = setUp();
    const [first, second] = [await pair(), await pair()];
    writeFileSync(files.certFile, first.cert);
    await assert.rejects(open(), /tls\.keyFile .* cannot be read/);
    write({ cert: first.cert, key: second.key });
    await assert.rejects(open(), /does not belong to/);
    write({ cert: 'nonsense', key: first.key });
    await assert.rejects(open(), /is no PEM certificate/);
    write({ cert: first.cert, key: 'nonsense' });
    await assert.rejects(open(), /is no PEM private key/);
  });
});

describe('the self-signed pair', () => {
  test('is made once, names the host, and its key is nobody else’s to read', async () => {
    const { dir, open } = setUp();
    const material = await open();
    assert.match(material.warning ?? '', /self-signed/);
    const leaf = new X509Certificate(material.current().cert);
    assert.equal(leaf.checkHost('relay.example.net'), 'relay.example.net');
    assert.equal(leaf.subject, 'CN=relay.example.net');
    assert.equal(leaf.verify(leaf.publicKey), true);
    const yearsLeft = (leaf.validToDate.getTime() - Date.now()) / (365 * 86_400_000);
    assert.ok(yearsLeft > 9.9 && yearsLeft < 10.1);
    assert.equal(statSync(dir.file('tls/self-signed.key')).mode & 0o777, 0o600);
    assert.equal(statSync(dir.file('tls')).mode & 0o777, 0o700);
    assert.equal(readFileSync(dir.file('tls/self-signed.key'), 'utf8'), material.current().key);
    material.close();
    const again = await open();
    assert.deepEqual(again.current(), material.current());
    again.close();
  });
  test('is made again for another host name, and an address gets an IP SAN', async () => {
    const { dir, open, clock } = setUp('192.0.2.1');
    const material = await open();
    assert.equal(new X509Certificate(material.current().cert).checkIP('192.0.2.1'), '192.0.2.1');
    material.close();
    const renamed = await openTlsMaterial({
      files: { certFile: dir.file('no'), keyFile: dir.file('no') },
      dataDir: dir.path,
      hostname: 'other.example.net',
      clock,
      changed: () => {},
      failed: () => {},
    });
    assert.ok(new X509Certificate(renamed.current().cert).checkHost('other.example.net'));
    renamed.close();
  });
  test('gives way to the configured files when they appear', async () => {
    const { seen, write, open, look } = setUp();
    const material = await open();
    const real = await pair();
    write(real);
    await look();
    assert.deepEqual(seen.entries, [real]);
    assert.deepEqual(material.current(), real);
    material.close();
  });
});
