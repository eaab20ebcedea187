/**
 * What SMTP clients and servers say: command lines, content, replies, and the fields we make of it.
 */
import assert from 'node:assert/strict';
import { formatOrcpt } from '../../../src/delivery/transaction.ts';
import { compileAccess } from '../../../src/intake/access.ts';
import { readCommandLine } from '../../../src/intake/command-line.ts';
import { type PathCommand, parsePathCommand } from '../../../src/intake/path-command.ts';
import { refuseMail, Transaction } from '../../../src/intake/transaction.ts';
import { ContentScanner } from '../../../src/protocol/smtp/content.ts';
import { HeaderScanner } from '../../../src/protocol/smtp/header-scan.ts';
import { formatReply, parseReply } from '../../../src/protocol/smtp/reply.ts';
import { formatReceived } from '../../../src/protocol/smtp/trace.ts';
import { chunksOf, type FuzzTarget, joined, partsOf } from '../engine/target.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: none may come through
const CONTROL = /[\0-\x1f\x7f-\x9f\u2028\u2029]/;

const RULES = {
  hostname: 'relay.example.net',
  postmaster: 'admin@example.com',
  access: compileAccess({ trustedNetworks: ['127.0.0.0/8'], allowedSenderDomains: [] }),
  messageSize: 1000,
  recipientsPerMessage: 10,
  receivedHops: 10,
};
const PEER = { address: '127.0.0.1', secure: false, user: undefined, auth: 'optional' } as const;

const command: FuzzTarget = {
  name: 'path-command',
  seeds: [
    'MAIL FROM:<a@example.com> SIZE=12 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2B41',
    'RCPT TO:<"a b\\">"@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Btag@example.com',
    'MAIL FROM: <@one.example,@two.example:a@[IPv6:::1]> AUTH=<>',
    'RCPT TO:<jörg@bücher.example> ORCPT=utf-8;jörg@b\\x{FC}cher.example',
    'RCPT TO:<Postmaster>',
    'MAIL FROM:<>',
    'MAIL FROM:<a@example.com> REQUIRETLS RET=FULL',
    'AUTH PLAIN AGEAYg==',
  ].map((text) => Buffer.from(text)),
  tokens: [
    ...[
      '<',
      '>',
      '"',
      '\\',
      '@',
      ':',
      ',',
      '=',
      '+',
      '+2B',
      '+0D',
      '+C3',
      ' ',
      'SIZE=',
      'ENVID=',
      'ORCPT=',
    ],
    ...[
      'NOTIFY=NEVER',
      'utf-8;',
      'rfc822;',
      '\\x{FC}',
      'ü',
      '\r',
      '\0',
      '\x85',
      '\u2028',
      '__proto__',
      'postmaster',
    ],
  ],
  maxOctets: 8192,
  run(input) {
    const { name, fault } = readCommandLine(input);
    if (fault) {
      assert.match(`${fault.code} ${fault.text}`, /^500 5\.5\.2 [ -~]+$/);
      return 'no command line';
    }
    const line = input.toString();
    assert.ok(input.length <= 4096 || name === 'AUTH');
    assert.ok(Buffer.from(line).equals(input));
    const verb = name === 'RCPT' ? 'RCPT' : 'MAIL';
    const parsed = parsePathCommand(verb, line);
    if (parsed.kind !== 'parsed') return `${verb} ${parsed.kind}`;
    checkCommand(parsed);
    return `${verb} ${Object.keys(parsed.parameters).sort().join(' ')} ${takeCommand(verb, parsed)}`;
  },
};

