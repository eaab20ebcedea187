/**
 * `make demo` away from a terminal: what it shows of the eight domains, that it ends by itself, and that
 * nothing is left of it, neither processes nor files, also when it is interrupted or its relay is killed.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { redisMissing } from '../support/redis.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';
import { processesIn, spawnTied } from '../support/tied-child.ts';
import { Chronicle } from '../support/wait-for.ts';

const DEMO = fileURLToPath(new URL('../demo/main.ts', import.meta.url));
/** The sources: tests run without a build. */
const PROGRAM = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** The demo, with all its files below a directory of its own. */
class Demo implements Disposable {
  readonly #dir: TempDir = tempDir();
  readonly #child: ChildProcess;
  readonly #shown = new Chronicle<string>();
  readonly #ended: Promise<unknown[]>;
  stderr = '';

  constructor() {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    this.#child = spawnTied(process.execPath, [DEMO, '--program', PROGRAM], {
      env: { ...env, TMPDIR: this.#dir.path },
      stdio: ['ignore', 'pipe', 'pipe'],
      dir: this.#dir.path,
    });
    this.#ended = once(this.#child, 'close');
    void this.#ended.then(() =>
      this.#shown.end(new Error(`it ended:\n${this.text}${this.stderr}`)),
    );
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#shown.push(text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
  }

  /** All it has written to stdout. */
  get text(): string {
    return this.#shown.entries.join('');
  }
  /** Until its output matches. */
  until(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#shown.until(`${pattern}`, () => pattern.exec(this.text) ?? undefined);
  }
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }
  async end(): Promise<unknown> {
    const [code, signal] = await this.#ended;
    return code ?? signal;
  }
  assertNothingIsLeft(): void {
    assert.deepEqual(processesIn(this.#dir.path), []);
    assert.deepEqual(readdirSync(this.#dir.path), []);
  }
  [Symbol.dispose](): void {
    this.#dir.remove();
  }
}

describe('the demo', { skip: redisMissing, concurrency: true }, () => {
  test('shows what became of eight messages, and ends', async () => {
    using demo = new Demo();
    assert.equal(await demo.end(), 0, demo.text + demo.stderr);
    const { text } = demo;
    const outcomes: readonly (readonly [string, readonly RegExp[]])[] = [
      ['good.example', [/delivered to mx\.good\.example over TLSv1\.3, verified/]],
      [
        'expired.example',
        [
          /waits: .*expired.*; tried again in 1\d min/,
          /delivered to mx\.expired\.example over TLSv1\.3: encrypted, nobody knows with whom/,
        ],
      ],
      [
        'second-mx.example',
        [
          /passed over mx1\.second-mx\.example: /,
          /delivered to mx2\.second-mx\.example .* verified/,
        ],
      ],
      [
        'outside.example',
        [
          /downgrade noticed: mx-outside-policy/,
          /waits: .*not among the hosts of the policy/,
          /delivered to mx\.outside\.example .* verified/,
        ],
      ],
      [
        'attacked.example',
        [
          /delivered to mx\.attacked\.example over TLSv1\.3, verified/,
          /its MTA-STS record is gone; the policy kept from before stays in force/,
          /downgrade noticed: starttls-gone/,
          /waits: .*STARTTLS/,
          /delivered to mx\.attacked\.example over TLSv1\.3, verified/,
        ],
      ],
      [
        'testing.example',
        [/delivered to mx\.testing\.example .* encrypted/, /counted for its TLS report: /],
      ],
      ['no-policy.example', [/delivered to mx\.no-policy\.example .* encrypted/]],
      ['plain.example', [/delivered to mx\.plain\.example in clear text/]],
    ];
    for (const [domain, patterns] of outcomes) {
      const told = text.split('\n').filter((line) => line.slice(2).startsWith(`${domain} `));
      for (const pattern of patterns) {
        assert.ok(
          told.some((line) => pattern.test(line)),
          `${domain}: ${pattern} is not among\n${told.join('\n')}`,
        );
      }
    }
    assert.match(text, /^\$ stsrelay queue list$/m);
    assert.match(text, /^the queue is empty$/m);
    assert.match(text, /^stsrelay_downgrade_suspected_total\{.*signal="starttls-gone".*\} [1-9]/m);
    assert.match(text, /"policy-domain": "testing\.example"/);
    assert.equal(demo.stderr, '');
    assert.equal(text.includes('\u001b'), false, 'nothing is painted away from a terminal');
    demo.assertNothingIsLeft();
  });

  test('is over at once when it is interrupted, and nothing is left', async () => {
    using demo = new Demo();
    await demo.until(/✓ good\.example/);
    demo.signal('SIGINT');
    assert.equal(await demo.end(), 130, demo.text + demo.stderr);
    assert.doesNotMatch(demo.text, /Where to go from here/);
    assert.equal(demo.stderr, '');
    demo.assertNothingIsLeft();
  });

  test('says so when its relay is killed, and nothing is left', async () => {
    using demo = new Demo();
    const [, pid] = await demo.until(/^relay .* process (\d+)/m);
    process.kill(Number(pid), 'SIGKILL');
    assert.equal(await demo.end(), 1, demo.text + demo.stderr);
    assert.match(demo.stderr, /the relay ended by itself/);
    demo.assertNothingIsLeft();
  });
});
