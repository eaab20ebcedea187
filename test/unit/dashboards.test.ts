/**
 * Dashboards, alerts and the runbook fit together and fit the metrics. No Grafana is asked: the
 * dashboards are built with the types of Grafana's SDK, which the compiler checks, and what those do
 * not say (places, references, what every panel must have) is checked here.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AnyFamily } from '../../src/telemetry/families/family.ts';
import { FAMILIES, PREFIX } from '../../src/telemetry/metrics.ts';
import {
  ALERTMANAGER_FILE,
  type Board,
  concrete,
  type Panel,
  RULES_FILE,
  RUNBOOK,
  readAlertmanager,
  readBoards,
  readRules,
  readScenarios,
  runbookSections,
  SCENARIO_FILES,
  selectorsOf,
} from '../support/dashboards.ts';
import { amtool, amtoolMissing, prometheusMissing, promtool } from '../support/prometheus.ts';

const BOARDS = readBoards();
const RULES = readRules();
const ALERTMANAGER = readAlertmanager();
const ALERTS = RULES.filter(({ alert }) => alert !== undefined);
const families = Object.values<AnyFamily>(FAMILIES);

/** Every name a sample of ours can have, with the labels that it has. */
const SAMPLES = new Map<string, ReadonlySet<string>>();
for (const { name, type, labels = {} } of families) {
  const all = new Set([...Object.keys(labels), 'instance', 'job']);
  if (type !== 'histogram') SAMPLES.set(PREFIX + name, all);
  else {
    SAMPLES.set(`${PREFIX}${name}_bucket`, new Set([...all, 'le']));
    for (const part of ['_sum', '_count']) SAMPLES.set(PREFIX + name + part, all);
  }
}
SAMPLES.set('up', new Set(['instance', 'job']));
for (const { record, expr } of RULES) {
  const [, by = ''] = /by \(([^)]*)\)/.exec(expr) ?? [];
  if (record) SAMPLES.set(record, new Set(by.split(', ').filter((label) => label !== 'le')));
}

/** Names and labels that nothing has. */
function strangers(expr: string): readonly string[] {
  return selectorsOf(expr).flatMap((selector) => {
    const [, name = '', inner = ''] = /^([^{]+)(?:\{(.*)\})?$/.exec(selector) ?? [];
    const known = SAMPLES.get(name);
    if (!known) return [name];
    const used = [...inner.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label);
    return used.filter((label) => !known.has(label)).map((label) => `${name}{${label}}`);
  });
}

const realPanels = ({ panels }: Board): readonly Panel[] =>
  panels.filter(({ type }) => type !== 'row');

const RUNBOOK_ANCHORS = new Set(runbookSections().map(({ anchor }) => anchor));

describe('the dashboards', () => {
  test('are three, with ids of their own', () => {
    assert.equal(BOARDS.length, 3);
    assert.equal(new Set(BOARDS.map(({ uid }) => uid)).size, 3);
    for (const { schemaVersion, tags } of BOARDS) {
      assert.ok(schemaVersion >= 36);
      assert.deepEqual(tags, ['stsrelay']);
    }
  });

  for (const board of BOARDS) {
    test(`${board.file}: each panel asks, and says what healthy looks like and what to do`, () => {
      const panels = realPanels(board);
      assert.ok(panels.length >= 15);
      assert.equal(new Set(panels.map(({ title }) => title)).size, panels.length);
      for (const { title, description, fieldConfig, links, targets, datasource } of panels) {
        assert.match(title, /\?(?: \([^)]+\))?$/, title);
        assert.match(description ?? '', /^Healthy: \S.{3,}\.$/, title);
        assert.ok((fieldConfig?.defaults.unit ?? '') !== '', title);
        assert.equal(datasource?.uid, '$datasource', title);
        assert.ok((targets ?? []).length > 0, title);
        const [, section = ''] = /^\$\{runbook\}#(.+)$/.exec(links?.[0]?.url ?? '') ?? [];
        assert.ok(RUNBOOK_ANCHORS.has(section), `${title}: no section ${section}`);
      }
    });

    test(`${board.file}: panels lie in 24 columns, none on another`, () => {
      const taken = new Set<string>();
      for (const { title, gridPos } of board.panels) {
        const { x, y, w, h } = gridPos;
        assert.ok(w > 0 && h > 0 && x + w <= 24, title);
        for (let i = x; i < x + w; i += 1) {
          for (let j = y; j < y + h; j += 1) {
            assert.ok(!taken.has(`${i} ${j}`), `${title} lies on another`);
            taken.add(`${i} ${j}`);
          }
        }
      }
    });

    test(`${board.file}: queries use metrics, labels and variables that are there`, () => {
      const variables = new Set(board.templating.list.map(({ name }) => name));
      const queries = realPanels(board).flatMap(({ targets = [] }) =>
        targets.map(({ expr }) => expr),
      );
      for (const expr of [...queries, ...board.annotations.list.map((one) => one.expr)]) {
        assert.deepEqual(strangers(concrete(expr)), [], expr);
        assert.match(expr, /\$instance/);
        for (const [, name = ''] of expr.matchAll(/\$(\w+)/g)) {
          assert.ok(name.startsWith('__') || variables.has(name), `${name} in ${expr}`);
        }
      }
    });
  }

  test('show every family', () => {
    const queries = (board: Board) => realPanels(board).flatMap(({ targets = [] }) => targets);
    const all = BOARDS.flatMap((board) => [...queries(board), ...board.annotations.list])
      .map(({ expr }) => expr)
      .join('\n');
    const recorded = RULES.filter(({ record }) => record && all.includes(record));
    const asked = [all, ...recorded.map(({ expr }) => expr)].join('\n');
    const unseen = families
      .map(({ name }) => PREFIX + name)
      .filter((name) => !asked.includes(name));
    assert.deepEqual(unseen, []);
  });
});

