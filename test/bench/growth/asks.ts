/**
 * `asks`: what it costs to look at a deep queue, and to change all of it. A relay holds the deepest of DEPTHS; each
 * question of the commands and the page is asked ROUNDS times over the control socket, and beside it
 * somebody asks for /healthz all the time: the longest wait for that is how long the relay did nothing else.
 */
import { request } from 'node:http';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../result/median.ts';
import { type Running, withRunning } from '../running.ts';
import { AWAY_DOMAIN } from '../scenarios.ts';
import { addBacklog, backlogScenario } from './backlog.ts';
import type { GrowthSite, GrowthTable } from './growth.ts';

const SETTLE_MS = 5000;
const PROBE_EVERY_MS = 5;

interface Question {
  readonly what: string;
  readonly method: 'GET' | 'POST';
  /** Below /api/v1. */
  readonly path: string;
  readonly body?: unknown;
}

interface AskFigures {
  readonly what: string;
  readonly octets: number;
  /** From the request to the end of its answer, milliseconds. */
  readonly medianMs: number;
  readonly worstMs: number;
  /** The longest that /healthz waited meanwhile. */
  readonly pauseMs: number;
}

const get = (what: string, path: string): Question => ({ what, method: 'GET', path });
const post = (what: string, path: string, body: unknown): Question => ({
  ...{ what, method: 'POST', path, body },
});

/** `id`: of a message that waits. */
function questions(id: string): readonly Question[] {
  const all = { all: true };
  const retry = { schedule: ['5m', '30m', '2h'], lifetime: '2d' };
  return [
    get('overview', '/overview'),
    get('mail flow', '/flow'),
    get('summary by destination', '/queue/summary'),
    get('list, first 100', '/queue?limit=100'),
    get('list, first 1,000', '/queue?limit=1000'),
    get('list, one destination', `/queue?limit=100&domain=d5.${AWAY_DOMAIN}`),
    get('list, a sender that has none', '/queue?limit=100&sender=nobody@example.com'),
    get('list, older than a day', '/queue?limit=100&olderThan=1d'),
    get('one message explained', `/queue/messages/${id}`),
    get('status', '/status'),
    post('retry preview', '/retry/preview', { retry }),
    post('bounce all, dry run', '/queue/bounce', { ...all, dryRun: true }),
    post('hold all', '/queue/hold', { ...all, reason: 'bench' }),
    post('release all', '/queue/release', all),
    post('retry all', '/queue/retry', all),
  ];
}

/** Fill the queue, and ask. */
export async function measureAsks(site: GrowthSite): Promise<GrowthTable> {
  const { bench, peer, settings, print } = site;
  const depth = settings.messages ?? settings.depths.at(-1) ?? 0;
  const figures = await withRunning(
    { bench, peer, scenario: backlogScenario('asks') },
    async (running) => {
      await addBacklog(running, bench, { count: depth });
      await sleep(SETTLE_MS);
      const found: AskFigures[] = [];
      for (const question of questions(await someId(running))) {
        const one = await measure(running, question, settings.rounds);
        print(
          `  asks ${one.what}: ${milliseconds(one.medianMs)}, pause ${milliseconds(one.pauseMs)}`,
        );
        found.push(one);
      }
      return found;
    },
  );
  return {
    name: 'asks',
    summary: `questions to a relay with ${depth.toLocaleString('en')} messages queued`,
    rows: [
      ['question', 'answer', 'median', 'worst', 'longest pause of the relay'],
      ...figures.map(({ what, octets, medianMs, worstMs, pauseMs }) => [
        what,
        `${(octets / 1024).toFixed(1)} KiB`,
        milliseconds(medianMs),
        milliseconds(worstMs),
        milliseconds(pauseMs),
      ]),
    ],
    notes: [`Of ${settings.rounds} times each, one after the other, over the control socket.`],
    figures,
  };
}

async function someId(running: Running): Promise<string> {
  const { text } = await ask(running, get('an id', '/queue?limit=1'));
  const [first] = (JSON.parse(text) as { entries: { id: string }[] }).entries;
  if (!first) throw new Error('the queue is empty');
  return first.id;
}

async function measure(running: Running, question: Question, rounds: number): Promise<AskFigures> {
  const times: number[] = [];
  let octets = 0;
  const probe = startProbe(running);
  try {
    for (let round = 0; round < rounds; round += 1) {
      const began = performance.now();
      const { text } = await ask(running, question);
      times.push(performance.now() - began);
      octets = Buffer.byteLength(text);
    }
  } finally {
    await probe.end();
  }
  const { what } = question;
  return {
    what,
    octets,
    medianMs: median(times),
    worstMs: Math.max(...times),
    pauseMs: probe.worst(),
  };
}

/** Throws on any answer but 200. */
function ask({ dir }: Running, { method, path, body }: Question): Promise<{ text: string }> {
  const socketPath = relative(process.cwd(), join(dir, 'data', 'control.sock'));
  return exchange({ socketPath, method, path: `/api/v1${path}`, body });
}

function exchange(asked: {
  readonly method: string;
  readonly path: string;
  readonly socketPath?: string;
  readonly port?: number;
  readonly body?: unknown;
}): Promise<{ text: string }> {
  const { body, ...to } = asked;
  const headers = {
    'x-stsrelay-actor': 'bench',
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  return new Promise((resolve, reject) => {
    const asking = request({ ...to, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve({ text });
        else reject(new Error(`${to.method} ${to.path}: ${response.statusCode} ${text}`));
      });
    });
    asking.on('error', reject);
    asking.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Asks for /healthz again and again, until it is ended. */
function startProbe({ sparePort }: Running) {
  let worst = 0;
  let isOver = false;
  const done = (async () => {
    while (!isOver) {
      const began = performance.now();
      await exchange({ method: 'GET', path: '/healthz', port: sparePort });
      worst = Math.max(worst, performance.now() - began);
      await sleep(PROBE_EVERY_MS);
    }
  })();
  return {
    worst: () => worst,
    end: () => {
      isOver = true;
      return done;
    },
  };
}

function milliseconds(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms).toLocaleString('en')} ms`;
}
