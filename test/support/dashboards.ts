/** The committed dashboards and rules, as the tests read them. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const ROOT = new URL('../../', import.meta.url);
const BOARDS = new URL('grafana/dashboards/', ROOT);

export const RULES_FILE = fileURLToPath(new URL('deploy/prometheus/stsrelay.rules.yml', ROOT));
export const ALERTMANAGER_FILE = fileURLToPath(new URL('deploy/prometheus/alertmanager.yml', ROOT));
export const SCENARIO_FILES = ['stsrelay.rules.test.yml', 'stsrelay.rules.day.test.yml'].map(
  (name) => fileURLToPath(new URL(`deploy/prometheus/${name}`, ROOT)),
);

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly links?: readonly { readonly url: string }[];
  readonly fieldConfig?: {
    readonly defaults: {
      readonly unit?: string;
      readonly noValue?: string;
      readonly thresholds?: {
        readonly steps: readonly { readonly color: string; readonly value: number | null }[];
      };
      readonly mappings?: readonly {
        readonly options: Readonly<Record<string, { readonly text: string }>>;
      }[];
    };
  };
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly {
    readonly expr: string;
    readonly refId: string;
    readonly legendFormat?: string;
    readonly instant?: boolean;
  }[];
}

export interface Board {
  readonly file: string;
  readonly uid: string;
  readonly title: string;
  readonly tags: readonly string[];
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string }[] };
  readonly annotations: {
    readonly list: readonly { readonly name: string; readonly expr: string }[];
  };
}

export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export function readBoards(): readonly Board[] {
  return readdirSync(BOARDS).map((file) => {
    const board = JSON.parse(readFileSync(new URL(file, BOARDS), 'utf8')) as Omit<Board, 'file'>;
    return { file, ...board };
  });
}

export function readRules(): readonly Rule[] {
  const { groups } = parse(readFileSync(RULES_FILE, 'utf8')) as {
    groups: readonly { readonly rules: readonly Rule[] }[];
  };
  return groups.flatMap(({ rules }) => rules);
}

/** What Alertmanager does with the alerts. */
export interface Alertmanager {
  readonly inhibit_rules: readonly {
    readonly source_matchers: readonly string[];
    readonly target_matchers: readonly string[];
    readonly equal: readonly string[];
  }[];
}

export function readAlertmanager(): Alertmanager {
  return parse(readFileSync(ALERTMANAGER_FILE, 'utf8')) as Alertmanager;
}

/** One question of a scenario, and what must be the answer. */
export interface Check {
  readonly expr: string;
  readonly exp_samples?: readonly unknown[];
}

export function readScenarios(): readonly Check[] {
  return SCENARIO_FILES.flatMap((file) => {
    const { tests } = parse(readFileSync(file, 'utf8')) as {
      tests: readonly { readonly promql_expr_test: readonly Check[] }[];
    };
    return tests.flatMap(({ promql_expr_test: checks }) => checks);
  });
}

export const RUNBOOK = readFileSync(new URL('docs/operations.md', ROOT), 'utf8');

export interface RunbookSection {
  /** The part of an address behind `#`. */
  readonly anchor: string;
  /** The alerts it begins with, `*StsrelayDown, critical.*`, each with its severity; none: it is about something else. */
  readonly alerts: readonly (readonly [alert: string, severity: string])[];
}

export function runbookSections(): readonly RunbookSection[] {
  return RUNBOOK.split(/^## /m)
    .slice(1)
    .map((section) => {
      const [heading = '', ...lines] = section.split('\n');
      const [, named = ''] = /^\s*\*(Stsrelay[^*]*)\.\*/.exec(lines.join('\n')) ?? [];
      const anchor = heading
        .toLowerCase()
        .replaceAll(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-');
      const alerts = [...named.matchAll(/(Stsrelay\w+), (\w+)/g)];
      return { anchor, alerts: alerts.map(([, alert = '', severity = '']) => [alert, severity]) };
    });
}

/** What is asked about one metric: `name` or `name{…}`, of ours and of Prometheus about us. */
export function selectorsOf(expr: string): readonly string[] {
  return [...expr.matchAll(/\b(?:stsrelay[a-zA-Z0-9_:]*|up)(?:\{[^}]*\})?/g)]
    .map(([selector]) => selector)
    .filter((selector) => selector !== 'stsrelay');
}

/** The query of a panel as Grafana would send it, for all relays and destinations. */
export function concrete(expr: string, interval = '1m'): string {
  return expr
    .replaceAll('$__rate_interval', interval)
    .replaceAll('"$instance"', '".*"')
    .replaceAll('"$destination"', '".*"');
}
