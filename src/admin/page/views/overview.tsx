/** Is it well? What flows, what waits and where, how much of it over verified TLS, what asks for attention. */
import { useRef } from 'preact/hooks';
import type { Attention } from '../../attention.ts';
import type { FlowSample } from '../../flow.ts';
import type { Overview } from '../../overview.ts';
import { api } from '../api.ts';
import { useLive } from '../live.ts';
import {
  Ago,
  Badge,
  Cell,
  Count,
  DestinationLink,
  Empty,
  Heading,
  Loaded,
  Panel,
  Said,
  Table,
} from '../parts.tsx';
import { to } from '../route.ts';
import { compact, counted, number, STATES, share } from '../words.ts';
import { Graphs } from './overview-graphs.tsx';
import { WhyWaits } from './why-waits.tsx';

const EVERY_MS = 3000;
const FLOW_EVERY_MS = 5000;
const HOUR_MS = 3_600_000;

export function OverviewView() {
  const overview = useLive('overview', api.overview, EVERY_MS);
  const flow = useFlow();
  const now = overview.now;
  return (
    <>
      <Heading
        title="Overview"
        lead={now === undefined ? 'Looking…' : <Verdict attention={now.attention} />}
      />
      <Loaded live={overview}>
        {(shown) => (
          <>
            <Tiles overview={shown} flow={flow} />
            <Attentions attention={shown.attention} />
          </>
        )}
      </Loaded>
      <Graphs flow={flow} />
      {now === undefined ? null : <Largest overview={now} />}
    </>
  );
}

/** The last hour, and what comes. */
function useFlow(): readonly FlowSample[] {
  const known = useRef<readonly FlowSample[]>([]);
  const live = useLive(
    'flow',
    async () => {
      const { samples } = await api.flow(known.current.at(-1)?.at);
      if (samples.length === 0) return known.current;
      const since = Date.now() - HOUR_MS;
      known.current = [...known.current, ...samples].filter(({ at }) => Date.parse(at) > since);
      return known.current;
    },
    FLOW_EVERY_MS,
  );
  return live.now ?? known.current;
}

function Verdict({ attention }: { readonly attention: readonly Attention[] }) {
  const alerts = attention.filter(({ level }) => level === 'alert').length;
  const warnings = attention.filter(({ level }) => level === 'warning').length;
  if (alerts > 0) return <Badge tone="bad">{counted(alerts, 'thing')} broken</Badge>;
  if (warnings > 0) {
    return (
      <Badge tone="warn">
        {warnings === 1 ? '1 thing asks' : `${warnings} things ask`} for attention
      </Badge>
    );
  }
  return <Badge tone="good">All is well</Badge>;
}

function Tiles({
  overview,
  flow,
}: {
  readonly overview: Overview;
  readonly flow: readonly FlowSample[];
}) {
  const { counts, deliveries, destinationCount } = overview;
  const sum = (key: 'delivered' | 'verified' | 'encrypted' | 'clear') =>
    flow.reduce((total, sample) => total + sample[key], 0);
  const recent = flow.slice(-6);
  const seconds = recent.reduce((total, sample) => total + sample.seconds, 0);
  const last = recent.reduce((total, { delivered }) => total + delivered, 0);
  const reached = sum('verified') + sum('encrypted') + sum('clear');
  return (
    <ul class="tiles">
      <Tile href={to('queue')} name="Queued" value={compact(deliveries)}>
        for {counted(destinationCount, 'destination')}
      </Tile>
      <Tile
        href={to('queue', '', { state: 'delayed' })}
        name="Delayed"
        value={compact(counts.delayed)}
      >
        {STATES.delayed.means}
      </Tile>
      <Tile
        href={to('destinations', '', { state: 'parked' })}
        name="Parked"
        value={compact(counts.parked)}
        isOdd={counts.parked > 0}
      >
        destination closed
      </Tile>
      <Tile
        href={to('queue', '', { state: 'held' })}
        name="Held"
        value={compact(counts.held)}
        isOdd={counts.held > 0}
      >
        by an administrator
      </Tile>
      <Tile
        href={to('queue', '', { state: 'due' })}
        name="Due, under way"
        value={compact(counts.due + counts.active)}
      >
        {overview.overdue > 0 ? `${number(overview.overdue)} overdue` : 'on their way out'}
      </Tile>
      <Tile
        name="Delivered"
        value={seconds === 0 ? '–' : compact(Math.round((60 * last) / seconds))}
      >
        a minute, {compact(sum('delivered'))} this hour
      </Tile>
      <Tile name="Verified TLS" value={share(sum('verified'), reached)}>
        {sum('clear') > 0
          ? `${share(sum('clear'), reached)} in clear text`
          : 'nothing in clear text'}
      </Tile>
    </ul>
  );
}

