/** What another retry schedule would do to the queue of now. Nothing is changed: that is done in the file. */
import { useState } from 'preact/hooks';
import type { PreviewView } from '../../queue.ts';
import { api, type RetryText } from '../api.ts';
import { BusyButton, Field, useBusy } from '../forms.tsx';
import { useLive } from '../live.ts';
import { Ago, Cell, Count, DestinationLink, Heading, Loaded, Panel, Table } from '../parts.tsx';
import { counted, number } from '../words.ts';

const MOST_ROWS = 100;

export function RetryView() {
  const live = useLive('retry', api.retry, 0);
  return (
    <>
      <Heading
        title="Retry preview"
        lead="What another retry schedule would do to the mail that waits now. Nothing is changed here."
      />
      <Loaded live={live}>{({ retry }) => <Editor now={retry} />}</Loaded>
    </>
  );
}

interface Edited {
  readonly schedule: string;
  readonly lifetime: string;
  /** By class; empty: none of its own. */
  readonly classes: Readonly<Record<string, string>>;
}

const CLASSES: readonly (readonly [string, string])[] = [
  ['greylisted', 'After greylisting'],
  ['tlsPolicy', 'When the TLS policy is not met'],
  ['connection', 'When no connection comes about'],
];

const listOf = (text: string) => text.split(/[\s,]+/).filter((word) => word !== '');

function textOf({ schedule, lifetime, classes }: RetryText): Edited {
  const own = Object.entries(classes).map(([name, one]) => [name, one.schedule.join(', ')]);
  return { schedule: schedule.join(', '), lifetime, classes: Object.fromEntries(own) };
}

function retryOf(now: RetryText, { schedule, lifetime, classes }: Edited): RetryText {
  const own = Object.entries(classes)
    .filter(([, text]) => text.trim() !== '')
    .map(([name, text]) => [name, { schedule: listOf(text) }]);
  return { ...now, schedule: listOf(schedule), lifetime, classes: Object.fromEntries(own) };
}

function Editor({ now }: { readonly now: RetryText }) {
  const [edited, setEdited] = useState(textOf(now));
  const [preview, setPreview] = useState<PreviewView | undefined>(undefined);
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, run] = useBusy();
  async function show(): Promise<void> {
    setError(undefined);
    try {
      setPreview(await api.previewRetry(retryOf(now, edited)));
    } catch (failure) {
      setPreview(undefined);
      setError((failure as Error).message);
    }
  }
  const change = (some: Partial<Edited>) => setEdited({ ...edited, ...some });
  const changeClass = (name: string, text: string) =>
    change({ classes: { ...edited.classes, [name]: text } });
  return (
    <>
      <Panel
        title="The schedule to try"
        aside={
          <button type="button" class="small" onClick={() => setEdited(textOf(now))}>
            As it is now
          </button>
        }
      >
        <form
          class="editor"
          onSubmit={(event) => {
            event.preventDefault();
            if (!busy) void run(show);
          }}
        >
          <Field
            label="Waits between attempts"
            id="schedule"
            value={edited.schedule}
            required
            spellcheck={false}
            hint={
              <>
                The last one repeats. Now: <code>{now.schedule.join(', ')}</code>
              </>
            }
            onInput={(event) => change({ schedule: event.currentTarget.value })}
          />
          <Field
            label="Given up after"
            id="lifetime"
            value={edited.lifetime}
            required
            spellcheck={false}
            hint={
              <>
                Now: <code>{now.lifetime}</code>
              </>
            }
            onInput={(event) => change({ lifetime: event.currentTarget.value })}
          />
          {CLASSES.map(([name, label]) => (
            <Field
              key={name}
              label={label}
              id={name}
              value={edited.classes[name] ?? ''}
              spellcheck={false}
              hint={
                now.classes[name] ? (
                  <>
                    Goes before the first one. Now:{' '}
                    <code>{now.classes[name].schedule.join(', ')}</code>
                  </>
                ) : (
                  'Empty: the first one holds.'
                )
              }
              onInput={(event) => changeClass(name, event.currentTarget.value)}
            />
          ))}
          <p>
            <BusyButton type="submit" class="primary" busy={busy} working="Looking…">
              Show what it would do
            </BusyButton>
          </p>
        </form>
        {now.domains.length > 0 ? (
          <p class="hint">
            {counted(now.domains.length, 'domain has', 'domains have')} a schedule of their own,
            which stays.
          </p>
        ) : null}
      </Panel>
      <div role="status" aria-live="polite">
        {error === undefined ? null : <p class="notice bad">{error}</p>}
        {preview === undefined ? null : <Answer preview={preview} edited={edited} />}
      </div>
    </>
  );
}

function Answer({ preview, edited }: { readonly preview: PreviewView; readonly edited: Edited }) {
  const { total, destinations } = preview;
  const changed = destinations.filter(
    ({ sooner, later, lastAttempt }) => sooner + later + lastAttempt > 0,
  );
  return (
    <Panel title="What it would do now">
      <p class="big">
        Of <b>{counted(total.waiting, 'delivery', 'deliveries')}</b> that wait:{' '}
        <b>{number(total.sooner)}</b> sooner ({number(total.atOnce)} at once),{' '}
        <b>{number(total.later)}</b> later, <b>{number(total.unchanged)}</b> as before
        {total.lastAttempt > 0 ? (
          <>
            ; <b>{number(total.lastAttempt)}</b> would get one last attempt, and bounce if it fails
          </>
        ) : null}
        .
      </p>
      {changed.length === 0 ? null : (
        <Table
          caption="By destination"
          head={[
            'Destination',
            '#Waiting',
            '#Same',
            '#Sooner',
            '#Later',
            '#At once',
            '#Last attempt',
            'First, now',
            'First, then',
          ]}
        >
          {changed.slice(0, MOST_ROWS).map((one) => (
            <tr key={one.domain}>
              <Cell name="Destination">
                <DestinationLink domain={one.domain} />
              </Cell>
              <Cell name="Waiting" right>
                <Count value={one.waiting} />
              </Cell>
              <Cell name="Same" right>
                <Count value={one.unchanged} />
              </Cell>
              <Cell name="Sooner" right>
                <Count value={one.sooner} />
              </Cell>
              <Cell name="Later" right>
                <Count value={one.later} />
              </Cell>
              <Cell name="At once" right>
                <Count value={one.atOnce} />
              </Cell>
              <Cell name="Last attempt" right>
                <Count value={one.lastAttempt} />
              </Cell>
              <Cell name="First, now">
                <Ago at={one.firstBefore} />
              </Cell>
              <Cell name="First, then">
                <Ago at={one.firstAfter} />
              </Cell>
            </tr>
          ))}
        </Table>
      )}
      {changed.length > MOST_ROWS ? (
        <p class="below-table">{number(changed.length - MOST_ROWS)} more destinations.</p>
      ) : null}
      <p>To make it so, write it into the configuration, then reload the relay:</p>
      <pre>
        {`retry:\n  schedule: [${listOf(edited.schedule).join(', ')}]\n  lifetime: ${edited.lifetime}${classesText(edited)}`}
      </pre>
    </Panel>
  );
}

function classesText({ classes }: Edited): string {
  const own = Object.entries(classes).filter(([, text]) => text.trim() !== '');
  if (own.length === 0) return '';
  const lines = own.map(
    ([name, text]) => `    ${name}: { schedule: [${listOf(text).join(', ')}] }`,
  );
  return `\n  classes:\n${lines.join('\n')}`;
}
