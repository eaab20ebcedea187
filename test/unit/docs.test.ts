/**
 * Our documents against the program: see test/support/docs.ts. The first tests show that each check can fail. Other
 * sites' addresses are not asked for: nothing leaves the machine.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type Complaint,
  type Document,
  deadLinks,
  missingFiles,
  readDocument,
  readDocuments,
  wrongCommands,
  wrongMetrics,
  wrongNames,
  wrongSamples,
  wrongTargets,
} from '../support/docs.ts';
import { readMarkdown } from '../support/markdown.ts';
import { shellCommands } from '../support/shell-words.ts';

const DOCUMENTS = readDocuments();
const INDEX = 'docs/README.md';

const CHECKS: Readonly<Record<string, (document: Document) => readonly Complaint[]>> = {
  'links lead somewhere': (document) => deadLinks(document, DOCUMENTS),
  'commands are those of the command line': wrongCommands,
  'targets of make exist': wrongTargets,
  'files exist': missingFiles,
  'settings and log events exist': wrongNames,
  'metrics and alerts exist': wrongMetrics,
  'samples are valid': wrongSamples,
};

const inShell = (text: string) => `\`\`\`sh\n${text}\n\`\`\``;
const inYaml = (text: string, more = '') => `\`\`\`yaml${more}\n${text}\n\`\`\``;
const GOOD = [
  '[a](operations.md#set-it-up) [b](../src/pipeline.ts) [c](https://example.org/x) [d](#sub) ![e](pictures/mail-flow.svg)\n## Sub',
  inShell(
    "stsrelay queue hold --sender 'eve@shop.example' --reason 'ticket 7' --for 2d   # a comment",
  ),
  inShell('sudo -u stsrelay stsrelay --config /etc/x.yaml queue list --json | jq . > LOG'),
  inShell('npm run -s stsrelay -- check example.org && make test TESTS=x'),
  '[a][b] and an odd ` in a paragraph\n\n`status` [b]: https://example.org/\n\n[b]: https://example.org/ \n| `stsrelay config check \\| show` |',
  '`stsrelay queue list | show ID`, `stsrelay tlsrpt send --day D`, `queue release --force`, `stsrelay queue`',
  '`retry.schedule` `destinations.domains[].rate` `destinations.*.connections` `redis.died` `report.*` `policy.md`',
  inShell('STSRELAY_LISTENERS_0_PORT=25 stsrelay start'),
  '`stsrelay_tls_sessions_total{mode="enforce"}` stsrelay_spool_latency_seconds_bucket `dsn_total` StsrelayDown',
  inYaml('retry: { schedule: [1m, 5m] }'),
  inYaml('scrape_configs: []', ' prometheus'),
  '```json\n{"level":"info","time":"T","event":"delivery.delivered","id":"X","mx":"m"}\n```',
  '`relay.example.net` `make -C /etc/mail` `make dsn` `tls.cipher` <!-- not ours: make dsn, tls.* -->',
  '`make run` `src/pipeline.ts` `test/conformance/*.test.ts` `dist/main.js`',
];
const BAD: Readonly<Record<string, readonly string[]>> = {
  'links lead somewhere': [
    '[a](nowhere.md)',
    '[a](operations.md#no-such-heading)',
    '[a](#no-such-heading)',
    '![a](pictures/none.svg)',
    '<img src="none.png">',
    '[a]: nowhere.md',
    '[a][unknown]',
  ],
  'commands are those of the command line': [
    inShell('stsrelay queue fly'),
    inShell('stsrelay queue show'),
    inShell('stsrelay queue hold --because x --all'),
    inShell('stsrelay domain pause example.org --for ever'),
    inShell('true | stsrelay polcy list'),
    inShell('npm run -s stsrelay -- chek example.org'),
    '`stsrelay queue list | fly`',
    '`stsrelay status --loud`',
    '`queue fly`',
  ],
  'targets of make exist': [
    inShell('make tests'),
    '`make runn`',
    inShell('CI=1 make -j2 nothing X=1'),
  ],
  'files exist': ['`src/pipelines.ts`', inShell('node test/support/write-doc.ts')],
  'settings and log events exist': [
    '`retry.scedule`',
    '`delivery.deliverd`',
    '`destinations.domains[].rates`',
    inShell('jq \'select(.event == "delivery.delivred")\' LOG'),
    'STSRELAY_REDIS_URI',
  ],
  'metrics and alerts exist': ['stsrelay_mails_total', '`dsns_total`', 'StsrelayGone'],
  'samples are valid': [
    inYaml('retry: { schedule: [1x] }'),
    '```sh\nstsrelay status',
    inYaml('unknown: 1'),
    inYaml('a: [', ' prometheus'),
    '```json\n{"a":\n```',
    '```json\n{"level":"info","event":"delivery.delivered","colour":"red"}\n```',
  ],
};

describe('the checks', () => {
  for (const [name, check] of Object.entries(CHECKS)) {
    test(`${name}: what is right passes`, () => {
      for (const text of GOOD)
        assert.deepEqual(check(readDocument('docs/queue.md', text)), [], text);
    });
    test(`${name}: what is wrong is told, with its line`, () => {
      for (const text of BAD[name] ?? assert.fail('no bad samples')) {
        const [complaint = ''] = check(readDocument('docs/queue.md', `\n\n${text}`));
        assert.match(complaint, /^docs\/queue\.md:[34]: /, text);
      }
    });
  }

  test('read headings as GitHub does', () => {
    const { anchors } = readMarkdown(
      '# A `b.c`, d_e: (f)!\n## Same\n## Same\n```sh\n# no heading\n```',
    );
    assert.deepEqual([...anchors], ['a-bc-d_e-f', 'same', 'same-1']);
  });

  test('read a shell as far as documents use it', () => {
    assert.deepEqual(shellCommands('$ a "b c" \\\n  d # e\nf=1 g <(h i) 2>&1 | j > k'), [
      ['a', 'b c', 'd'],
      ['g'],
      ['h', 'i'],
      ['j'],
    ]);
  });
});

describe('our documents', () => {
  for (const [name, check] of Object.entries(CHECKS)) {
    test(name, () => {
      // What a changelog names may be gone today.
      const named = DOCUMENTS.filter(
        ({ path }) => path !== 'CHANGELOG.md' || check === CHECKS['links lead somewhere'],
      );
      assert.deepEqual(named.flatMap(check), []);
    });
  }

  test('are all found from their index', () => {
    const index = DOCUMENTS.find(({ path }) => path === INDEX) ?? assert.fail(`no ${INDEX}`);
    const linked = new Set(index.targets.map(({ text }) => `docs/${text.split('#')[0]}`));
    const lost = DOCUMENTS.map(({ path }) => path).filter(
      (path) => path.startsWith('docs/') && path !== INDEX && !linked.has(path),
    );
    assert.deepEqual(lost, []);
  });

  test('the README is one that can be read: at most 200 lines', () => {
    const { source } = readDocument('README.md');
    assert.ok(source.split('\n').length <= 200);
  });
});
