/** One destination: why its mail waits, in a sentence; what decides its TLS; what can be done about it. */

import type { PauseView } from '../../domains.ts';
import type { OverrideView } from '../../overrides.ts';
import type { PolicyListing } from '../../policies.ts';
import type { BarrierView } from '../../queue-barriers.ts';
import type { QueuePage, QueueRow } from '../../queue-list.ts';
import type { MessageView } from '../../queue-show.ts';
import type { DestinationSummary } from '../../queue-summary.ts';
import { api } from '../api.ts';
import { CheckPanel } from '../check-panel.tsx';
import { openAct } from '../dialogs/act.tsx';
import { openOverride } from '../dialogs/override.tsx';
import { openPause, openResume } from '../dialogs/pause.tsx';
import { useLive } from '../live.ts';
import { Ago, Badge, Domain, Empty, Heading, Loaded, Panel, Said } from '../parts.tsx';
import { to } from '../route.ts';
import { domainOf } from '../u-label.ts';
import { CAUSES, counted, number, STATES } from '../words.ts';
import { DestinationTls } from './destination-tls.tsx';
import { QueueTable } from './queue-table.tsx';
import { TlsFacts } from './session-facts.tsx';

const EVERY_MS = 5000;
const ROWS = 10;

interface Known {
  readonly summary: DestinationSummary | undefined;
  readonly page: QueuePage;
  readonly pause: PauseView | undefined;
  readonly policy: PolicyListing | undefined;
  readonly override: OverrideView | undefined;
  /** The story of the oldest message that was tried and failed. */
  readonly tried: MessageView | undefined;
}

async function load(domain: string): Promise<Known> {
  const [summary, page, pauses, policies, overrides] = await Promise.all([
    api.summary({ domain, limit: 1 }),
    api.queue({ domain, limit: ROWS }),
    api.pauses({ domain }),
    domain.startsWith('[') ? { policies: [] } : api.policies({ domain, limit: 1 }),
    api.overrides({ domain }),
  ]);
  const told = page.entries.find(({ lastFailure }) => lastFailure !== undefined);
  return {
    ...{ summary: summary.destinations[0], page },
    pause: pauses.pauses[0],
    policy: policies.policies[0],
    override: overrides.overrides[0],
    tried: told && (await api.message(told.id).catch(() => undefined)),
  };
}

/** A pattern in the address bar is no destination: what it fits would look like one. */
export function DestinationView({ name }: { readonly name: string }) {
  const domain = domainOf(name);
  if (/^[\p{L}\p{N}._:[\]-]+$/u.test(domain)) return <NamedDestination domain={domain} />;
  return <Heading title={domain} lead="This is no name of a domain." />;
}

function NamedDestination({ domain }: { readonly domain: string }) {
  const live = useLive(domain, () => load(domain), EVERY_MS);
  const known = live.now;
  const waiting = known?.summary?.total ?? 0;
  const filter = { filter: { domain } };
  const act = (action: 'retry' | 'hold' | 'release' | 'bounce' | 'drop') => () =>
    openAct(action, filter, `everything for ${domain}`, live.again);
  return (
    <>
      <Heading
        title={<Domain name={domain} />}
        lead={known ? <Why known={known} domain={domain} /> : live.error ? undefined : 'Looking…'}
      >
        <button type="button" class="primary" disabled={waiting === 0} onClick={act('retry')}>
          Retry now
        </button>
        {known?.pause ? (
          <button
            type="button"
            onClick={() => openResume(domain, known.pause?.waiting ?? 0, live.again)}
          >
            Resume
          </button>
        ) : (
          <button type="button" onClick={() => openPause(domain, live.again)}>
            Pause…
          </button>
        )}
        <button type="button" onClick={() => openOverride(domain, live.again, known?.override)}>
          {known?.override ? 'Override…' : 'Add override…'}
        </button>
      </Heading>
      <Loaded live={live}>
        {(now) => (
          <>
            <Barriers known={now} />
            <div class="columns">
              <DestinationTls
                policy={now.policy}
                override={now.override}
                domain={domain}
                again={live.again}
              />
              <Latest known={now} domain={domain} />
            </div>
            {domain.startsWith('[') ? null : <CheckPanel domain={domain} />}
            <Panel
              title="Its messages"
              aside={<a href={to('queue', '', { domain })}>All {number(now.page.total)}</a>}
            >
              {now.page.entries.length === 0 ? (
                <Empty>No mail waits for {domain}.</Empty>
              ) : (
                <QueueTable rows={now.page.entries} without="domain" />
              )}
            </Panel>
            {waiting === 0 ? null : (
              <p class="buttons grave">
                <button type="button" onClick={act('hold')}>
                  Hold all…
                </button>
                {(now.summary?.counts.held ?? 0) > 0 ? (
                  <button type="button" onClick={act('release')}>
                    Release all…
                  </button>
                ) : null}
                <button type="button" class="danger" onClick={act('bounce')}>
                  Bounce all…
                </button>
                <button type="button" class="danger" onClick={act('drop')}>
                  Drop all…
                </button>
              </p>
            )}
          </>
        )}
      </Loaded>
    </>
  );
}

