/**
 * A dashboard as a picture (SVG), with answers of a Prometheus: what it shows, not how Grafana draws it.
 * Places, titles, units, legends and limits are those of the dashboard; see draw-dashboards.ts.
 */
import { BarChart, LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent } from 'echarts/components';
import { init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import type { Panel } from './dashboards.ts';

use([BarChart, LineChart, GridComponent, LegendComponent, SVGRenderer]);

/** Of the dashboard's 24 columns, and of its rows. */
const COLUMN = 54;
const ROW = 27;
const GAP = 4;
const TITLE = 26;
const MOST_CURVES = 10;
/** Width of one in a legend, about. */
const LETTER = 5.2;
const TEXT = '#24292f';
const FAINT = '#6e7781';
const COLOURS = [
  ...['#3274d9', '#56a64b', '#e0b400', '#e02f44', '#8f3bb8', '#37872d', '#ff780a', '#1f60c4'],
  ...['#b877d9', '#96d98d'],
];
const BACKGROUNDS: Readonly<Record<string, string>> = {
  green: '#56a64b',
  yellow: '#e0b400',
  red: '#e02f44',
  blue: '#3274d9',
};

/** A curve, or its last point alone. */
export interface Curve {
  readonly name: string;
  /** Seconds from the left edge. */
  readonly points: readonly (readonly [seconds: number, value: number])[];
}

/** The whole dashboard; `curvesOf` asks for what a panel shows. */
export async function drawBoard(
  panels: readonly Panel[],
  curvesOf: (panel: Panel) => Promise<readonly Curve[]>,
): Promise<string> {
  const height = Math.max(...panels.map(({ gridPos: { y, h } }) => y + h)) * ROW;
  const parts = [];
  for (const panel of panels) {
    const { w, h } = panel.gridPos;
    const size = { width: w * COLUMN - GAP, height: h * ROW - GAP };
    const inner = panel.type === 'row' ? '' : drawPanel(panel, await curvesOf(panel), size);
    const title = drawTitle(panel);
    const frame =
      panel.type === 'row'
        ? ''
        : `<rect width="${size.width}" height="${size.height}" fill="#fff" stroke="#d0d7de"/>`;
    parts.push(`${placed(panel)}${frame}${inner}${title}</g>`);
  }
  const width = 24 * COLUMN;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif"><rect width="${width}" height="${height}" fill="#f6f8fa"/>${parts.join('\n')}</svg>\n`;
}

/** One panel of a drawn dashboard as a picture of its own. */
export function cutPanel(board: string, panels: readonly Panel[], title: string): string {
  const at = panels.findIndex((panel) => panel.title === title);
  const panel = panels[at];
  if (!panel) throw new Error(`no panel ${title}`);
  const start = board.indexOf(placed(panel));
  const next = panels[at + 1];
  const end = next ? board.indexOf(`\n${placed(next)}`, start) : board.lastIndexOf('</svg>');
  if (start === -1 || end === -1) throw new Error(`draw the dashboards again: no ${title}`);
  const { w, h } = panel.gridPos;
  const inner = board.slice(start + placed(panel).length, end);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w * COLUMN - GAP} ${h * ROW - GAP}" font-family="sans-serif"><g>${inner}</svg>\n`;
}

function placed({ gridPos: { x, y } }: Panel): string {
  return `<g transform="translate(${x * COLUMN} ${y * ROW})">`;
}

/** Of numbers on two lines: those are narrow. */
function drawTitle({ type, title }: Panel): string {
  if (type === 'row') return text(title, 6, 19, 14);
  if (type !== 'stat') return text(title, 8, 18, 11.5);
  const at = title.length > 34 ? title.lastIndexOf(' ', 34) : title.length;
  return text(title.slice(0, at), 8, 11, 10) + text(title.slice(at).trim(), 8, 22, 10);
}

interface Size {
  readonly width: number;
  readonly height: number;
}

