/**
 * What the dashboards are made of, on top of Grafana's SDK: a panel is a question, its answer in
 * PromQL, a unit, what healthy looks like and the section of the runbook; the rest is the same
 * for all. The JSON in ../dashboards is generated (`node test/support/write-docs.ts`).
 */
import { PanelBuilder as BarGauge } from '@grafana/grafana-foundation-sdk/bargauge';
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import * as common from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TimeSeries } from '@grafana/grafana-foundation-sdk/timeseries';

/** One curve, or several by label: PromQL and what it is called in the legend. */
export type Query = readonly [expr: string, legend: string];

export interface PanelSpec {
  /** A question. */
  readonly title: string;
  /** What healthy looks like. */
  readonly healthy: string;
  /** Grafana's id of it. */
  readonly unit: string;
  /** Heading in docs/operations.md, as an anchor. */
  readonly runbook: string;
  readonly queries: readonly Query[];
  /** Of 24 columns; default 8. */
  readonly span?: number;
  /** From these values on it is yellow, and red; for what is bad when it is small, say so. */
  readonly limits?: { readonly yellow: number; readonly red: number; readonly isFloor?: true };
  readonly min?: number;
  readonly max?: number;
  /** Of a single number: what stands there when there is none. */
  readonly nothing?: string;
}

/** Signs of a downgrade that are a resolver or a policy host in trouble nearly always: as a regex. */
export const OUR_OWN = 'dns-failure|record-lookup-failed|fetch-failed';

const SOURCE = { type: 'prometheus', uid: '$datasource' };
/** The list of the dashboard, where everything begins. */
const TAG = 'stsrelay';
const LAST = new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false);
const STAT_HEIGHT = 4;
const HEIGHT = 8;
const DEFAULT_SPAN = 8;

/** One number, now: the last one of a relay that is away would look well. */
export function stat(spec: PanelSpec): Builder<dashboard.Panel> {
  const panel = new Stat()
    .colorMode(common.BigValueColorMode.Background)
    .graphMode(common.BigValueGraphMode.None)
    .reduceOptions(LAST)
    .height(STAT_HEIGHT)
    .noValue(spec.nothing ?? 'no data');
  return finish(panel, spec, true);
}

/** The same, of something that is either so (1) or not (0). */
export function yesNo(spec: Omit<PanelSpec, 'unit' | 'limits'>): Builder<dashboard.Panel> {
  const panel = new Stat()
    .colorMode(common.BigValueColorMode.Background)
    .graphMode(common.BigValueGraphMode.None)
    .reduceOptions(LAST)
    .height(STAT_HEIGHT)
    .noValue('no answer')
    .mappings([
      {
        type: dashboard.MappingType.ValueToText,
        options: { '0': { text: 'no', index: 0 }, '1': { text: 'yes', index: 1 } },
      },
    ]);
  return finish(
    panel,
    { ...spec, unit: 'short', limits: { yellow: 1, red: 1, isFloor: true } },
    true,
  );
}

/** Over time. */
export function curves(spec: PanelSpec, { stacked = false } = {}): Builder<dashboard.Panel> {
  const panel = new TimeSeries()
    .height(HEIGHT)
    .lineWidth(1)
    .fillOpacity(stacked ? 30 : 5)
    .showPoints(common.VisibilityMode.Never)
    .legend(
      new common.VizLegendOptionsBuilder()
        .displayMode(common.LegendDisplayMode.Table)
        .placement(common.LegendPlacement.Bottom)
        .showLegend(true)
        .calcs(['lastNotNull', 'max']),
    )
    .tooltip(
      new common.VizTooltipOptionsBuilder()
        .mode(common.TooltipDisplayMode.Multi)
        .sort(common.SortOrder.Descending),
    );
  if (stacked) {
    panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal));
  }
  return finish(panel, { min: 0, ...spec });
}

/** The largest ones, now. */
export function ranking(spec: PanelSpec): Builder<dashboard.Panel> {
  const panel = new BarGauge()
    .reduceOptions(LAST)
    .height(HEIGHT)
    .displayMode(common.BarGaugeDisplayMode.Basic)
    .orientation(common.VizOrientation.Horizontal)
    .noValue('none');
  return finish(panel, { min: 0, ...spec }, true);
}

type AnyPanel = Stat | TimeSeries | BarGauge;

function finish(panel: AnyPanel, spec: PanelSpec, isInstant = false): AnyPanel {
  const { title, healthy, unit, runbook, queries, span = DEFAULT_SPAN, limits, min, max } = spec;
  const { Palette, steps } = colours(limits);
  panel
    .title(title)
    .description(`Healthy: ${healthy}`)
    .unit(unit)
    .span(span)
    .datasource(SOURCE)
    .links([link('What to do (runbook)', `\${runbook}#${runbook}`)])
    .colorScheme(new dashboard.FieldColorBuilder().mode(Palette))
    .thresholds(
      new dashboard.ThresholdsConfigBuilder()
        .mode(dashboard.ThresholdsMode.Absolute)
        .steps([...steps]),
    );
  if (min !== undefined) panel.min(min);
  if (max !== undefined) panel.max(max);
  for (const [i, [expr, legend]] of queries.entries()) {
    const query = new DataqueryBuilder()
      .datasource(SOURCE)
      .refId(String.fromCharCode(65 + i))
      .expr(expr)
      .legendFormat(legend);
    panel.withTarget(isInstant ? query.instant() : query.range().exemplar(true));
  }
  return panel;
}

