/** Queued deliveries as rows of a table: in the queue, and at their destination. */
import type { QueueRow } from '../../queue-list.ts';
import { Ago, Cell, DestinationLink, Said, StateBadge, Table } from '../parts.tsx';
import { to } from '../route.ts';
import { counted, number } from '../words.ts';

export interface Choice {
  readonly ids: ReadonlySet<string>;
  readonly toggle: (id: string) => void;
}

export function QueueTable({
  rows,
  without,
  choice,
}: {
  readonly rows: readonly QueueRow[];
  readonly without?: 'domain';
  readonly choice?: Choice;
}) {
  const head = [
    ...(choice ? ['Choose'] : []),
    ...['Message', 'State'],
    ...(without ? [] : ['Destination']),
    ...['From, to', 'Why'],
  ];
  return (
    <Table caption="Queued messages, the oldest first" head={head}>
      {rows.map((row) => (
        <Row
          key={`${row.id}/${row.domain}`}
          row={row}
          isOfOne={without === 'domain'}
          choice={choice}
        />
      ))}
    </Table>
  );
}

function Row({
  row,
  isOfOne,
  choice,
}: {
  readonly row: QueueRow;
  readonly isOfOne: boolean;
  readonly choice: Choice | undefined;
}) {
  const { id, domain, state, received, sender, recipients, recipientCount } = row;
  const more = recipientCount - 1;
  return (
    <tr>
      {choice ? (
        <Cell name="Choose">
          <input
            type="checkbox"
            aria-label={`Choose ${id}`}
            checked={choice.ids.has(id)}
            onChange={() => choice.toggle(id)}
          />
        </Cell>
      ) : null}
      <Cell name="Message">
        <a href={to('message', id)} class="id">
          {id}
        </a>
        <span class="second">
          <Ago at={received} />, {counted(row.attempts, 'attempt')}
        </span>
      </Cell>
      <Cell name="State">
        <StateBadge state={state} />
        {row.nextAttempt === undefined ? null : (
          <span class="second">
            next <Ago at={row.nextAttempt} />
          </span>
        )}
      </Cell>
      {isOfOne ? null : (
        <Cell name="Destination" wide="phone">
          <DestinationLink domain={domain} />
        </Cell>
      )}
      <Cell name="From, to" wide="phone">
        <span class="mailbox" title={sender}>
          {sender === '' ? '<>' : sender}
        </span>
        <span class="mailbox" title={recipients.join(', ')}>
          <span class="faint" aria-hidden="true">
            →{' '}
          </span>
          {recipients[0]}
          {more > 0 ? <span class="faint"> +{number(more)}</span> : null}
        </span>
      </Cell>
      <Cell name="Why" wide>
        <span class="two-lines">
          <Said text={whyOf(row)} />
        </span>
      </Cell>
    </tr>
  );
}

/** As the command line has it. */
function whyOf({ state, waitsFor, lastFailure }: QueueRow): string {
  if (state === 'delayed') return lastFailure ?? waitsFor ?? '–';
  const last = lastFailure === undefined ? '' : ` Last attempt: ${lastFailure}`;
  return `${waitsFor ?? 'It is being attempted.'}${last}`;
}