function drawPanel(panel: Panel, curves: readonly Curve[], size: Size): string {
  if (panel.type === 'stat') return drawNumber(panel, curves, size);
  const chart = init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: size.width,
    height: size.height - TITLE,
  });
  const unit = panel.fieldConfig?.defaults.unit ?? '';
  const isRanking = panel.type === 'bargauge';
  chart.setOption({
    animation: false,
    color: COLOURS,
    ...(isRanking ? ranking(curves, unit) : overTime(curves, unit, size.width)),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  // A tenth of a pixel is enough.
  const smaller = svg.replaceAll(/\d+\.\d{2,}/g, (number) => String(+Number(number).toFixed(1)));
  return smaller.replace('<svg ', `<svg y="${TITLE}" `);
}

function overTime(curves: readonly Curve[], unit: string, width: number) {
  const largest = (curve: Curve) => Math.max(0, ...curve.points.map(([, value]) => value));
  const some = curves.filter((curve) => largest(curve) > 0);
  const shown = (some.length > 0 ? some : curves)
    .toSorted((a, b) => largest(b) - largest(a))
    .slice(0, MOST_CURVES);
  const letters = shown.reduce((sum, { name }) => sum + name.length + 6, 0);
  const rows = Math.ceil((letters * LETTER) / (width - 60));
  return {
    grid: { left: 56, right: 12, top: 6, bottom: 26 + rows * 14 },
    legend: {
      bottom: 0,
      itemWidth: 10,
      itemHeight: 3,
      itemGap: 8,
      textStyle: { fontSize: 9.5, color: TEXT },
    },
    xAxis: {
      type: 'value',
      min: 'dataMin',
      max: 'dataMax',
      interval: 30,
      splitLine: { show: false },
      axisLabel: { fontSize: 9, color: FAINT, formatter: minutes },
    },
    yAxis: {
      type: 'value',
      min: 0,
      splitNumber: 4,
      axisLabel: { fontSize: 9, color: FAINT, formatter: (value: number) => spell(value, unit) },
    },
    series: shown.map(({ name, points }) => ({
      name,
      type: 'line',
      symbol: 'none',
      lineStyle: { width: 1.3 },
      silent: true,
      data: points,
    })),
  };
}

function ranking(curves: readonly Curve[], unit: string) {
  const sorted = curves.toSorted((a, b) => lastOf(a) - lastOf(b)).slice(-MOST_CURVES);
  return {
    grid: { left: 230, right: 60, top: 6, bottom: 10 },
    xAxis: { type: 'value', show: false, min: 0 },
    yAxis: {
      type: 'category',
      data: sorted.map(({ name }) => name),
      axisLabel: { fontSize: 9.5, color: TEXT },
    },
    series: [
      {
        type: 'bar',
        silent: true,
        barMaxWidth: 16,
        data: sorted.map(lastOf),
        label: {
          show: true,
          position: 'right',
          fontSize: 9.5,
          formatter: ({ value }: { value: unknown }) => spell(Number(value), unit),
        },
      },
    ],
  };
}

const lastOf = ({ points }: Curve): number => points.at(-1)?.[1] ?? 0;

function drawNumber({ fieldConfig }: Panel, [curve]: readonly Curve[], size: Size): string {
  const { unit = '', thresholds, mappings, noValue = '' } = fieldConfig?.defaults ?? {};
  const value = curve && lastOf(curve);
  const steps = thresholds?.steps ?? [];
  const step = steps.findLast(({ value: from }) => from === null || (value ?? 0) >= from);
  const word = mappings?.[0]?.options[String(value)]?.text;
  const shown = value === undefined ? noValue : (word ?? spell(value, unit));
  const fill = value === undefined ? FAINT : BACKGROUNDS[step?.color ?? ''];
  const middle = { x: size.width / 2, y: size.height - 22 };
  return `<rect y="${TITLE}" width="${size.width}" height="${size.height - TITLE}" fill="${fill}"/><text x="${middle.x}" y="${middle.y}" font-size="26" fill="#fff" text-anchor="middle">${escaped(shown)}</text>`;
}

/** As Grafana would, more or less. */
function spell(value: number, unit: string): string {
  const short = (number: number) => String(+number.toPrecision(3));
  if (unit === 's') return spellSeconds(value);
  if (unit === 'percentunit') return `${short(value * 100)} %`;
  if (unit === 'bytes')
    return value >= 2 ** 30 ? `${short(value / 2 ** 30)} GiB` : `${short(value / 2 ** 20)} MiB`;
  return unit === 'mpm' || unit === 'cpm' ? `${short(value)}/min` : short(value);
}

function minutes(seconds: number): string {
  const rest = Math.round(seconds % 60);
  return `${Math.floor(seconds / 60)}:${String(rest).padStart(2, '0')}`;
}

const SPANS = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
  [1, 's'],
] as const;

function spellSeconds(seconds: number): string {
  const [length, name] = SPANS.find(([span]) => seconds >= span) ?? [0.001, 'ms'];
  return seconds === 0 ? '0' : `${+(seconds / length).toPrecision(3)} ${name}`;
}

function text(content: string, x: number, y: number, size: number): string {
  return `<text x="${x}" y="${y}" font-size="${size}" font-weight="600" fill="${TEXT}">${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