function checkCommand({ path, parameters }: PathCommand): void {
  assert.doesNotMatch(path.replace(/"(?:[^"\\]|\\.)*"/g, ''), /[<> ]/);
  for (const [keyword, value] of Object.entries(parameters)) {
    assert.match(keyword, /^(?:SIZE|BODY|SMTPUTF8|REQUIRETLS|RET|ENVID|AUTH|NOTIFY|ORCPT)$/);
    if (value !== true) assert.doesNotMatch(value, CONTROL);
  }
  const { ORCPT: orcpt } = parameters;
  // This form is smtp-server's to check, which does it next.
  if (typeof orcpt !== 'string' || !/^[a-z0-9!#$%&'*+/=?^_`{|}~-]+;./i.test(orcpt)) return;
  // What goes out to the next hop is one word, and means there what it means here.
  const sent = formatOrcpt(orcpt);
  assert.match(sent, /^[!-~]+$/);
  const again = parsePathCommand('RCPT', `RCPT TO:<> ORCPT=${sent}`);
  const read = again.kind === 'parsed' ? again.parameters['ORCPT'] : undefined;
  // RFC 3461 §4.2 limits it to 500 characters, escapes included.
  if (sent.length <= 500) assert.equal(unescaped(String(read)), unescaped(orcpt));
}

/** RFC 6533 §3: a `utf-8` address with what stands in `\\x{…}` as itself. */
function unescaped(orcpt: string): string {
  if (!/^utf-8;/i.test(orcpt)) return orcpt;
  return orcpt.replace(/\\x\{([0-9A-F]{2,6})\}/g, (whole, hex: string) => {
    const point = Number.parseInt(hex, 16);
    return point > 0x10ffff ? whole : String.fromCodePoint(point);
  });
}

/** What is accepted can be written into a command again. */
function takeCommand(verb: 'MAIL' | 'RCPT', parsed: PathCommand): string {
  const mail: PathCommand = { kind: 'parsed', path: '', parameters: { SMTPUTF8: true } };
  const first = verb === 'MAIL' ? parsed : mail;
  if (refuseMail(first, PEER, RULES)) return 'refused';
  const transaction = new Transaction(first);
  const rcpt: PathCommand = { kind: 'parsed', path: 'b@example.org', parameters: {} };
  const refusal = transaction.addRecipient(verb === 'RCPT' ? parsed : rcpt, PEER, RULES);
  if (refusal) return 'refused';
  const { reversePath, recipients } = transaction.envelope();
  for (const path of [reversePath, ...recipients.map(({ address }) => address)]) {
    assert.deepEqual(parsePathCommand('RCPT', `RCPT TO:<${path}>`), {
      kind: 'parsed',
      path,
      parameters: {},
    });
  }
  return 'taken';
}

const reply: FuzzTarget = {
  name: 'smtp-reply',
  seeds: [
    '250 2.1.0 Ok',
    '550-5.1.1 no such user\r\n550 5.1.1 really',
    '250-mx.example\r\n250-PIPELINING\r\n250 SIZE 1000',
    '421 4.7.0 mx.example try later\n',
    '354 go ahead',
    '550 4.1.1 classes differ',
    '250',
  ].map((text) => Buffer.from(text)),
  tokens: [
    '250',
    '550-',
    '5.1.1 ',
    '4.7.0',
    '\r\n',
    '\n',
    '\r',
    ' ',
    '-',
    '\x1b[2J',
    '\u2028',
    '\0',
    'ü',
    '\ud800',
    '999',
  ],
  maxOctets: 65_536,
  run(input) {
    const found = parseReply(input.toString());
    if (found === undefined) return 'no reply';
    const { code, enhanced, text } = found;
    assert.ok(code >= 200 && code <= 599);
    if (enhanced !== undefined) {
      assert.match(enhanced, /^[245]\.\d{1,3}\.\d{1,3}$/);
      assert.equal(enhanced[0], String(code)[0]);
    }
    assert.doesNotMatch(text, CONTROL);
    assert.ok(text.length <= 1000);
    const again = parseReply(formatReply(found));
    assert.equal(again?.code, code);
    if (enhanced !== undefined) assert.equal(again?.enhanced, enhanced);
    return `${Math.floor(code / 100)} ${enhanced === undefined ? 'plain' : 'enhanced'}`;
  },
};

const content: FuzzTarget = {
  name: 'content-scan',
  seeds: [
    'a\r\nb\r\n',
    'a\nb',
    'a\r.\r\nb',
    '\r\n.\r\n',
    '\0',
    'a\r',
    '\r\r\n.\r\r\n',
    'ü\r\n',
  ].map((text) => Buffer.from(text)),
  tokens: ['\r\n', '\r', '\n', '\0', '.', '\r\n.\r\n', '\xff', 'a'.repeat(100)],
  run(input) {
    const text = input.toString('latin1');
    const bad = /\r(?!\n)|(?<!\r)\n|\0/.exec(text)?.[0];
    const faults = { '\r': 'bare-cr', '\n': 'bare-lf', '\0': 'nul' } as const;
    const fault = bad === undefined ? undefined : faults[bad as keyof typeof faults];
    for (const chunks of [[input], ...chunksOf(input)]) {
      const scanner = new ContentScanner();
      let told: string | undefined;
      for (const chunk of chunks) told = scanner.push(chunk);
      assert.equal(scanner.end(), fault);
      if (told !== undefined) assert.equal(told, fault);
      assert.equal(scanner.sawEightBit, /[\x80-\xff]/.test(text));
    }
    return fault ?? 'clean';
  },
};

const header: FuzzTarget = {
  name: 'header-scan',
  seeds: [
    'Received: from a\r\n\tby b\r\nReceived : x\r\n\r\nReceived: body\r\n',
    'Subject: Received:\r\n Received: folded\r\nRECEIVED:\r\n',
    '\r\nReceived: x\r\n',
    'Received-SPF: x\r\nX-Received: x\r\nreceived\t: x\n\n',
    'TLS-Required:\r\n\tNo\r\nReceived: x\r\n\r\n',
    'TLS-Required: No\r\ntls-required : no\r\n\r\n',
  ].map((text) => Buffer.from(text)),
  tokens: [
    ...['Received', 'Received:', ':', ' ', '\t', '\r\n', '\n', '\r', '\r\n\r\n', 'RECEIVED :'],
    ...['TLS-Required: No\r\n', 'TLS-Required:', 'No', 'no ', '\r\n '],
  ],
  run(input) {
    const text = input.toString('latin1');
    const end = /(?:^|\n)\r*\n/.exec(text);
    const lines = (end ? text.slice(0, end.index) : text).split('\n');
    const count = lines.filter((line) => /^\r*received[ \t]*:/i.test(line)).length;
    const isRelaxed = saysTlsRequiredNo(lines);
    for (const chunks of [[input], ...chunksOf(input)]) {
      const scanner = new HeaderScanner();
      for (const chunk of chunks) scanner.push(chunk);
      assert.equal(scanner.receivedCount, count);
      assert.equal(scanner.headerEnded, end !== null);
      assert.equal(scanner.end().tlsRequiredNo, isRelaxed);
    }
    return `${Math.min(count, 3)} ${end ? 'ended' : 'open'}`;
  },
};

/** RFC 8689 §3: one field, of one form. */
function saysTlsRequiredNo(lines: readonly string[]): boolean {
  const fields: string[] = [];
  for (const line of lines.map((text) => text.replace(/^\r+/, ''))) {
    if (fields.length > 0 && /^[ \t]/.test(line)) fields.push(`${fields.pop()}${line}`);
    else fields.push(line);
  }
  const own = fields.filter((field) => /^tls-required[ \t]*:/i.test(field));
  return own.length === 1 && /^tls-required:[ \t\r]*n\r*o\r*$/i.test(own[0] ?? '');
}

/** HELO name, reverse name, recipient, cipher. */
const received: FuzzTarget = {
  name: 'received-field',
  seeds: [
    joined('client.example', 'rev.example', 'b@example.org', 'TLS_AES_128_GCM_SHA256'),
    joined('[192.0.2.1]', '', '"a;\\"b"@example.org', 'ECDHE-RSA-AES128-SHA'),
    joined('bücher.example', 'x y', 'ü@example.org', 'x;y'),
  ],
  tokens: ['\r\n', '\n', ' ', ';', '(', ')', '"', '\\', '\0', 'ü', 'by evil', '\x1e', '<', '>'],
  run(input) {
    const [heloName = '', clientHostname = '', forRecipient = '', cipher = ''] = partsOf(input, 4);
    const protocol = { esmtp: true, tls: true, auth: false, utf8: false };
    const facts = { byHost: 'relay.example.net', id: '01ARZ3NDEKTSV4RR', protocol, dateMs: 0 };
    const client = { heloName, clientHostname, clientAddress: '192.0.2.1' };
    const tls = { version: 'TLSv1.3', cipher };
    const field = formatReceived({ ...facts, ...client, forRecipient, tls });
    assert.match(field, /^Received: from [!-~]+ \([ -~]+\)\r\n(?:\t[ -~]+\r\n)+$/);
    assert.ok(field.length < 2000);
    // Clauses of the field, nobody's local part among them, are ours.
    const bare = field.replace(/\r\n\tfor <.*>(?=;?\r\n)/, '\r\n\tfor <>');
    assert.equal(bare.split(';').length, 2);
    assert.match(bare, /\r\n\tby relay\.example\.net with ESMTPS id 01ARZ3NDEKTSV4RR\r\n/);
    return `${field.includes('\tfor <') ? 'for' : 'nobody'} ${field.includes('\ttls ') ? 'tls' : 'comment'}`;
  },
};

export const smtpTargets: readonly FuzzTarget[] = [command, reply, content, header, received];
