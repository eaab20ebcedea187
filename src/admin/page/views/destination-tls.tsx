/** What decides the TLS of one destination: an override, the MTA-STS policy that is kept, and what failed about it. */
import type { OverrideView } from '../../overrides.ts';
import type { PolicyListing } from '../../policies.ts';
import { openRemoveOverride } from '../dialogs/override.tsx';
import { Ago, At, Badge, Facts, Panel } from '../parts.tsx';
import { to } from '../route.ts';
import { LEVELS } from '../words.ts';

export function DestinationTls({
  policy,
  override,
  domain,
  again,
}: {
  readonly policy: PolicyListing | undefined;
  readonly override: OverrideView | undefined;
  readonly domain: string;
  readonly again: () => void;
}) {
  const kept = policy?.policy;
  return (
    <Panel title="What decides its TLS">
      {override ? (
        <div class="gives-up">
          <p>
            <b>An override is in force:</b> {LEVELS[override.tls].name}
            {override.expires ? (
              <>
                , ends <Ago at={override.expires} />
              </>
            ) : (
              ', without an end'
            )}
            .
          </p>
          <p>
            {override.reason}
            {override.owner ? ` (${override.owner})` : ''}
          </p>
          {override.source === 'file' ? (
            <p class="hint">It stands in the configuration file: change it there.</p>
          ) : (
            <button type="button" onClick={() => openRemoveOverride(domain, again)}>
              End it…
            </button>
          )}
        </div>
      ) : null}
      {kept ? (
        <Facts
          facts={[
            {
              name: 'MTA-STS',
              value: (
                <>
                  <Badge tone={kept.mode === 'enforce' ? 'good' : 'plain'}>{kept.mode}</Badge>
                  {kept.inForce ? '' : ' past its time'}
                </>
              ),
            },
            { name: 'MX allowed', value: kept.mx.join(', ') || '–' },
            { name: 'Policy id', value: <code>{kept.id}</code> },
            { name: 'Fetched', value: <At at={kept.fetchedAt} /> },
            { name: 'Ends', value: <At at={kept.expiresAt} /> },
          ]}
        />
      ) : (
        <p>No MTA-STS policy is kept of it. DANE and routes may ask for TLS all the same.</p>
      )}
      {policy?.lastFailure ? (
        <p class="notice warn">
          <span>
            Last {policy.lastFailure.kind} failed <Ago at={policy.lastFailure.at} />:{' '}
            {policy.lastFailure.reason}
          </span>
        </p>
      ) : null}
      {kept ? (
        <p>
          <a href={to('policies', domain)}>The policy</a>
        </p>
      ) : null}
    </Panel>
  );
}