function Tile(props: {
  readonly name: string;
  readonly value: string;
  readonly href?: string;
  readonly isOdd?: boolean;
  readonly children: preact.ComponentChildren;
}) {
  const { name, value, href, isOdd, children } = props;
  const content = (
    <>
      <span class="name">{name}</span>
      <span class="value">{value}</span>
      <span class="below">{children}</span>
    </>
  );
  const looks = isOdd ? 'tile odd' : 'tile';
  return (
    <li>
      {href ? (
        <a class={looks} href={href}>
          {content}
        </a>
      ) : (
        <div class={looks}>{content}</div>
      )}
    </li>
  );
}

const PLACES: { readonly [K in Attention['about']]: string } = {
  relay: to('relay'),
  queue: to('queue', '', { state: 'due' }),
  tls: to('destinations', '', { state: 'delayed' }),
  breaker: to('destinations', '', { state: 'parked' }),
  pause: to('destinations', '', { state: 'parked' }),
  hold: to('queue', '', { state: 'held' }),
  override: to('overrides'),
  policy: to('policies'),
  report: to('reports'),
};
const LEVELS = { alert: 'bad', warning: 'warn', note: 'info' } as const;
const LEVEL_WORDS = { alert: 'Broken', warning: 'Warning', note: 'Note' } as const;

function Attentions({ attention }: { readonly attention: readonly Attention[] }) {
  if (attention.length === 0) return null;
  return (
    <Panel title="Attention">
      <ul class="rows">
        {attention.map(({ level, about, text, domain }) => (
          <li key={text}>
            <Badge tone={LEVELS[level]}>{LEVEL_WORDS[level]}</Badge>
            <span class="grow">
              <Said text={text} />
            </span>
            <a href={domain === undefined ? PLACES[about] : to('destinations', domain)}>
              Show<span class="unseen"> {domain ?? about}</span>
            </a>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Largest({ overview }: { readonly overview: Overview }) {
  const { destinations, destinationCount, deliveries } = overview;
  const most = destinations[0]?.total ?? 1;
  const rest = deliveries - destinations.reduce((sum, { total }) => sum + total, 0);
  return (
    <Panel
      title="Queue by destination"
      aside={<a href={to('destinations')}>All {number(destinationCount)}</a>}
    >
      {destinations.length === 0 ? (
        <Empty>The queue is empty.</Empty>
      ) : (
        <Table
          caption="The destinations with most mail"
          head={['Destination', '#Queued', 'By state', 'Next', 'Why']}
        >
          {destinations.map((one) => {
            const { domain, total, counts, nextAttempt } = one;
            return (
              <tr key={domain}>
                <Cell name="Destination">
                  <DestinationLink domain={domain} />
                </Cell>
                <Cell name="Queued" right>
                  <Count value={total} />
                </Cell>
                <td class="bar-cell">
                  <Bar counts={counts} whole={most} />
                </td>
                <Cell name="Next">
                  {nextAttempt ? <Ago at={nextAttempt} /> : counts.due > 0 ? 'now' : '–'}
                </Cell>
                <Cell name="Why" wide>
                  <WhyWaits {...one} cause={one.cause} />
                </Cell>
              </tr>
            );
          })}
        </Table>
      )}
      {rest > 0 ? (
        <p class="below-table">
          {number(rest)} more for {number(destinationCount - destinations.length)} others.
        </p>
      ) : null}
    </Panel>
  );
}

const BARS = [
  ['delayed', 'line-blue'],
  ['parked', 'line-amber'],
  ['held', 'line-violet'],
  ['due', 'line-green'],
  ['active', 'line-green'],
] as const;

/** Drawn, since a policy without inline styles allows no widths in markup. */
function Bar({ counts, whole }: { readonly counts: Overview['counts']; readonly whole: number }) {
  let from = 0;
  return (
    <svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
      {BARS.map(([state, colour]) => {
        const width = (100 * counts[state]) / whole;
        const x = from;
        from += width;
        return width === 0 ? null : (
          <rect
            key={state}
            class={`bar-${colour}`}
            x={x}
            y="0"
            width={Math.max(width, 1)}
            height="6"
          />
        );
      })}
    </svg>
  );
}
