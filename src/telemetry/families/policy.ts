/** The families of MTA-STS policies, overrides and signs of a downgrade. */
import { DOWNGRADE_SIGNALS } from '../../mail/downgrade-signal.ts';
import { counter, gauge } from './family.ts';

const MODES = ['enforce', 'testing', 'none'] as const;
const FETCH_FAILURES = [
  'sts-policy-fetch-error',
  'sts-policy-invalid',
  'sts-webpki-invalid',
] as const;

export const POLICY_FAMILIES = {
  mtastsLookups: counter('mtasts_lookups_total', {
    help: 'MTA-STS policy look-ups of deliveries: the mode found, `absent` where nothing is published, `unknown` where that cannot be told.',
    labels: { result: [...MODES, 'absent', 'unknown'] },
    healthy: 'Mostly `absent`; `unknown` near 0.',
    alert: '`unknown` for more than a few in a hundred: our resolver, or Redis and disk at once.',
  }),
  mtastsFetches: counter('mtasts_fetches_total', {
    help: 'Policy fetches over HTTPS that a delivery needed, by result.',
    labels: { result: ['fetched', ...FETCH_FAILURES] },
    healthy: 'Few: a policy is fetched once and kept. Failures are single domains.',
    alert: 'Only failures: HTTPS out of here is blocked.',
  }),
  mtastsRefreshes: counter('mtasts_refreshes_total', {
    help: 'Policies fetched anew without a delivery that needs it, by cause and result.',
    labels: {
      cause: ['background', 'admin', 'last-attempt'],
      result: ['fetched', ...FETCH_FAILURES, 'crashed'],
    },
    healthy: 'About one a day for each policy kept, nearly all `fetched`.',
    alert: 'See `mtasts_refresh_failing_next_expiry_timestamp_seconds`.',
  }),
  mtastsRefreshOverdue: gauge('mtasts_refresh_overdue_seconds', {
    help: 'How long the background refresh of a policy that waits longest is overdue.',
    healthy: 'Below a minute.',
    alert: 'Over an hour: the refresh does not keep up, or stands still.',
  }),
  mtastsRefreshFailing: gauge('mtasts_refresh_failing_policies', {
    help: 'Policies in force whose last refresh failed, by mode.',
    labels: { mode: MODES },
    healthy: '0 or a few: policy hosts come and go. What is kept stays in force.',
    alert: 'See `mtasts_refresh_failing_next_expiry_timestamp_seconds`.',
  }),
  mtastsRefreshFailingExpiry: gauge('mtasts_refresh_failing_next_expiry_timestamp_seconds', {
    help: 'When the first of the enforce policies expires whose last refresh failed; 0 when there is none.',
    healthy: '0, or far away.',
    alert:
      'Within two days: afterwards mail for that domain goes without the protection of its policy.',
  }),
  mtastsCacheEntries: gauge('mtasts_cache_entries', {
    help: 'Policies in force, by mode.',
    labels: { mode: MODES },
    healthy: 'Grows slowly with the domains that are written to.',
    alert: 'A sudden drop: `dataDir/state/policies` was lost.',
  }),
  overridesActive: gauge('overrides_active', {
    help: 'Overrides in force.',
    healthy: 'Few, each with an end.',
  }),
  overrideNextExpiry: gauge('override_next_expiry_timestamp_seconds', {
    help: 'When the next override ends; 0 when none does.',
    healthy: 'More than a day away.',
    alert: 'Within a day: from then on the policy counts again, and mail may wait.',
  }),
  downgradeSuspected: counter('downgrade_suspected_total', {
    help: 'Signs that somebody weakens the TLS of a domain, by signal. Each can have an innocent cause.',
    labels: { signal: DOWNGRADE_SIGNALS },
    healthy: 'Single ones, when somebody changes hosts and forgets the policy.',
    alert: '`starttls-gone`, `record-gone` or `certificate-invalid` for several domains at once.',
  }),
};
