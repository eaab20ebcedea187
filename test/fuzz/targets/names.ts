/**
 * Names and addresses: domains, mailboxes, next hops, IP addresses that strangers' DNS gives.
 */
import assert from 'node:assert/strict';
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import { domainToUnicode } from 'node:url';
import { isAddressPort, isHostPort, isNetwork, isNextHop } from '../../../src/config/addresses.ts';
import { compileAccess, userMaySend } from '../../../src/intake/access.ts';
import { clientKey } from '../../../src/intake/client-key.ts';
import { parsePathCommand } from '../../../src/intake/path-command.ts';
import { isSenderPattern } from '../../../src/intake/users-file.ts';
import { createAddressGuard } from '../../../src/platform/address-guard.ts';
import { parseResolvConf, parseServerAddress } from '../../../src/platform/dns/servers.ts';
import { isDomainSyntax, mxHostName, parseDomain } from '../../../src/protocol/domain.ts';
import { needsSmtpUtf8, parseMailbox, toAsciiDomain } from '../../../src/protocol/mailbox.ts';
import { parseAddressLiteral } from '../../../src/routing/address-literal.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import type { FuzzTarget } from '../engine/target.ts';

const CANONICAL = /^(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*$/;
const NON_ASCII = /[^\0-\x7f]/;

const domain: FuzzTarget = {
  name: 'domain',
  seeds: [
    'example.com',
    'bücher.example',
    'xn--bcher-kva.example.',
    'почта.рф',
    '例え。jp',
    'faß.de',
    '192.0.2.1',
    'a_b.example',
  ].map((text) => Buffer.from(text)),
  tokens: [
    ...[
      '.',
      '..',
      '-',
      '_',
      'xn--',
      '0x7f',
      '。',
      '．',
      '\u00ad',
      '\u200d',
      '\u202e',
      '１',
      'ß',
      'İ',
    ],
    ...['\u212a', '℀', '%61', '@', '/', ':', '[', '#', '\0', '\n', '\ud800', 'ü', '한', '𐀀', '*'],
  ],
  maxOctets: 4096,
  run(input) {
    const text = input.toString();
    const name = parseDomain(text);
    const host = mxHostName(text);
    if (host !== undefined) assert.match(host.replaceAll('_', 'x'), CANONICAL);
    if (name === undefined) return host === undefined ? 'neither' : 'host alone';
    assert.match(name, CANONICAL);
    assert.equal(isIP(name), 0);
    assert.ok(isDomainSyntax(name));
    for (const spelling of [name, `${name}.`, name.toUpperCase()]) {
      assert.equal(parseDomain(spelling), name);
      assert.equal(mxHostName(spelling), name);
    }
    if (!NON_ASCII.test(text)) {
      assert.equal(name, text.toLowerCase().replace(/\.$/, ''));
      return 'domain';
    }
    assert.equal(host, undefined);
    // An A-label nobody made of a U-label may decode to another name; nobody decodes it.
    if (/xn--/i.test(text.normalize('NFKC'))) return 'domain with A-labels and U-labels';
    assert.equal(parseDomain(domainToUnicode(name)), name);
    return 'domain in U-labels';
  },
};

const mailbox: FuzzTarget = {
  name: 'mailbox',
  seeds: [
    'a@example.com',
    '"a b\\"<>"@example.com',
    'jörg@bücher.example',
    'a@[192.0.2.1]',
    'a@[IPv6:2001:db8::1]',
    'a..b+c=d@xn--bcher-kva.example',
  ].map((text) => Buffer.from(text)),
  tokens: [
    '@',
    '"',
    '\\',
    '\\"',
    '<',
    '>',
    ' ',
    '.',
    '[',
    ']',
    'IPv6:',
    '::1',
    '%eth0',
    'ü',
    '\r\n',
    '\0',
    '\x85',
    '\u2028',
    ':',
    ',',
  ],
  maxOctets: 600,
  run(input) {
    const text = input.toString();
    const found = parseMailbox(text);
    const ascii = toAsciiDomain(text);
    if (found === undefined) {
      assert.equal(ascii, text);
      return 'no mailbox';
    }
    assert.ok(Buffer.byteLength(text) <= 254);
    assert.ok(text.startsWith(`${found.localPart}@`));
    assert.ok(ascii.startsWith(`${found.localPart}@`));
    assert.ok(!NON_ASCII.test(ascii.slice(found.localPart.length)));
    assert.equal(needsSmtpUtf8(text), NON_ASCII.test(found.localPart));
    // It can be written into a command, and is read there as what it was.
    for (const path of [text, ascii]) {
      const command = parsePathCommand('RCPT', `RCPT TO:<${path}>`);
      assert.deepEqual(command, { kind: 'parsed', path, parameters: {} });
    }
    assert.ok(userMaySend({ name: 'u', allowedSenders: ['*'] }, text));
    const { domain: at } = found;
    if (at.kind === 'literal') assert.equal(isIP(at.address), at.family);
    return `${found.localPart.startsWith('"') ? 'quoted' : 'plain'} at ${at.kind}`;
  },
};

const hostForms: FuzzTarget = {
  name: 'host-forms',
  seeds: [
    'mx.example:25',
    'mx:example.com',
    '192.0.2.1:25',
    '[2001:db8::1]:53',
    '10.0.0.0/8',
    '::1/128',
    '::ffff:10.0.0.0/104',
    '[IPv6:2001:db8::1]',
    '*@example.com',
    '*.example.com',
    'nameserver 127.0.0.53\nnameserver ::1%lo\n',
  ].map((text) => Buffer.from(text)),
  tokens: [
    'mx:',
    '[',
    ']',
    ':',
    '::',
    '/',
    '0',
    '128',
    '.',
    '%eth0',
    'IPv6:',
    '::ffff:',
    '*',
    '@',
    'nameserver ',
    '\n',
    '0x7f',
    '1e1',
  ],
  maxOctets: 512,
  run(input) {
    const text = input.toString();
    const forms = { isAddressPort, isHostPort, isNetwork, isNextHop, isSenderPattern };
    const fitting = Object.entries(forms).filter(([, fits]) => fits(text));
    const is = new Set(fitting.map(([name]) => name));
    // What the configuration takes, the parts that use it can read.
    if (is.has('isAddressPort')) assert.ok(parseServerAddress(text));
    if (is.has('isNextHop')) createRouteTable([{ domain: '*', nextHop: text }]);
    if (is.has('isNetwork')) {
      compileAccess({ trustedNetworks: [text], allowedSenderDomains: [] }).trusts('192.0.2.1');
      createAddressGuard([text]).check('192.0.2.1');
    }
    if (is.has('isSenderPattern'))
      userMaySend({ name: 'u', allowedSenders: [text] }, 'a@b.example');
    for (const { address } of parseResolvConf(text)) assert.notEqual(isIP(address), 0);
    const literal = parseAddressLiteral(text);
    if (literal !== undefined) assert.ok(isIP(literal) !== 0 && !literal.includes('%'));
    return [...is].join(' ') || 'none';
  },
};

/** Never the destination of mail for strangers, whatever the spelling. */
const INSIDE_V4 = [
  ...(['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16'] as const),
  ...(['172.16.0.0/12', '192.168.0.0/16', '224.0.0.0/4', '240.0.0.0/4'] as const),
];
const INSIDE_V6 = ['::/96', '::ffff:0:0/96', 'fc00::/7', 'fe80::/9', 'ff00::/8'];
/** One list a family: a list with both takes IPv4 for IPv4-mapped IPv6. */
const inside = { ipv4: new BlockList(), ipv6: new BlockList() };
for (const [network = '', bits = ''] of INSIDE_V6.map((text) => text.split('/'))) {
  inside.ipv6.addSubnet(network, Number(bits), 'ipv6');
}
for (const [network = '', bits = ''] of INSIDE_V4.map((text) => text.split('/'))) {
  inside.ipv4.addSubnet(network, Number(bits), 'ipv4');
  const [a = 0, b = 0] = network.split('.').map(Number);
  const hex = ((a << 8) | b).toString(16);
  // RFC 6052 §2.1, RFC 3056 §2: the same networks through NAT64 and 6to4.
  inside.ipv6.addSubnet(`64:ff9b::${hex}:0`, 96 + Number(bits), 'ipv6');
  inside.ipv6.addSubnet(`2002:${hex}::`, 16 + Number(bits), 'ipv6');
}

/** Four or sixteen octets are an address; everything else its text. */
const address: FuzzTarget = {
  name: 'address',
  seeds: [
    Buffer.of(192, 0, 2, 1),
    Buffer.of(8, 8, 8, 8),
    Buffer.from('20010db8000000000000000000000001', 'hex'),
    Buffer.from('2002c0a80101000000000000000000001'.slice(0, 32), 'hex'),
    Buffer.from('0064ff9b00000000000000000a000001', 'hex'),
    ...['::ffff:127.0.0.1', '0177.0.0.1', '127.1', '2606:4700::1111', 'fe80::1%eth0'].map((text) =>
      Buffer.from(text),
    ),
  ],
  tokens: [
    Buffer.of(127, 0, 0, 1),
    Buffer.of(10),
    '::ffff:',
    '127.0.0.1',
    '%',
    '::',
    '0x7f',
    '.',
    Buffer.of(0xfe, 0x80),
  ],
  maxOctets: 64,
  run(input) {
    const text = addressText(input);
    clientKey(text);
    const verdict = createAddressGuard(false).check(text, 'example.com');
    if (!verdict.ok) {
      assert.match(verdict.reason, /^[\x20-\x7e]{1,100}$/);
      return `refused: ${verdict.reason}`;
    }
    assert.ok(isIPv4(text) || isIPv6(text));
    const family = isIPv4(text) ? 'ipv4' : 'ipv6';
    assert.ok(!inside[family].check(text, family), `${text} was let through`);
    return family;
  },
};

function addressText(input: Buffer): string {
  if (input.length === 4) return [...input].join('.');
  if (input.length !== 16) return input.toString();
  return (input.toString('hex').match(/.{4}/g) ?? []).join(':');
}

export const nameTargets: readonly FuzzTarget[] = [domain, mailbox, hostForms, address];