function colours(limits: PanelSpec['limits']) {
  const none = null as unknown as number; // the first step has no value
  if (!limits) {
    return {
      Palette: dashboard.FieldColorModeId.PaletteClassic,
      steps: [{ color: 'blue', value: none }],
    };
  }
  const { yellow, red, isFloor } = limits;
  const middle = yellow === red ? [] : [{ color: 'yellow', value: isFloor ? red : yellow }];
  const last = isFloor ? yellow : red;
  return {
    Palette: dashboard.FieldColorModeId.Thresholds,
    steps: [
      { color: isFloor ? 'red' : 'green', value: none },
      ...middle,
      { color: isFloor ? 'green' : 'red', value: last },
    ],
  };
}

function link(title: string, url: string): dashboard.DashboardLinkBuilder {
  return new dashboard.DashboardLinkBuilder(title)
    .type(dashboard.DashboardLinkType.Link)
    .url(url)
    .targetBlank(true);
}

export interface DashboardSpec {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly (readonly [title: string, panels: readonly Builder<dashboard.Panel>[]])[];
}

/** The whole dashboard, with the variables, links and annotations that all have. */
export function assemble({ uid, title, description, rows }: DashboardSpec): dashboard.Dashboard {
  const board = new dashboard.DashboardBuilder(`stsrelay: ${title}`)
    .uid(uid)
    .description(description)
    .tags([TAG])
    .time({ from: 'now-6h', to: 'now' })
    .refresh('30s')
    .timezone('browser')
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .readonly()
    .link(otherBoards());
  for (const variable of VARIABLES) board.withVariable(variable);
  for (const annotation of ANNOTATIONS) board.annotation(annotation);
  for (const [name, panels] of rows) {
    board.withRow(new dashboard.RowBuilder(name));
    for (const panel of panels) board.withPanel(panel);
  }
  const built = withoutPlaces(board.build());
  return { ...built, panels: (built.panels ?? []).map((panel, i) => ({ ...panel, id: i + 1 })) };
}

/** The SDK puts links and annotations into a menu; they are to be seen. */
function withoutPlaces(built: dashboard.Dashboard): dashboard.Dashboard {
  const text = JSON.stringify(built, (key, value: unknown) =>
    key === 'placement' && value === 'inControlsMenu' ? undefined : value,
  );
  return JSON.parse(text) as dashboard.Dashboard;
}

function otherBoards(): dashboard.DashboardLinkBuilder {
  return new dashboard.DashboardLinkBuilder('stsrelay')
    .type(dashboard.DashboardLinkType.Dashboards)
    .tags([TAG])
    .asDropdown(false)
    .includeVars(true)
    .keepTime(true);
}

function choice(name: string, label: string, query: string): dashboard.QueryVariableBuilder {
  return new dashboard.QueryVariableBuilder(name)
    .label(label)
    .datasource(SOURCE)
    .query(query)
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue('.*')
    .current({ selected: true, text: 'All', value: '$__all' });
}

const VARIABLES: readonly Builder<dashboard.VariableModel>[] = [
  new dashboard.DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'),
  choice('instance', 'relay', 'label_values(stsrelay_build_info, instance)'),
  choice(
    'destination',
    'destination',
    'label_values(stsrelay_destination_recipients_total{instance=~"$instance"}, destination)',
  ),
  new dashboard.TextBoxVariableBuilder('runbook')
    .label('runbook')
    .description('Where your copy of docs/operations.md is.')
    .defaultValue('https://runbooks.example.net/stsrelay/operations.md'),
];

function annotation(name: string, colour: string, expr: string): dashboard.AnnotationQueryBuilder {
  const query = new DataqueryBuilder().expr(expr).refId('Anno').range();
  return new dashboard.AnnotationQueryBuilder()
    .name(name)
    .enable(true)
    .iconColor(colour)
    .datasource(SOURCE)
    .target(query)
    .expr(expr)
    .step('60s')
    .titleFormat(name)
    .textFormat('{{instance}}')
    .tagKeys('instance');
}

const ANNOTATIONS = [
  annotation(
    'configuration reloaded',
    'blue',
    'sum by (instance, result) (changes(stsrelay_config_reloads_total{instance=~"$instance"}[1m])) > 0',
  ),
  annotation(
    'hosts closed by their breaker, or back',
    'orange',
    'sum by (instance, change) (changes(stsrelay_breaker_changes_total{instance=~"$instance"}[1m])) > 0',
  ),
  annotation(
    'relay started',
    'purple',
    'changes(stsrelay_process_start_timestamp_seconds{instance=~"$instance"}[1m]) > 0',
  ),
];
