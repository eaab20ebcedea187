/**
 * A graph of the last hour (uPlot), which follows the colours of the page. Beside it stand the numbers, the latest,
 * or those under the pointer; for who does not see it, what it shows in a sentence.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { theme } from './theme.ts';

export interface Line {
  readonly label: string;
  /** A custom property of the style sheet. */
  readonly colour: string;
  readonly values: readonly number[];
  readonly fill?: boolean;
}

export interface ChartProps {
  readonly title: string;
  /** Seconds since the epoch. */
  readonly times: readonly number[];
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
}

const HEIGHT = 150;
const HOUR = 3600;
const SHORTEST = 600;

export function Chart({ title, times, lines, format }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const [at, setAt] = useState<number | undefined>(undefined);
  const scheme = theme.value;
  // The lines stay the same, their values change below
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const made = new uPlot(optionsOf({ lines, format, width: element.clientWidth, setAt }), [
      [],
      ...lines.map(() => []),
    ]);
    element.replaceChildren(made.root);
    plot.current = made;
    const watch = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
    };
  }, []);
  useEffect(() => {
    plot.current?.setData([[...times], ...lines.map(({ values }) => [...values])]);
  }, [times, lines]);
  // Other colours are drawn anew
  useEffect(() => plot.current?.redraw(false), [scheme]);
  const shown = at ?? times.length - 1;
  return (
    <figure class="chart">
      <figcaption>
        <h3>{title}</h3>
        <ul class="legend">
          {lines.map(({ label, colour, values }) => (
            <li key={label}>
              <span class={`swatch ${colour}`} aria-hidden="true" />
              <span>{label}</span> <b>{format(values[shown] ?? 0)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={place} class="plot" role="img" aria-label={describe(title, lines, format)} />
    </figure>
  );
}

function describe(title: string, lines: readonly Line[], format: ChartProps['format']): string {
  const parts = lines.map(({ label, values }) => {
    const most = values.reduce((peak, value) => Math.max(peak, value), 0);
    return `${label}: now ${format(values.at(-1) ?? 0)}, at most ${format(most)}`;
  });
  return `${title}, the last hour. ${parts.join('; ')}.`;
}

/** A colour of the style sheet as a canvas takes it; the other scheme has another one. */
function colourOf(name: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function fillOf(name: string): string {
  return colourOf(name).replace(/^rgb\((.*)\)$/, 'rgba($1, 0.12)');
}

/** Between the lines of a scale: messages are counted, there are no halves. */
const STEPS = Array.from({ length: 10 }, (_, zeros) =>
  [1, 2, 5].map((digit) => digit * 10 ** zeros),
).flat();

function optionsOf({
  lines,
  format,
  width,
  setAt,
}: Pick<ChartProps, 'lines' | 'format'> & {
  readonly width: number;
  readonly setAt: (index: number | undefined) => void;
}): uPlot.Options {
  const axis = {
    stroke: () => colourOf('chart-text'),
    grid: { stroke: () => colourOf('chart-grid'), width: 1 },
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  };
  return {
    width: Math.max(width, 100),
    height: HEIGHT,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6, width: 1 }, drag: { x: false, y: false } },
    scales: {
      x: { range: (_plot, least, most) => [beginOf(least, most), most] },
      y: { range: (_plot, _least, most) => [0, Math.max(1, (most ?? 0) * 1.1)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 26,
        space: 70,
        values: (_plot, ticks) => ticks.map(hourAndMinute),
      },
      { ...axis, size: 44, space: 34, incrs: STEPS, values: (_plot, ticks) => ticks.map(format) },
    ],
    series: [
      {},
      ...lines.map(({ label, colour, fill }) => ({
        label,
        stroke: () => colourOf(colour),
        ...(fill ? { fill: () => fillOf(colour) } : {}),
        width: 1.5,
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [(plot) => setAt(plot.cursor.idx ?? undefined)] },
  };
}

/** A relay that was started lately has no hour to show. */
function beginOf(least: number, most: number): number {
  return Math.max(most - HOUR, Math.min(least, most - SHORTEST));
}

function hourAndMinute(seconds: number): string {
  return new Date(seconds * 1000).toTimeString().slice(0, 5);
}
