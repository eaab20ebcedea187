/** The exceptions from the TLS policies of single domains: who wanted them, why, and when they end. */
import { openOverride, openRemoveOverride } from '../actions.tsx';
import { api } from '../api.ts';
import { useLive } from '../live.ts';
import { Ago, Badge, Cell, Empty, Heading, Loaded, Table } from '../parts.tsx';
import { to } from '../route.ts';
import { LEVELS } from '../words.ts';

const EVERY_MS = 15_000;

export function OverridesView() {
  const live = useLive('overrides', () => api.overrides({ limit: 1000 }), EVERY_MS);
  return (
    <>
      <Heading
        title="Overrides"
        lead="Exceptions from the TLS policies of single domains. Each has a reason, and ends by itself."
      >
        <button type="button" class="primary" onClick={() => openOverride('', live.again)}>
          Add override…
        </button>
      </Heading>
      <Loaded live={live}>
        {({ overrides }) =>
          overrides.length === 0 ? (
            <Empty>None is in force: every domain gets the TLS that it asks for.</Empty>
          ) : (
            <Table
              caption="Overrides in force"
              head={['Domain', 'TLS', 'Reason', 'Owner', 'Ends', 'Do']}
            >
              {overrides.map((override) => {
                const { domain, tls, reason, owner, expires, source } = override;
                return (
                  <tr key={domain}>
                    <Cell name="Domain">
                      <a href={to('destinations', domain)}>{domain}</a>
                    </Cell>
                    <Cell name="TLS">
                      <Badge tone={tls === 'verify' ? 'good' : 'warn'}>{LEVELS[tls].name}</Badge>
                    </Cell>
                    <Cell name="Reason" wide>
                      {reason}
                    </Cell>
                    <Cell name="Owner">{owner || <span class="faint">–</span>}</Cell>
                    <Cell name="Ends">{expires ? <Ago at={expires} /> : 'never'}</Cell>
                    <Cell name="Do">
                      {source === 'file' ? (
                        <span class="faint">in the configuration file</span>
                      ) : (
                        <span class="buttons">
                          <button
                            type="button"
                            class="small"
                            onClick={() => openOverride(domain, live.again, override)}
                          >
                            Change…<span class="unseen"> {domain}</span>
                          </button>
                          <button
                            type="button"
                            class="small danger"
                            onClick={() => openRemoveOverride(domain, live.again)}
                          >
                            End…<span class="unseen"> {domain}</span>
                          </button>
                        </span>
                      )}
                    </Cell>
                  </tr>
                );
              })}
            </Table>
          )
        }
      </Loaded>
    </>
  );
}
