/**
 * Files that people edit or that a crash damaged: configuration, environment, users, the segments
 * of the spool.
 */
import assert from 'node:assert/strict';
import { stringify } from 'yaml';
import { applyEnvironment } from '../../../src/config/environment.ts';
import { formatProblem } from '../../../src/config/problems.ts';
import { type Settings, toInput } from '../../../src/config/settings.ts';
import { formatPath } from '../../../src/config/structure.ts';
import { validate } from '../../../src/config/validate.ts';
import { readConfigText } from '../../../src/config/yaml-file.ts';
import { compileAccess } from '../../../src/intake/access.ts';
import { formatPasswordHash, parsePasswordHash } from '../../../src/intake/password.ts';
import {
  isSenderPattern,
  isUserName,
  parseUsers,
  UsersFileError,
} from '../../../src/intake/users-file.ts';
import type { Envelope } from '../../../src/mail/envelope.ts';
import type { MessageId } from '../../../src/mail/message-id.ts';
import { createAddressGuard } from '../../../src/platform/address-guard.ts';
import { chooseServers } from '../../../src/platform/dns/servers.ts';
import { parseDomain } from '../../../src/protocol/domain.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { encodeHeader, type Frame, HEADER_OCTETS, NOTHING } from '../../../src/spool/frame.ts';
import {
  formatHead,
  type MessageHead,
  parseMessageHead,
  parseRecords,
} from '../../../src/spool/heads.ts';
import { isSpoolRecord, type SpoolRecord } from '../../../src/spool/message-state.ts';
import { scanSegment } from '../../../src/spool/scan.ts';
import { formatSegmentName, parseSegmentName } from '../../../src/spool/segment.ts';
import { removedFrame } from '../../../src/spool/segment-log.ts';
import { type FuzzTarget, joined, partsOf } from '../engine/target.ts';

const YAML_TOKENS = [
  ...[
    ': ',
    '- ',
    '\n',
    '  ',
    '[',
    ']',
    '{',
    '}',
    ',',
    '"',
    "'",
    '&a ',
    '*a',
    '!!int ',
    '!!binary ',
    '|',
    '>',
    '#',
  ],
  ...[
    '? ',
    '---\n',
    '...\n',
    '%YAML 1.2\n',
    '<<: ',
    '\t',
    '~',
    '__proto__',
    '0x1',
    '1e3',
    '\x1b',
    '\x85',
    '\0',
  ],
];

/** The parser takes its time over each error, and a longer text has room for thousands. */
const MAX_YAML_OCTETS = 2048;

/** One printable line of bounded length: it goes to a terminal. */
const LINE = /^[^\p{Cc}]{1,4000}$/u;

interface Checked {
  readonly settings: Settings | undefined;
  readonly problems: readonly string[];
}

function checkValues(values: unknown, problems: readonly string[]): Checked {
  const placeOf = (path: readonly (string | number)[]) => ({ source: 'f', key: formatPath(path) });
  const { settings, problems: more } = validate(values, {
    ...{ nowMs: 0, placeOf, placeOfWarning: placeOf },
  });
  return { settings, problems: [...problems, ...more.map(formatProblem)] };
}

function checkText(text: string): Checked {
  const read = readConfigText('f', text);
  return checkValues(read.values, read.problems.map(formatProblem));
}

function holdTo({ settings, problems }: Checked): string {
  for (const problem of problems) assert.match(problem, LINE);
  assert.ok(problems.length <= 1000);
  if (problems.length > 0) return `problems ${placesOf(problems)}`;
  assert.ok(settings);
  // "The configuration is checked before anything is built": nothing in it makes a part throw.
  compileAccess(settings.access);
  createRouteTable(settings.routes);
  createAddressGuard(settings.outbound.allowPrivateAddresses);
  chooseServers(settings.dns.servers, '/nonexistent');
  // What `config show` prints is a configuration with the same meaning.
  const shown = checkText(stringify(toInput(settings), { aliasDuplicateObjects: false }));
  assert.deepEqual(shown.problems, []);
  assert.deepEqual(shown.settings, settings);
  return 'settings';
}

