/**
 * The rules of deploy/prometheus as the Prometheus operator wants them: the same text, below the
 * head of a PrometheusRule. Copied and not rendered, so that comments and layout stay.
 */
import { readFileSync } from 'node:fs';

const RULES = new URL('../../deploy/prometheus/stsrelay.rules.yml', import.meta.url);

const HEAD = `# Generated from deploy/prometheus/stsrelay.rules.yml by test/support/write-docs.ts: edit the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: stsrelay
  labels: { app.kubernetes.io/name: stsrelay }
spec:
`;

export function renderPrometheusRule(): string {
  const text = readFileSync(RULES, 'utf8');
  const groups = text.slice(text.indexOf('groups:'));
  return HEAD + groups.replace(/^(?=.)/gm, '  ');
}
