/** The dashboards, by the name of their file in ../dashboards. */
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { mailFlow } from './mail-flow.ts';
import { relayHealth } from './relay-health.ts';
import { tlsAndPolicy } from './tls-and-policy.ts';

export const DASHBOARDS: Readonly<Record<string, () => Dashboard>> = {
  'mail-flow.json': mailFlow,
  'tls-and-policy.json': tlsAndPolicy,
  'relay-health.json': relayHealth,
};
