/** `sizes`: messages of 1 KiB to 50 MiB, each size on a relay of its own. */
import { runOnce } from '../run.ts';
import { COMMON, type Scenario } from '../scenarios.ts';
import type { GrowthSite, GrowthTable } from './growth.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

const SIZES: readonly { name: string; octets: number; messages: number }[] = [
  { name: '1 KiB', octets: KIB, messages: 5000 },
  { name: '4 KiB', octets: 4 * KIB, messages: 5000 },
  { name: '64 KiB', octets: 64 * KIB, messages: 2000 },
  { name: '1 MiB', octets: MIB, messages: 300 },
  { name: '10 MiB', octets: 10 * MIB, messages: 60 },
  { name: '50 MiB', octets: 50 * MIB, messages: 20 },
];

export async function measureSizes(site: GrowthSite): Promise<GrowthTable> {
  const { bench, peer, print } = site;
  const rows = [['size', 'messages', 'drain', 'throughput', 'ack p50', 'ack p99', 'peak memory']];
  const figures: unknown[] = [];
  for (const { name, octets, messages } of SIZES) {
    const relay = { limits: { messageSize: '64MiB' } };
    const scenario: Scenario = { ...COMMON, name: 'sizes', summary: '', octets, messages, relay };
    const warmUp = Math.ceil(messages / 10);
    const run = await runOnce({ bench, peer, scenario, messages, warmUp });
    const throughput = (run.drainRate * octets) / MIB;
    print(`  sizes ${name}: ${run.drainRate.toFixed(1)}/s, ${throughput.toFixed(1)} MiB/s`);
    figures.push({ ...run, octets });
    rows.push([
      name,
      String(run.messages),
      `${run.drainRate.toFixed(run.drainRate < 10 ? 1 : 0)}/s`,
      `${throughput.toFixed(1)} MiB/s`,
      `${run.ackP50Ms.toFixed(0)} ms`,
      `${run.ackP99Ms.toFixed(0)} ms`,
      `${Math.round(run.rssMiB)} MiB`,
    ]);
  }
  const summary = 'messages of 1 KiB to 50 MiB over verified TLS, 20 sessions';
  return { name: 'sizes', summary, rows, notes: [], figures };
}
