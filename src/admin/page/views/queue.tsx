/** What is queued, filtered, page by page; what is done with those chosen, or with all that fit. */
import { useState } from 'preact/hooks';
import { api, type Which } from '../api.ts';
import { type Action, openAct } from '../dialogs/act.tsx';
import { Field, FilterForm, Select } from '../forms.tsx';
import { useLive } from '../live.ts';
import { Empty, Heading, Loaded, Panel } from '../parts.tsx';
import { to } from '../route.ts';
import { counted, number, STATES } from '../words.ts';
import { QueueTable } from './queue-table.tsx';

const PAGE = 50;
const EVERY_MS = 10_000;
const NAMES = ['domain', 'sender', 'recipient', 'user', 'client', 'state', 'olderThan'] as const;
const STATE_CHOICES = [
  ['', 'any'],
  ...Object.entries(STATES).map(([id, { name }]) => [id, name] as const),
] as const;
/** As the fields are called. */
const LABELS: { readonly [K in keyof Filter]-?: string } = {
  ...{ domain: 'domain', sender: 'from', recipient: 'to', user: 'login', client: 'client' },
  ...{ state: 'state', olderThan: 'older than' },
};
type Filter = { readonly [K in (typeof NAMES)[number]]?: string };

const ACTIONS: readonly (readonly [Action, string])[] = [
  ['retry', 'Retry'],
  ['hold', 'Hold'],
  ['release', 'Release'],
  ['bounce', 'Bounce'],
  ['drop', 'Drop'],
];

function filterOf(query: URLSearchParams): Filter {
  return Object.fromEntries(
    NAMES.flatMap((name) => {
      const value = query.get(name);
      return value ? [[name, value]] : [];
    }),
  );
}

export function QueueView({ query }: { readonly query: URLSearchParams }) {
  const filter = filterOf(query);
  const after = query.get('after') ?? undefined;
  const live = useLive(
    query.toString(),
    () => api.queue({ ...filter, after, limit: PAGE }),
    EVERY_MS,
  );
  const [ids, setIds] = useState<ReadonlySet<string>>(new Set());
  const toggle = (id: string) => {
    const others = new Set(ids);
    if (!others.delete(id)) others.add(id);
    setIds(others);
  };
  const again = () => {
    setIds(new Set());
    live.again();
  };
  return (
    <>
      <Heading title="Queue" lead="A row for each message and destination, the oldest first." />
      <QueueFilter filter={filter} />
      <Loaded live={live}>
        {({ entries, total, next }) => (
          <>
            <Bar total={total} ids={ids} filter={filter} again={again} />
            {entries.length === 0 ? (
              <Empty>
                {Object.keys(filter).length > 0 ? 'Nothing fits.' : 'The queue is empty.'}
              </Empty>
            ) : (
              <QueueTable rows={entries} choice={{ ids, toggle }} />
            )}
            <p class="pages">
              {after ? <a href={to('queue', '', filter)}>First page</a> : null}
              {next ? <a href={to('queue', '', { ...filter, after: next })}>Next {PAGE}</a> : null}
            </p>
          </>
        )}
      </Loaded>
      <Holds again={live.again} />
    </>
  );
}

/** What is done is done with those chosen, else with all that fit. */
function Bar({
  total,
  ids,
  filter,
  again,
}: {
  readonly total: number;
  readonly ids: ReadonlySet<string>;
  readonly filter: Filter;
  readonly again: () => void;
}) {
  const isFiltered = Object.keys(filter).length > 0;
  const which: Which = ids.size > 0 ? { ids: [...ids] } : isFiltered ? { filter } : { all: true };
  const what =
    ids.size > 0
      ? counted(ids.size, 'chosen message')
      : isFiltered
        ? Object.entries(filter)
            .map(([name, value]) => `${LABELS[name as keyof Filter]} ${value}`)
            .join(', ')
        : 'the whole queue';
  return (
    <div class="bar-of-actions">
      <p class="sum" role="status">
        {counted(total, 'delivery', 'deliveries')}
        {isFiltered ? ' that fit' : ''}
        {ids.size > 0 ? `, ${number(ids.size)} chosen` : ''}
      </p>
      <fieldset class="buttons">
        <legend class="unseen">
          {ids.size > 0 ? 'Do with those chosen' : 'Do with all that fit'}
        </legend>
        <span class="faint" aria-hidden="true">
          {ids.size > 0 ? 'With those chosen:' : isFiltered ? 'With all that fit:' : 'With all:'}
        </span>
        {ACTIONS.map(([action, name]) => (
          <button
            key={action}
            type="button"
            class={action === 'bounce' || action === 'drop' ? 'danger' : undefined}
            disabled={total === 0 && !(action === 'hold' && isFiltered)}
            onClick={() => openAct(action, which, what, again)}
          >
            {name}…
          </button>
        ))}
      </fieldset>
    </div>
  );
}

function QueueFilter({ filter }: { readonly filter: Filter }) {
  return (
    <FilterForm view="queue">
      <Field
        label="Domain"
        id="domain"
        name="domain"
        defaultValue={filter.domain}
        spellcheck={false}
        autocomplete="off"
      />
      <Field
        label="From"
        id="sender"
        name="sender"
        defaultValue={filter.sender}
        spellcheck={false}
        autocomplete="off"
      />
      <Field
        label="To"
        id="recipient"
        name="recipient"
        defaultValue={filter.recipient}
        spellcheck={false}
        autocomplete="off"
      />
      <Field
        label="Login"
        id="user"
        name="user"
        defaultValue={filter.user}
        spellcheck={false}
        autocomplete="off"
      />
      <Field
        label="Client"
        id="client"
        name="client"
        defaultValue={filter.client}
        spellcheck={false}
        autocomplete="off"
      />
      <Select label="State" name="state" value={filter.state} choices={STATE_CHOICES} />
      <Field
        label="Older than"
        id="olderThan"
        name="olderThan"
        defaultValue={filter.olderThan}
        placeholder="2h"
        size={6}
        autocomplete="off"
      />
      <button type="submit">Filter</button>
      {Object.keys(filter).length > 0 ? <a href={to('queue')}>Clear</a> : null}
      <p class="hint">
        <code>*</code> stands for any characters; <code>&lt;&gt;</code> as From for bounces.
      </p>
    </FilterForm>
  );
}

function Holds({ again }: { readonly again: () => void }) {
  const live = useLive('holds', api.holds, EVERY_MS);
  const holds = live.now?.holds ?? [];
  if (holds.length === 0) return null;
  return (
    <Panel title="Rules that hold mail">
      <ul class="rows">
        {holds.map(({ rule, domain, sender, recipient, user, client, reason, by }) => (
          <li key={rule}>
            <b>{rule}</b>
            <span class="grow">
              {reason || 'no reason given'} <span class="faint">by {by}</span>
            </span>
            <button
              type="button"
              onClick={() =>
                openAct(
                  'release',
                  domain || sender || recipient || user || client
                    ? { filter: { domain, sender, recipient, user, client } }
                    : { all: true },
                  rule,
                  () => {
                    live.again();
                    again();
                  },
                )
              }
            >
              Release…
            </button>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
