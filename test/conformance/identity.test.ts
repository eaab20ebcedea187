/**
 * Whose certificate it is (RFC 9525, RFC 6125), as it is asked for MX and policy hosts: the
 * comparison alone, and with certificates that were really shown where Node's own check decides
 * otherwise. Further cases: sts-vectors.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  daneTaNames,
  dnsNamesFromSubjectAltName,
  matchDnsId,
} from '../../src/protocol/tls/dns-id.ts';
import type { IssueRequest } from '../support/ca.ts';
import { senderWorld } from '../support/sender.ts';

const world = senderWorld();

/** Whether mail for an enforcing domain goes to `mx.<name>` when it shows such a certificate. */
async function isDelivered(name: string, request: IssueRequest): Promise<boolean> {
  await using sender = await world.sender();
  const certificate = await world.internet.ca.issue(request);
  await world.domain(name, { mx: [{ host: `mx.${name}`, certificate }], sts: {} });
  const { messages, outcome } = await sender.send(`bob@${name}`);
  assert.equal(outcome.kind === 'delivered', messages.length === 1);
  return outcome.kind === 'delivered';
}

describe('RFC 9525 §6.3 Matching the DNS Domain Name Portion', () => {
  test('R319 names compare label by label, without case, as A-labels', () => {
    assert.equal(matchDnsId(['MX.Example.com'], ['mx.eXample.COM']), 'mx.eXample.COM');
    assert.equal(
      matchDnsId(['bücher.example'], ['xn--bcher-kva.example']),
      'xn--bcher-kva.example',
    );
    for (const presented of ['mx.example.co', 'x.example.com', 'amx.example.com', 'example.com']) {
      assert.equal(matchDnsId(['mx.example.com'], [presented]), undefined, presented);
    }
  });

  test('R320 a wildcard is the complete left-most label or none', () => {
    assert.ok(matchDnsId(['mx.example.com'], ['*.example.com']));
    for (const presented of ['mx.*.com', 'mx.example.*', '*', '**.example.com', '*.*.com']) {
      assert.equal(matchDnsId(['mx.example.com'], [presented]), undefined, presented);
    }
  });

  test('R321 a wildcard stands for one label, not for none and not for two', () => {
    assert.equal(matchDnsId(['example.com'], ['*.example.com']), undefined);
    assert.equal(matchDnsId(['a.mx.example.com'], ['*.example.com']), undefined);
  });

  test('R322 a wildcard in a part of a label matches nothing', () => {
    const partial = ['m*.example.com', '*x.example.com', 'm*x.example.com', 'xn--*.example.com'];
    for (const presented of partial) {
      assert.equal(matchDnsId(['mx.example.com'], [presented]), undefined, presented);
    }
  });

  test('R322 nor does it in a certificate that an MX host shows', async () => {
    const names = ['m*.r322.test'];
    assert.equal(await isDelivered('r322.test', { names }), false);
  });

  test('R326 a raw name with other than ASCII characters matches nothing', () => {
    assert.equal(matchDnsId(['bücher.example'], ['bücher.example']), undefined);
    assert.equal(matchDnsId(['xn--bcher-kva.example'], ['bücher.example']), undefined);
  });

  test('R327 a final dot of the name asked for is nothing', () => {
    assert.ok(matchDnsId(['mx.example.com.'], ['mx.example.com']));
    assert.equal(matchDnsId(['mx.example.com'], ['mx.example.com.']), undefined);
  });
});

describe('RFC 9525 §6.1 Constructing a List of Reference Identifiers', () => {
  test('R323 the CN of an MX host’s certificate is not looked at', async () => {
    assert.equal(await isDelivered('r323.test', { cn: 'mx.r323.test' }), false);
    const ips = ['192.0.2.1'];
    assert.equal(await isDelivered('r323-ip.test', { cn: 'mx.r323-ip.test', ips }), false);
  });

  test('R324 the CN is not looked at beside a DNS name', async () => {
    assert.deepEqual(daneTaNames(['other.example'], 'mx.example.com'), ['other.example']);
    const names = ['other.example'];
    assert.equal(await isDelivered('r324.test', { cn: 'mx.r324.test', names }), false);
  });

  test('R325 addresses, mailboxes and URIs are no DNS names', () => {
    const text = 'IP Address:192.0.2.1, email:mx.example.com, URI:mx.example.com';
    assert.deepEqual(dnsNamesFromSubjectAltName(text), []);
  });

  test('R325 a name that looks like an address matches nothing', () => {
    for (const address of ['192.0.2.1', '1.2.3', '0x7f.1', '::1', '[::1]']) {
      assert.equal(matchDnsId([address], [address]), undefined, address);
    }
  });

  test('R328 names with impossible characters match nothing', () => {
    const host = 'mx.example.com';
    for (const presented of [
      `${host}\0.evil.example`,
      ` ${host}`,
      `${host} `,
      `${host},x`,
      'mx_.example.com',
      '',
    ]) {
      assert.equal(matchDnsId([host], [presented]), undefined, JSON.stringify(presented));
    }
  });

  test('R328 an entry cannot pass for two: the text is read with its quotes', () => {
    const names = dnsNamesFromSubjectAltName(
      'DNS:"evil.example, DNS:mx.example.com", DNS:b.example',
    );
    assert.deepEqual(names, ['evil.example, DNS:mx.example.com', 'b.example']);
    assert.equal(matchDnsId(['mx.example.com'], names), undefined);
    assert.deepEqual(dnsNamesFromSubjectAltName('DNS:a.example; DNS:"mx.example.com'), []);
  });

  test('R328 nor in a certificate that an MX host shows', async () => {
    const names = ['evil.example, DNS:mx.r328.test'];
    assert.equal(await isDelivered('r328.test', { names }), false);
  });

  test('R329 one match of many is enough', async () => {
    assert.ok(matchDnsId(['a.example', 'b.example'], ['x.example', 'b.example']));
    const names = ['a.example', '*.b.example', 'mx.r329.test', '*.r328.test'];
    assert.equal(await isDelivered('r329.test', { names }), true);
  });
});
