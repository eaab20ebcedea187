/** The committed files that are generated from the code, by path from the root of the repository. */
import { DASHBOARDS } from '../../grafana/source/index.ts';
import { renderConfigurationDoc } from '../../src/config/document.ts';
import { renderLogsDoc } from '../../src/telemetry/logs-document.ts';
import { renderMetricsDoc } from '../../src/telemetry/metrics-document.ts';
import { renderTracesDoc } from '../../src/telemetry/traces/document.ts';
import { renderPrometheusRule } from './prometheus-rule.ts';
import { renderTlsDecisions } from './tls-decisions.ts';

export const GENERATED: Readonly<Record<string, () => string>> = {
  'deploy/kubernetes/monitoring/prometheusrule.yaml': renderPrometheusRule,
  'docs/configuration.md': renderConfigurationDoc,
  'docs/logs.md': renderLogsDoc,
  'docs/metrics.md': renderMetricsDoc,
  'docs/traces.md': renderTracesDoc,
  'test/fixtures/tls-decisions.txt': renderTlsDecisions,
  ...Object.fromEntries(
    Object.entries(DASHBOARDS).map(([name, build]) => [
      `grafana/dashboards/${name}`,
      () => `${JSON.stringify(build(), null, 2)}\n`,
    ]),
  ),
};
