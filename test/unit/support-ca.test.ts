/**
 * The test CA really makes the certificates its kinds promise: judged by Node's own parser and
 * by handshakes.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { before, describe, test } from 'node:test';
import { connect, createServer } from 'node:tls';
import {
  type CertificateKind,
  createCa,
  type IssuedCertificate,
  type TestCa,
} from '../support/ca.ts';

const HOST = 'mx1.example.test';

describe('test CA', () => {
  let ca: TestCa;
  before(async () => {
    ca = await createCa();
  });
  const leafOf = async (kind: CertificateKind) =>
    new X509Certificate((await ca.issueKind(kind, HOST, '127.0.0.1')).leafPem);

  test('good: SAN names the host, signed by the root, valid now', async () => {
    const leaf = await leafOf('good');
    const root = new X509Certificate(ca.certPem);
    assert.equal(leaf.subjectAltName, `DNS:${HOST}`);
    assert.ok(leaf.verify(root.publicKey));
    assert.ok(root.ca && !leaf.ca);
    assert.ok(leaf.validFromDate < new Date() && new Date() < leaf.validToDate);
  });

  test('names of the other kinds', async () => {
    assert.equal((await leafOf('wildcard')).subjectAltName, 'DNS:*.example.test');
    assert.equal((await leafOf('partial-wildcard')).subjectAltName, 'DNS:mx*.example.test');
    assert.equal((await leafOf('wrong-host')).subjectAltName, 'DNS:somebody-else.test');
    assert.equal((await leafOf('ip-only')).subjectAltName, 'IP Address:127.0.0.1');
    const cnOnly = await leafOf('cn-only');
    assert.equal(cnOnly.subjectAltName, undefined);
    assert.equal(cnOnly.subject, `CN=${HOST}`);
  });

  test('dates of expired and not-yet-valid', async () => {
    assert.ok((await leafOf('expired')).validToDate < new Date());
    assert.ok((await leafOf('not-yet-valid')).validFromDate > new Date());
  });

  test('self-signed signs itself, RSA is RSA', async () => {
    const own = await leafOf('self-signed');
    assert.ok(own.verify(own.publicKey));
    assert.equal((await leafOf('good-rsa')).publicKey.asymmetricKeyType, 'rsa');
  });

  test('digests are those of the leaf', async () => {
    const issued = await ca.issueKind('good', HOST);
    const leaf = new X509Certificate(issued.leafPem);
    assert.deepEqual(issued.der, leaf.raw);
    assert.equal(issued.sha256, leaf.fingerprint256.replaceAll(':', '').toLowerCase());
  });

  const handshakes: readonly (readonly [CertificateKind, string])[] = [
    ['good', 'ok'],
    ['good-rsa', 'ok'],
    ['wildcard', 'ok'],
    ['with-intermediate', 'ok'],
    ['missing-intermediate', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['untrusted', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['self-signed', 'DEPTH_ZERO_SELF_SIGNED_CERT'],
    ['expired', 'CERT_HAS_EXPIRED'],
    ['not-yet-valid', 'CERT_NOT_YET_VALID'],
    ['wrong-host', 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['client-only', 'INVALID_PURPOSE'],
  ];
  for (const [kind, expected] of handshakes) {
    test(`a client that trusts the root finds ${kind}: ${expected}`, async () => {
      assert.equal(await judge(await ca.issueKind(kind, HOST), ca.certPem), expected);
    });
  }
});

/** `ok`, or the code of the error a strict Node client ends with. */
async function judge(certificate: IssuedCertificate, root: string): Promise<string> {
  const server = createServer({ cert: certificate.certPem, key: certificate.keyPem });
  server.on('tlsClientError', () => {});
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    return await new Promise<string>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1', servername: HOST, ca: root });
      socket.on('secureConnect', () => resolve('ok'));
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
      socket.on('close', () => resolve('closed'));
      socket.on('secureConnect', () => socket.destroy());
    });
  } finally {
    server.close();
  }
}
