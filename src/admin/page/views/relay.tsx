/** The relay itself: version, listeners, Redis and spool, last errors; and its configuration, put into force anew. */
import { api, session } from '../api.ts';
import { Dialog, open } from '../dialog.tsx';
import { useLive } from '../live.ts';
import { Ago, At, Badge, Cell, Empty, Facts, Heading, Loaded, Panel, Table } from '../parts.tsx';
import { span } from '../words.ts';

const EVERY_MS = 5000;

export function RelayView() {
  const live = useLive('status', api.status, EVERY_MS);
  return (
    <>
      <Heading title="Relay" lead="How the program itself is.">
        <button type="button" onClick={() => openReload(live.again)}>
          Reload configuration…
        </button>
      </Heading>
      <Loaded live={live}>
        {({ version, uptimeSeconds, node, redis, spool, listeners, lastErrors }) => (
          <>
            <div class="columns">
              <Panel title="Parts">
                <Facts
                  facts={[
                    { name: 'Version', value: version },
                    { name: 'Up for', value: span(uptimeSeconds) },
                    { name: 'Node', value: <code>{node}</code> },
                    { name: 'Redis', value: <Health ok={redis.up} reason={redis.reason} /> },
                    { name: 'Spool', value: <Health ok={spool.ok} reason={spool.reason} /> },
                    { name: 'You are', value: session.value?.actor ?? '–' },
                  ]}
                />
              </Panel>
              <Panel title="Listeners">
                <Table
                  caption="Listeners"
                  head={['Address', '#Port', 'TLS', 'Login', '#Connections']}
                >
                  {listeners.map(({ address, port, tls, auth, connections }) => (
                    <tr key={`${address}:${port}`}>
                      <Cell name="Address">{address}</Cell>
                      <Cell name="Port" right>
                        {port}
                      </Cell>
                      <Cell name="TLS">{tls}</Cell>
                      <Cell name="Login">{auth}</Cell>
                      <Cell name="Connections" right>
                        {connections}
                      </Cell>
                    </tr>
                  ))}
                </Table>
              </Panel>
            </div>
            <Panel title="Last warnings and errors">
              {lastErrors.length === 0 ? (
                <Empty>None since the start.</Empty>
              ) : (
                <Table caption="Last warnings and errors" head={['When', 'Event', 'What']}>
                  {lastErrors.map(({ time, event, text }, i) => (
                    <tr key={i}>
                      <Cell name="When">
                        <At at={time} />{' '}
                        <span class="faint">
                          (<Ago at={time} />)
                        </span>
                      </Cell>
                      <Cell name="Event" wide="phone">
                        <code>{event}</code>
                      </Cell>
                      <Cell name="What" wide>
                        {text}
                      </Cell>
                    </tr>
                  ))}
                </Table>
              )}
            </Panel>
          </>
        )}
      </Loaded>
    </>
  );
}

function Health({ ok, reason }: { readonly ok: boolean; readonly reason: string | undefined }) {
  return (
    <>
      <Badge tone={ok ? 'good' : 'bad'}>{ok ? 'works' : 'broken'}</Badge> {reason}
    </>
  );
}

function openReload(done: () => void): void {
  open(() => (
    <Dialog
      title="Reload the configuration"
      action="Reload"
      done={done}
      run={async () => {
        const { needRestart } = await api.reload();
        const later = needRestart?.length
          ? ` At the next start only: ${needRestart.join(', ')}.`
          : '';
        return `The configuration file is in force.${later}`;
      }}
    >
      <p>
        The file is read again and put into force. Where something in it is wrong, the one of now
        stays.
      </p>
    </Dialog>
  ));
}
