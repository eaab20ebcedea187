/**
 * `stsrelay retry preview`: what a changed `retry` section would do to the messages queued now.
 */
import { Option } from 'commander';
import { z } from 'zod';
import { EXIT_CODES, readAnswer, TIMEOUT_MS } from './answers.ts';
import { type CliCommand, EXIT } from './command.ts';
import { requireDataDir, requireSettings } from './configuration.ts';
import { askRelay } from './control-client.ts';
import { deliveries } from './counted.ts';
import { formatSpan } from './span.ts';
import { formatTable } from './table.ts';
import { print, printError, printJson } from './terminal.ts';

const shift = {
  waiting: z.number(),
  unchanged: z.number(),
  sooner: z.number(),
  later: z.number(),
  atOnce: z.number(),
  lastAttempt: z.number(),
  firstBefore: z.string().optional(),
  firstAfter: z.string().optional(),
};
const schema = z.looseObject({
  total: z.looseObject(shift),
  destinations: z.array(z.looseObject({ domain: z.string(), ...shift })),
});
type Preview = z.infer<typeof schema>;

export const retryPreview: CliCommand = {
  usage: 'preview',
  summary: 'what the `retry` section of a changed configuration would do to the queue of now',
  options: [
    new Option('--with <file>', 'the changed configuration, where it is not the one in use yet'),
  ],
  notes: `
Change the file, look at the preview, then \`stsrelay reload\`. Or edit a copy and name it by --with. What is due
now is attempted in any case; what waits is counted from its last attempt. Last attempt: how many are older than the
lifetime would be: they are tried once more, and bounce if that fails.
${EXIT_CODES}`,
  async run(invocation) {
    const other = invocation.options['with'];
    const changed = typeof other === 'string' ? { ...invocation, configFile: other } : invocation;
    const { retry } = requireSettings(changed).settings;
    const path = '/api/v1/retry/preview';
    const asked = { method: 'POST', path, body: { retry }, timeoutMs: TIMEOUT_MS } as const;
    const answer = await askRelay(requireDataDir(invocation), asked);
    const preview = readAnswer(answer, schema);
    if (invocation.json) printJson(preview);
    else show(preview);
    return EXIT.done;
  },
};

const HEADING = [
  'DESTINATION',
  'WAITING',
  'SAME',
  'SOONER',
  'LATER',
  'AT ONCE',
  'LAST ATTEMPT',
  'FIRST',
];

function show({ total, destinations }: Preview): void {
  const { waiting, sooner, later, lastAttempt } = total;
  if (sooner + later + lastAttempt === 0) {
    printError(
      waiting === 0
        ? 'the queue is empty: nothing would change'
        : `nothing would change for what waits: ${deliveries(waiting)}`,
    );
    return;
  }
  const now = Date.now();
  const changed = destinations.filter((one) => one.sooner + one.later + one.lastAttempt > 0);
  const rows = [...changed, { ...total, domain: 'all' }].map((one) => [
    one.domain,
    ...[one.waiting, one.unchanged, one.sooner, one.later, one.atOnce, one.lastAttempt].map(String),
    first(one.firstBefore, one.firstAfter, now),
  ]);
  print(formatTable(HEADING, rows));
}

function first(before: string | undefined, after: string | undefined, now: number): string {
  if (before === undefined || after === undefined) return '-';
  return `${fromNow(before, now)} -> ${fromNow(after, now)}`;
}

function fromNow(time: string, now: number): string {
  const seconds = (Date.parse(time) - now) / 1000;
  return seconds <= 0 ? 'now' : `in ${formatSpan(seconds)}`;
}