/** The sections with problems, as many as make a set of kinds that stays small. */
function placesOf(problems: readonly string[]): string {
  const sections = new Set(problems.map((problem) => / ([a-zA-Z]+)[.:[]/.exec(problem)?.[1] ?? ''));
  return [...sections].sort().slice(0, 2).join(' ');
}

const CONFIG = `hostname: relay.example.net
listeners:
  - { address: 127.0.0.1, port: 2525, tls: starttls, auth: optional }
access: { trustedNetworks: [10.0.0.0/8, "::1"], allowedSenderDomains: [example.com] }
limits: { messageSize: 50MiB, messagesPerClient: "600/1m" }
redis: { url: "redis://u:p@h:6379/0" }
dns: { servers: ["127.0.0.1:5353", "[::1]:53"] }
`;

const config: FuzzTarget = {
  name: 'config',
  seeds: [
    CONFIG,
    'outbound: { allowPrivateAddresses: [a.example, 10.0.0.0/8], sourceAddresses: [192.0.2.1] }\n',
    'routes:\n  - { domain: "*", nextHop: "mx:example.com", tls: verify }\n',
    'overrides:\n  - { domain: a.example, tls: none, owner: o, reason: r, expires: 2027-01-31 }\n',
    'retry: { schedule: [1m, 5m], lifetime: 5d, delayWarning: off }\n# end\n',
    'security: &a { mtaSts: { enabled: false } }\nlog: { level: debug }\n',
    '',
  ].map((text) => Buffer.from(text)),
  tokens: [
    ...YAML_TOKENS,
    'limits',
    'listeners',
    '1m',
    '0.0.0.0/0',
    '""',
    'null',
    'tls: none',
    'on',
    '-1',
  ],
  maxOctets: MAX_YAML_OCTETS,
  run: (input) => holdTo(checkText(input.toString())),
};

/** Variables, one a part: NAME=value, the prefix left out. */
const environment: FuzzTarget = {
  name: 'environment',
  seeds: [
    joined('LIMITS_MESSAGESIZE=10MiB', 'LISTENERS_0_PORT=25'),
    joined('REDIS_URL=rediss://h', 'DNS_SERVERS=127.0.0.1,::1'),
    joined('LISTENERS_1_ADDRESS=::', 'LISTENERS_1_PORT=0', 'LISTENERS_1_TLS=none'),
    joined('OUTBOUND_ALLOWPRIVATEADDRESSES=true', 'SERVICE_HOST=10.0.0.1', 'ROUTES_0_DOMAIN=*'),
  ],
  tokens: [
    '\x1e',
    '_',
    '=',
    '_0',
    '_1_',
    '_9999',
    ',',
    'PORT',
    'LISTENERS',
    '__PROTO__',
    'true',
    '-1',
    '[',
    '\x1b',
  ],
  maxOctets: 1024,
  run(input) {
    const pairs = partsOf(input, 20).flatMap((text) => {
      const [, name, value = ''] = /^([^=\0]+)=?([^\0]*)/.exec(text) ?? [];
      return name === undefined ? [] : [[`STSRELAY_${name}`, value]];
    });
    const variables = Object.fromEntries(pairs) as Record<string, string>;
    const { values, problems } = applyEnvironment({}, variables);
    assert.equal(Object.getPrototypeOf(values), Object.prototype);
    return holdTo(checkValues(values, problems.map(formatProblem)));
  },
};

const HASH = '$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo';

const users: FuzzTarget = {
  name: 'users-file',
  seeds: [
    `alice:\n  hash: ${HASH}\n  allowedSenders: ["alice@example.com", "*@lists.example.com"]\n`,
    `"b c": { hash: "${HASH}", allowedSenders: ["*"] }\n`,
    `x: &x { hash: ${HASH}, allowedSenders: ["*.example.com"] }\ny: *x\n`,
    '{}',
  ].map((text) => Buffer.from(text)),
  tokens: [
    ...YAML_TOKENS,
    HASH,
    '$scrypt$',
    'ln=99',
    'hash: ',
    'allowedSenders: ',
    '"*"',
    '@',
    '*.',
  ],
  maxOctets: MAX_YAML_OCTETS,
  run(input) {
    let read: ReturnType<typeof parseUsers>;
    try {
      read = parseUsers('users.yaml', input.toString());
    } catch (error) {
      assert.ok(error instanceof UsersFileError, String(error));
      for (const line of error.message.split('\n')) assert.match(line, LINE);
      return 'no users file';
    }
    for (const [key, { name, hash, allowedSenders }] of read) {
      assert.equal(name, key);
      assert.ok(isUserName(name));
      assert.ok(allowedSenders.length > 0 && allowedSenders.every(isSenderPattern));
      assert.ok(hash.salt.length >= 8 && hash.key.length >= 16);
      assert.ok(128 * hash.blockSize * 2 ** hash.logN <= 256 * 1024 * 1024);
      assert.deepEqual(parsePasswordHash(formatPasswordHash(hash)), hash);
    }
    return `${Math.min(read.size, 3)} users`;
  },
};

const ENVELOPE: Envelope = {
  id: '01ARZ3NDEKTSV4RR' as MessageId,
  reversePath: 'a@example.com',
  recipients: [{ address: 'b@example.org' }, { address: 'ü@bücher.example', notify: ['NEVER'] }],
  receivedAtMs: 1,
  eightBitMime: false,
  smtpUtf8: true,
};
const DESTINATION = parseDomain('example.org') ?? assert.fail();
const ATTEMPT: SpoolRecord = {
  kind: 'attempt',
  atMs: 2,
  destination: DESTINATION,
  delivered: [0],
  relayed: [],
  bounced: [],
  deferred: [],
  dsnId: '01ARZ3NDEKTSV4RS' as MessageId,
};
const NOTIFIED: SpoolRecord = { kind: 'notified', atMs: 3, dsnId: '01ARZ3NDEKTSV4RS' as MessageId };
const DELAY: SpoolRecord = {
  kind: 'delay',
  atMs: 3,
  waiting: [{ destination: DESTINATION, recipients: [0], untilMs: 4 }],
  dsnId: '01ARZ3NDEKTSV4RT' as MessageId,
};
const MARK = Buffer.from('5a17e6c3b2f80d41', 'hex');
const OTHER_MARK = Buffer.from('0102030405060708', 'hex');

function frameOctets(frame: Frame, durableTo = 0, mark = MARK): Buffer {
  return Buffer.concat([encodeHeader(frame, { mark, durableTo }), frame.head, frame.body]);
}

const { id } = ENVELOPE;
const BODY = Buffer.from('Subject: x\r\n\r\nhello\r\n');
const MESSAGE_HEAD: MessageHead = { envelope: ENVELOPE, sizeBytes: BODY.length };
const MESSAGE = frameOctets({ kind: 'message', id, head: formatHead(MESSAGE_HEAD), body: BODY });
const RECORDS = formatHead([ATTEMPT, NOTIFIED]);
const RECORDED = frameOctets({ kind: 'records', id, head: RECORDS, body: NOTHING }, MESSAGE.length);
const REMOVED = frameOctets(removedFrame(id), MESSAGE.length + RECORDED.length);
const DISGUISED = frameOctets({
  kind: 'message',
  id,
  head: formatHead(MESSAGE_HEAD),
  body: frameOctets({ kind: 'removed', id, head: NOTHING, body: NOTHING }, 0, OTHER_MARK),
});

/** The frames of a segment, with the mark of ours: no mutation can know another. */
const segment: FuzzTarget = {
  name: 'spool-segment',
  seeds: [
    Buffer.concat([MESSAGE, RECORDED, REMOVED]),
    Buffer.concat([MESSAGE, RECORDED]).subarray(0, -5),
    Buffer.concat([MESSAGE.subarray(3), DISGUISED, RECORDED]),
    MESSAGE,
  ],
  tokens: [MARK, OTHER_MARK, MESSAGE, RECORDED, REMOVED, Buffer.alloc(48), '\0', '\xff'],
  run(input) {
    const { frames, damages } = scanSegment(input, MARK);
    let end = 0;
    for (const frame of frames) {
      assert.ok(frame.at >= end, 'one behind the other');
      end = frame.at + HEADER_OCTETS + frame.headLength;
      assert.ok(end <= input.length);
      if (frame.bodyIntact) end += frame.bodyLength;
      assert.ok(end <= input.length);
      // A frame is believed because its checksums are right, and gives back what it was made of.
      const { kind, durableTo } = frame;
      if (!frame.bodyIntact) continue;
      const head = input.subarray(frame.at + HEADER_OCTETS, end - frame.bodyLength);
      const body = input.subarray(end - frame.bodyLength, end);
      const again = frameOctets({ kind, id: frame.id, head, body }, durableTo);
      assert.ok(again.equals(input.subarray(frame.at, end)));
    }
    for (const { from, to } of damages) assert.ok(0 <= from && from < to);
    assert.ok(frames.length > 0 || damages.length > 0 || input.length === 0);
    const whole = frames.filter(({ bodyIntact }) => bodyIntact).length;
    return `${Math.min(whole, 4)} frames, ${Math.min(damages.length, 3)} damaged`;
  },
};

/** What a frame tells, parsed as a message and as records: JSON that another version wrote. */
const heads: FuzzTarget = {
  name: 'spool-heads',
  seeds: [
    formatHead(MESSAGE_HEAD),
    formatHead({ ...MESSAGE_HEAD, records: [ATTEMPT, NOTIFIED, DELAY], bodyCrc: 1 }),
    RECORDS,
    Buffer.from('[]'),
  ],
  tokens: ['{', '}', '[', ']', ',', '"', ':', 'null', '-1', '1e9', '"kind":"attempt"', '\ud800'],
  run(input) {
    const message = parseMessageHead(input);
    const records = parseRecords(input);
    if (!message) {
      for (const record of records) assert.ok(isSpoolRecord(record));
      return `${Math.min(records.length, 3)} records`;
    }
    assert.deepEqual(records, []);
    assert.ok(Number.isSafeInteger(message.sizeBytes));
    assert.ok(message.records?.every(isSpoolRecord));
    // What is moved is what was read.
    assert.deepEqual(parseMessageHead(formatHead(message)), message);
    return `a message, ${Math.min(message.records?.length ?? 0, 3)} records`;
  },
};

/** The name of a file in the spool. */
const segmentName: FuzzTarget = {
  name: 'spool-segment-name',
  seeds: [
    '0000000001-5a17e6c3b2f80d41.segment2',
    'reserve',
    '0000000001-5a17e6c3b2f80d41.segment02',
  ].map((text) => Buffer.from(text)),
  tokens: ['segment', '.segment2', '0000000001', '-', '..', '/', '\0', '9'],
  maxOctets: 200,
  run(input) {
    const name = input.toString();
    const parsed = parseSegmentName(name);
    if (typeof parsed === 'string') return parsed;
    assert.equal(formatSegmentName(parsed), name);
    assert.equal(parsed.mark.length, 8);
    return 'a segment';
  },
};

export const fileTargets: readonly FuzzTarget[] = [
  config,
  environment,
  users,
  segment,
  heads,
  segmentName,
];
