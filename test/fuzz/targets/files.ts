/**
 * Files that people edit or that a crash damaged: configuration, environment, users, the journal
 * of a message in the spool.
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
import { formatLine, parseJournal } from '../../../src/spool/line-format.ts';
import { foldRecords, type SpoolRecord } from '../../../src/spool/message-state.ts';
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
  const { settings, problems: more } = validate(values, { nowMs: 0, placeOf });
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
const HEADER = { version: 1, sizeBytes: 10, envelope: ENVELOPE };
const JOURNAL = Buffer.concat([HEADER, ATTEMPT, ATTEMPT, NOTIFIED].map(formatLine));

const journal: FuzzTarget = {
  name: 'spool-journal',
  seeds: [
    JOURNAL,
    Buffer.concat([formatLine(HEADER)]),
    JOURNAL.subarray(0, -5),
    formatLine({ ...HEADER, version: 2 }),
  ],
  tokens: [
    formatLine(ATTEMPT),
    formatLine(NOTIFIED),
    '\n',
    '\r\n',
    '00000000 {}\n',
    '00000000 \n',
    ' ',
    '\0',
    '\xff',
  ],
  run(input) {
    const read = parseJournal(input);
    if (read.kind === 'unreadable') return 'unreadable';
    assert.ok(read.goodBytes <= input.length);
    assert.ok(read.goodBytes === 0 || input[read.goodBytes - 1] === 0x0a);
    // A record is believed because its checksum is right, and was written by us as it is read.
    const lines = input
      .toString('utf8')
      .split('\n')
      .map((line) => line.slice(9));
    for (const value of [read.header, ...read.records]) {
      assert.ok(lines.includes(JSON.stringify(value)));
    }
    assert.deepEqual(parseJournal(input.subarray(0, read.goodBytes)), read);
    const state = foldRecords(read.header.envelope, read.records, () => DESTINATION);
    const open = state.pending.flatMap(({ pending }) => pending);
    const delivered = read.records.flatMap((one) => (one.kind === 'attempt' ? one.delivered : []));
    assert.ok(open.every((index) => !delivered.includes(index)));
    return `${Math.min(read.records.length, 4)} records, ${Math.min(read.damagedLines, 2)} damaged`;
  },
};

export const fileTargets: readonly FuzzTarget[] = [config, environment, users, journal];
