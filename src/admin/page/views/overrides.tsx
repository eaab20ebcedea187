/** The overrides of the TLS policies of single domains: who wanted them, why, and when they end. */
import { api } from '../api.ts';
import { openOverride, openRemoveOverride } from '../dialogs/override.tsx';
import { useLive } from '../live.ts';
import { Ago, Badge, Cell, DestinationLink, Empty, Heading, Loaded, Table } from '../parts.tsx';
import { LEVELS } from '../words.ts';

const EVERY_MS = 15_000;

export function OverridesView() {
  const live = useLive('overrides', () => api.overrides({ limit: 1000 }), EVERY_MS);
  return (
    <>
      <Heading
        title="Overrides"
        lead="What mail for single domains is held to instead of the TLS that they publish. Each has a reason and an end."
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
                      <DestinationLink domain={domain} />
                    </Cell>
                    <Cell name="TLS" wide="phone">
                      <Badge tone={tls === 'verify' ? 'good' : 'warn'}>{LEVELS[tls].name}</Badge>
                    </Cell>
                    <Cell name="Reason" wide>
                      {reason}
                    </Cell>
                    <Cell name="Owner" wide="phone">
                      {owner || <span class="faint">–</span>}
                    </Cell>
                    <Cell name="Ends">{expires ? <Ago at={expires} /> : 'never'}</Cell>
                    <Cell name="Do" wide="phone">
                      {source === 'file' ? (
                        <span class="buttons">
                          <span class="faint">in the configuration file</span>
                          <button
                            type="button"
                            class="small"
                            onClick={() => openOverride(domain, live.again, override)}
                          >
                            Show…<span class="unseen"> {domain}</span>
                          </button>
                        </span>
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
