/** The last hour in graphs: mail flow, how much of it over what TLS, the queue. */
import { useMemo } from 'preact/hooks';
import type { FlowSample } from '../../flow.ts';
import { Chart } from '../chart.tsx';
import { compact, ZONE } from '../words.ts';

/** Samples of the relay in one point of the graphs. */
const IN_ONE = 3;

/** Samples put together, so that a quiet relay shows more than single pins. */
function grouped(flow: readonly FlowSample[]): readonly (readonly FlowSample[])[] {
  const groups: FlowSample[][] = [];
  for (const sample of flow) {
    const slot = Math.floor(Date.parse(sample.at) / (10_000 * IN_ONE));
    const last = groups.at(-1);
    const lastAt = last?.[0]?.at;
    const isSame = lastAt && Math.floor(Date.parse(lastAt) / (10_000 * IN_ONE)) === slot;
    if (last && isSame) last.push(sample);
    else groups.push([sample]);
  }
  return groups;
}

export function Graphs({ flow }: { readonly flow: readonly FlowSample[] }) {
  const { times, flows, queue, tls } = useMemo(() => linesOf(flow), [flow]);
  return (
    <>
      <div class="graphs">
        <Chart title="Mail flow, a minute" times={times} lines={flows} format={rate} />
        <Chart title="TLS of deliveries, a minute" times={times} lines={tls} format={rate} />
        <Chart title="Queue" times={times} lines={queue} format={compact} />
      </div>
      <p class="hint zone-of-graphs">The last hour. Times: {ZONE}.</p>
    </>
  );
}

function rate(value: number): string {
  return value >= 10 || Number.isInteger(value) ? compact(Math.round(value)) : value.toFixed(1);
}

type CountKey =
  | 'received'
  | 'delivered'
  | 'deferred'
  | 'bounced'
  | 'verified'
  | 'encrypted'
  | 'clear';

function linesOf(flow: readonly FlowSample[]) {
  const groups = grouped(flow);
  const perMinute = (key: CountKey) =>
    groups.map((group) => {
      const seconds = group.reduce((sum, sample) => sum + sample.seconds, 0);
      const count = group.reduce((sum, sample) => sum + sample[key], 0);
      return seconds === 0 ? 0 : (60 * count) / seconds;
    });
  const atEnd = (key: keyof FlowSample['queue']) =>
    groups.map((group) => group.at(-1)?.queue[key] ?? 0);
  return {
    times: groups.map((group) => Math.round(Date.parse(group.at(-1)?.at ?? '') / 1000)),
    flows: [
      { label: 'Received', colour: 'line-blue', values: perMinute('received') },
      { label: 'Delivered', colour: 'line-green', values: perMinute('delivered'), fill: true },
      { label: 'Deferred', colour: 'line-amber', values: perMinute('deferred') },
      { label: 'Bounced', colour: 'line-red', values: perMinute('bounced') },
    ],
    tls: [
      { label: 'Verified', colour: 'line-green', values: perMinute('verified'), fill: true },
      { label: 'Encrypted', colour: 'line-blue', values: perMinute('encrypted') },
      { label: 'Clear text', colour: 'line-red', values: perMinute('clear') },
    ],
    queue: [
      { label: 'Delayed', colour: 'line-blue', values: atEnd('delayed'), fill: true },
      { label: 'Parked', colour: 'line-amber', values: atEnd('parked') },
      { label: 'Held', colour: 'line-violet', values: atEnd('held') },
      { label: 'Due', colour: 'line-green', values: atEnd('due') },
    ],
  };
}
