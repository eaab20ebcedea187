/** The destinations that have mail, with most first: how much, why, what closes them. */
import { api } from '../api.ts';
import { Field, FilterForm, Select } from '../forms.tsx';
import { useLive } from '../live.ts';
import {
  Ago,
  Cell,
  Count,
  DestinationLink,
  Empty,
  Heading,
  Loaded,
  NextPage,
  Panel,
  Table,
} from '../parts.tsx';
import { to } from '../route.ts';
import { domainOf } from '../u-label.ts';
import { counted, number } from '../words.ts';
import { WhyWaits } from './why-waits.tsx';

const PAGE = 50;
const EVERY_MS = 10_000;
const STATE_CHOICES = [
  ['', 'in any state'],
  ...['due', 'delayed', 'parked', 'held'].map((state) => [state, state] as const),
] as const;

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
                      <DestinationLink domain={one.domain} />
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
                      <WhyWaits {...one} cause={one.cause} />
                    </Cell>
                  </tr>
                ))}
              </Table>
            )}
            <NextPage
              href={next && to('destinations', '', { ...given, after: next })}
              size={PAGE}
            />
          </>
        )}
      </Loaded>
    </>
  );
}

function Filter({ domain, state }: { readonly domain: string; readonly state: string }) {
  return (
    <FilterForm
      view="destinations"
      address={({ domain: name = '' }) =>
        name !== '' && !name.includes('*') && name.includes('.')
          ? to('destinations', domainOf(name))
          : undefined
      }
    >
      <Field
        label="Domain"
        id="domain"
        name="domain"
        defaultValue={domain}
        placeholder="partner.example or *.example"
        spellcheck={false}
        autocomplete="off"
      />
      <Select label="With mail that is" name="state" value={state} choices={STATE_CHOICES} />
      <button type="submit">Filter</button>
    </FilterForm>
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
    <Panel title="Paused destinations">
      <ul class="rows">
        {pauses.map(({ domain, reason, expires, waiting }) => (
          <li key={domain}>
            <DestinationLink domain={domain} />
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
    </Panel>
  );
}