/** In one sentence. */
function Why({ known, domain }: { readonly known: Known; readonly domain: string }) {
  const { summary, page, pause } = known;
  if (!summary) {
    return (
      <>
        No mail waits for {domain}.{pause ? ' Delivery is paused: what comes in will wait.' : ''}
      </>
    );
  }
  const { total, counts, cause, nextAttempt, closedBy } = summary;
  const wait = counted(total, 'message waits', 'messages wait');
  const next = nextAttempt ? (
    <>
      {' '}
      Next attempt <Ago at={nextAttempt} />.
    </>
  ) : null;
  if (pause)
    return (
      <>
        {wait}: delivery is paused{pause.reason === '' ? '' : ` (${pause.reason})`}.
      </>
    );
  if (counts.held === total)
    return (
      <>
        {wait}: an administrator holds {total === 1 ? 'it' : 'them'}.
      </>
    );
  if (closedBy.some(({ kind }) => kind === 'breaker'))
    return (
      <>
        {wait}: its hosts cannot be reached.{next}
      </>
    );
  if (closedBy.some(({ kind }) => kind === 'rate'))
    return (
      <>
        {wait}: its rate is used up for now.{next}
      </>
    );
  if (cause)
    return (
      <>
        {wait}: {CAUSES[cause]}.{next}
      </>
    );
  const [row] = page.entries;
  return (
    <>
      {wait}: {row?.waitsFor ?? STATES[row?.state ?? 'due'].means}
      {next}
    </>
  );
}

function Barriers({ known }: { readonly known: Known }) {
  const { pause, summary } = known;
  // Without mail the relay has nothing to close; a pause is there all the same.
  const barriers: readonly BarrierView[] = summary?.closedBy ?? (pause ? [barrierOf(pause)] : []);
  if (barriers.length === 0) return null;
  return (
    <Panel title="What closes it">
      <ul class="rows">
        {barriers.map(({ kind, text, until }) => (
          <li key={kind}>
            <Badge tone="warn">{kind}</Badge>
            <span class="grow">
              <Said text={text} />
            </span>
            {until ? (
              <span>
                <Ago at={until} />
              </span>
            ) : null}
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function barrierOf({ domain, reason, pausedAt, expires }: PauseView): BarrierView {
  const end = expires === undefined ? 'until it is resumed' : `until ${expires}`;
  const why = reason === '' ? '' : `: ${reason}`;
  const text = `Delivery to ${domain} is paused since ${pausedAt}, ${end}${why}.`;
  return { kind: 'pause', text, ...(expires === undefined ? {} : { until: expires }) };
}

function Latest({ known, domain }: { readonly known: Known; readonly domain: string }) {
  const { tried, page } = known;
  const story = tried?.destinations.find(({ destination }) => destination === domain);
  const attempt = story?.history.at(-1);
  return (
    <Panel title="The last attempt of the oldest">
      {attempt === undefined ? (
        <Empty>{page.total === 0 ? 'Nothing waits here.' : 'What waits was not tried yet.'}</Empty>
      ) : (
        <>
          <p>
            <Ago at={attempt.at} />, of <a href={to('message', tried?.id ?? '')}>{tried?.id}</a>
          </p>
          <Failures rows={page.entries} />
          {attempt.sessions.slice(0, 3).map((session, i) => (
            <TlsFacts key={i} session={session} />
          ))}
        </>
      )}
    </Panel>
  );
}

/** What the messages shown were told last, each once. */
function Failures({ rows }: { readonly rows: readonly QueueRow[] }) {
  const texts = [...new Set(rows.flatMap(({ lastFailure }) => lastFailure ?? []))].slice(0, 3);
  return (
    <>
      {texts.map((text) => (
        <p key={text} class="failure">
          <Said text={text} />
        </p>
      ))}
    </>
  );
}