describe('the alerts', () => {
  test('have severity, words with numbers, and a section of the runbook each', () => {
    assert.ok(ALERTS.length >= 12);
    const linked = ALERTS.map(({ alert = '', labels, annotations }) => {
      assert.match(labels?.['severity'] ?? '', /^(?:critical|warning)$/, alert);
      assert.match(annotations?.['summary'] ?? '', /^.{10,120}$/s, alert);
      assert.match(annotations?.['description'] ?? '', /\d|\$value/, alert);
      const [, section = ''] =
        /^https:\/\/[^#]+\/operations\.md#(.+)$/.exec(annotations?.['runbook_url'] ?? '') ?? [];
      return `${section}: ${alert}, ${labels?.['severity']}`;
    });
    const told = runbookSections().flatMap(({ anchor, alerts }) =>
      alerts.map(([alert, severity]) => `${anchor}: ${alert}, ${severity}`),
    );
    assert.deepEqual(told.sort(), linked.sort());
  });

  test('ask for metrics and labels that are there', () => {
    for (const { expr } of RULES) assert.deepEqual(strangers(expr), [], expr);
  });

  test('promtool check rules', { skip: prometheusMissing }, () => {
    const { code, output } = promtool(['check', 'rules', RULES_FILE]);
    assert.equal(code, 0, output);
  });

  test('promtool test rules: each fires when it should, and not otherwise', {
    skip: prometheusMissing,
  }, () => {
    const { code, output } = promtool(['test', 'rules', ...SCENARIO_FILES]);
    assert.equal(code, 0, output);
  });
});

describe('the alerts that hide others', () => {
  const { inhibit_rules: inhibitions } = ALERTMANAGER;
  const byName = new Map(ALERTS.map((rule) => [rule.alert ?? '', rule]));
  const named = (matchers: readonly string[]) =>
    matchers.flatMap((matcher) => {
      const [, names = ''] = /^alertname =~? "([A-Za-z|]+)"$/.exec(matcher) ?? [];
      return names.split('|').map((name) => {
        const rule = byName.get(name);
        assert.ok(rule, `${name} in ${matcher}`);
        return { name, severity: rule.labels?.['severity'] };
      });
    });

  test('are critical; what they hide is a warning, but for a relay that is down', () => {
    assert.ok(inhibitions.length > 0);
    for (const { source_matchers: sources, target_matchers: targets, equal } of inhibitions) {
      assert.deepEqual(equal, ['instance']);
      const hiding = named(sources);
      const isDown = hiding.every(({ name }) => name === 'StsrelayDown');
      assert.ok(hiding.every(({ severity }) => severity === 'critical'));
      assert.ok(named(targets).every(({ severity }) => isDown || severity === 'warning'));
    }
  });

  test('hide nothing that hides them', () => {
    const hides = inhibitions.flatMap(({ source_matchers: sources, target_matchers: targets }) =>
      named(sources).flatMap((by) => named(targets).map(({ name }) => [by.name, name] as const)),
    );
    const hiddenBy = (name: string): readonly string[] => {
      const next = hides.filter(([by]) => by === name).map(([, hidden]) => hidden);
      return [...next, ...next.flatMap(hiddenBy)];
    };
    for (const [by] of hides) assert.ok(!hiddenBy(by).includes(by), by);
  });

  test('amtool check-config', { skip: amtoolMissing }, () => {
    const { code, output } = amtool(['check-config', ALERTMANAGER_FILE]);
    assert.equal(code, 0, output);
  });
});

// Commands, events and metrics in it: docs.test.ts.
test('the runbook names panels that exist', () => {
  const titles = BOARDS.flatMap((board) => realPanels(board).map(({ title }) => title));
  const panels = [...RUNBOOK.matchAll(/(?<!\*)\*([A-Z][^*\n]*\?)\*(?!\*)/g)];
  assert.ok(panels.length > 5);
  for (const [, title = ''] of panels) {
    assert.ok(
      titles.some((one) => one.startsWith(title)),
      title,
    );
  }
});

test('every alert has a scenario in which it fires, and one in which it does not', () => {
  const scenarios = readScenarios();
  for (const { alert = '' } of ALERTS) {
    const checks = scenarios.filter(({ expr }) => expr.includes(`"${alert}"`));
    assert.ok(
      checks.some(({ exp_samples: samples = [] }) => samples.length > 0),
      `${alert} fires`,
    );
    assert.ok(
      checks.some(({ exp_samples: samples = [] }) => samples.length === 0),
      `${alert} is silent`,
    );
  }
});
