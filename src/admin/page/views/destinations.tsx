/** The destinations that have mail, with most first: how much, why, what closes them. */
import { api } from '../api.ts';
import { useLive } from '../live.ts';
import { Ago, Badge, Cell, Count, Empty, Heading, Loaded, Table } from '../parts.tsx';
import { go, to } from '../route.ts';
import { CAUSES, counted, number } from '../words.ts';

const PAGE = 50;
const EVERY_MS = 10_000;

export function DestinationsView({ query }: { readonly query: URLSearchParams }) {
  const given = {
    domain: query.get('domain') ?? undefined,
    state: query.get('state') ?? undefined,
    after: query.get('after') ?? undefined,
  };
  const live = useLive(query.toString(), () => api.summary({ ...given, limit: PAGE }), EVERY_MS);
  const pauses = useLive('pauses', () => api.pauses({ limit: 500 }), EVERY_MS);
  return (
    <>
      <Heading title="Destinations" lead="Domains that mail waits for, those with most first." />
      <Filter domain={given.domain ?? ''} state={given.state ?? ''} />
      <Paused live={pauses} />
      <Loaded live={live}>
        {({ destinations, destinationCount, deliveries, next }) => (
          <>
            <p class="sum">
              {counted(destinationCount, 'destination')},{' '}
              {counted(deliveries, 'delivery', 'deliveries')}.
            </p>
            {destinations.length === 0 ? (
              <Empty>Nothing waits{given.domain || given.state ? ' that fits' : ''}.</Empty>
            ) : (
              <Table
                caption="Destinations with queued mail"
                head={[
                  'Destination',
                  '#All',
                  '#Due',
                  '#Delayed',
                  '#Parked',
                  '#Held',
                  'Oldest',
                  'Next',
                  'Why',
                ]}
              >
                {destinations.map((one) => (
                  <tr key={one.domain}>
                    <Cell name="Destination">
                      <a href={to('destinations', one.domain)}>{one.domain}</a>
                    </Cell>
                    <Cell name="All" right>
                      {number(one.total)}
                    </Cell>
                    <Cell name="Due" right>
                      <Count value={one.counts.due + one.counts.active} />
                    </Cell>
                    <Cell name="Delayed" right>
                      <Count value={one.counts.delayed} />
                    </Cell>
                    <Cell name="Parked" right>
                      <Count value={one.counts.parked} />
                    </Cell>
                    <Cell name="Held" right>
                      <Count value={one.counts.held} />
                    </Cell>
                    <Cell name="Oldest">
                      <Ago at={one.oldest} />
                    </Cell>
                    <Cell name="Next">
                      <Ago at={one.nextAttempt} />
                    </Cell>
                    <Cell name="Why" wide>
                      {one.closedBy.map(({ kind }) => (
                        <Badge key={kind} tone="warn">
                          {{ pause: 'paused', breaker: 'unreachable', rate: 'rate used up' }[
                            kind as string
                          ] ?? kind}
                        </Badge>
                      ))}{' '}
                      {one.cause ? (
                        CAUSES[one.cause]
                      ) : one.closedBy.length === 0 ? (
                        <span class="faint">not tried yet</span>
                      ) : null}
                    </Cell>
                  </tr>
                ))}
              </Table>
            )}
            {next === undefined ? null : (
              <p class="pages">
                <a href={to('destinations', '', { ...given, after: next })}>Next {PAGE}</a>
              </p>
            )}
          </>
        )}
      </Loaded>
    </>
  );
}

function Filter({ domain, state }: { readonly domain: string; readonly state: string }) {
  return (
    <form
      class="filter"
      aria-label="Filter"
      onSubmit={(event) => {
        event.preventDefault();
        const given = new FormData(event.currentTarget);
        const name = String(given.get('domain') ?? '').trim();
        if (name !== '' && !name.includes('*') && name.includes('.')) go(to('destinations', name));
        else go(to('destinations', '', { domain: name, state: String(given.get('state') ?? '') }));
      }}
    >
      <div class="field">
        <label for="domain">Domain</label>
        <input
          id="domain"
          name="domain"
          defaultValue={domain}
          placeholder="partner.example or *.example"
          spellcheck={false}
          autocomplete="off"
        />
      </div>
      <div class="field">
        <label for="state">With mail that is</label>
        <select id="state" name="state" defaultValue={state}>
          <option value="" selected={state === ''}>
            in any state
          </option>
          <option value="due" selected={state === 'due'}>
            due
          </option>
          <option value="delayed" selected={state === 'delayed'}>
            delayed
          </option>
          <option value="parked" selected={state === 'parked'}>
            parked
          </option>
          <option value="held" selected={state === 'held'}>
            held
          </option>
        </select>
      </div>
      <button type="submit">Filter</button>
    </form>
  );
}

function Paused({
  live,
}: {
  readonly live: ReturnType<typeof useLive<Awaited<ReturnType<typeof api.pauses>>>>;
}) {
  const pauses = live.now?.pauses ?? [];
  if (pauses.length === 0) return null;
  return (
    <section class="panel" aria-label="Paused destinations">
      <header>
        <h2>Paused</h2>
      </header>
      <ul class="rows">
        {pauses.map(({ domain, reason, expires, waiting }) => (
          <li key={domain}>
            <a href={to('destinations', domain)}>{domain}</a>
            <span class="grow">{reason || <span class="faint">no reason given</span>}</span>
            <span>{counted(waiting, 'waits', 'wait')}</span>
            <span>
              {expires ? (
                <>
                  ends <Ago at={expires} />
                </>
              ) : (
                'until resumed'
              )}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
