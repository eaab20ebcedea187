/** Who changed what, and when. */
import type { AuditEntry } from '../../audit.ts';
import { api } from '../api.ts';
import { Field, FilterForm } from '../forms.tsx';
import { useLive } from '../live.ts';
import { At, Badge, Cell, Domain, Empty, Heading, Loaded, Table } from '../parts.tsx';
import { to } from '../route.ts';

const PAGE = 100;
const EVERY_MS = 15_000;

/** As the date field has it, where the browser is. */
function dayOf(at: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** Its beginning, where the browser is. */
function beginOf(day: string, daysLater = 0): string | undefined {
  const [year = 0, month = 1, date = 1] = day.split('-').map(Number);
  const at = new Date(year, month - 1, date + daysLater);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

export function AuditView({ query }: { readonly query: URLSearchParams }) {
  const [from, till] = [query.get('from') ?? '', query.get('till') ?? ''];
  const given = {
    actor: query.get('actor') ?? undefined,
    action: query.get('action') ?? undefined,
    target: query.get('target') ?? undefined,
  };
  const before = query.get('before') ?? undefined;
  const around = (text: string | undefined) => text && (text.includes('*') ? text : `*${text}*`);
  const live = useLive(
    query.toString(),
    () =>
      api.audit({
        actor: around(given.actor),
        action: around(given.action),
        target: around(given.target),
        since: from === '' ? undefined : beginOf(from),
        until: till === '' ? undefined : beginOf(till, 1),
        ...{ before, limit: PAGE },
      }),
    EVERY_MS,
  );
  return (
    <>
      <Heading title="Audit log" lead="Who changed what, and when: the newest first." />
      <Days from={from} till={till} given={given} />
      <Filter from={from} till={till} given={given} />
      <Loaded live={live}>
        {({ entries, next }) => (
          <>
            {entries.length === 0 ? (
              <Empty>Nobody changed anything that fits.</Empty>
            ) : (
              <Entries entries={entries} />
            )}
            {next ? (
              <p class="pages">
                <a href={to('audit', '', { from, till, ...given, before: String(next) })}>Older</a>
              </p>
            ) : null}
          </>
        )}
      </Loaded>
    </>
  );
}

/** By the calendar of where the browser is: not all days have 24 hours. */
function daysBefore(at: Date, days: number): Date {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() - days);
}

type Given = { readonly [K in 'actor' | 'action' | 'target']: string | undefined };

function Days({
  from,
  till,
  given,
}: {
  readonly from: string;
  readonly till: string;
  readonly given: Given;
}) {
  const [today, yesterday, week] = [0, 1, 6].map((days) => dayOf(daysBefore(new Date(), days)));
  const choices = [
    ['Today', today, today],
    ['Yesterday', yesterday, yesterday],
    ['Last 7 days', week, today],
    ['All', '', ''],
  ] as const;
  return (
    <nav class="tabs" aria-label="Days">
      {choices.map(([name, first = '', last = '']) => (
        <a
          key={name}
          href={to('audit', '', { from: first, till: last, ...given })}
          aria-current={from === first && till === last ? 'true' : undefined}
        >
          {name}
        </a>
      ))}
    </nav>
  );
}

function Filter({
  from,
  till,
  given,
}: {
  readonly from: string;
  readonly till: string;
  readonly given: Given;
}) {
  return (
    <FilterForm view="audit">
      <Field label="From" id="from" name="from" type="date" defaultValue={from} />
      <Field label="To" id="till" name="till" type="date" defaultValue={till} />
      <Field label="Who" id="actor" name="actor" defaultValue={given.actor} autocomplete="off" />
      <Field
        label="Did"
        id="action"
        name="action"
        defaultValue={given.action}
        placeholder="override"
        autocomplete="off"
      />
      <Field
        label="To what"
        id="target"
        name="target"
        defaultValue={given.target}
        autocomplete="off"
      />
      <button type="submit">Filter</button>
    </FilterForm>
  );
}

function Entries({ entries }: { readonly entries: readonly AuditEntry[] }) {
  return (
    <Table caption="Changes" head={['When', 'Who', 'Did', 'To what', 'With']}>
      {folded(entries).map(({ id, at, actor, action, target, facts, result }) => (
        <tr key={id}>
          <Cell name="When">
            <At at={at} />
          </Cell>
          <Cell name="Who" wide="phone">
            {actor}
          </Cell>
          <Cell name="Did">
            {action}{' '}
            {result ? <Badge tone={result === 'failed' ? 'bad' : 'good'}>{result}</Badge> : null}
          </Cell>
          <Cell name="To what" wide="phone">
            <Domain name={target} />
          </Cell>
          <Cell name="With" wide>
            {Object.entries(facts ?? {}).map(([name, value]) => (
              <span key={name} class="pair">
                <span class="faint">{name}</span>{' '}
                {typeof value === 'string' ? value : JSON.stringify(value)}
              </span>
            ))}
          </Cell>
        </tr>
      ))}
    </Table>
  );
}

/** What was noted before it was made, and what it came to, as one: the latter has all the facts. */
function folded(entries: readonly AuditEntry[]): readonly AuditEntry[] {
  const left = [...entries];
  return entries.flatMap((entry) => {
    if (!left.includes(entry)) return [];
    if (entry.result) {
      const before = left.findIndex(
        (one) => !one.result && one.id < entry.id && isSame(one, entry),
      );
      if (before >= 0) left.splice(before, 1);
    }
    return [entry];
  });
}

function isSame(one: AuditEntry, other: AuditEntry): boolean {
  return one.actor === other.actor && one.action === other.action && one.target === other.target;
}
