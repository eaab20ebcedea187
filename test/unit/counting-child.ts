/**
 * A process that counts a session in the directory of its first argument and is killed when the attempt
 * would go on record.
 */
import { besideCounts, Collector } from '../../src/reporting/collect.ts';
import { FakeClock } from '../support/fake-clock.ts';

const [, , directory = ''] = process.argv;
const nothing = () => {};
const collector = await Collector.open({
  directory,
  clock: new FakeClock('2026-03-14T12:00:00Z'), // on which no time passes
  keepMs: () => 30 * 86_400_000,
  events: {
    ...{ damaged: nothing, notCompacted: nothing, delayed: nothing, kept: nothing },
    lost: nothing,
  },
});
collector.count({
  domain: 'a.example',
  policy: { type: 'no-policy-found', domain: 'a.example', lines: [], mx: [] },
  ...{ successful: 1, failed: 0, details: [] },
});
await besideCounts(collector, async () => {
  process.kill(process.pid, 'SIGKILL');
});
