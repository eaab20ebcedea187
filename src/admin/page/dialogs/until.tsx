/** How long something holds: a span, until the end of a day, until the time it has now, or without an end. */
import { clock, ZONE } from '../words.ts';

const SPANS = [
  ['1h', '1 hour', 3_600_000],
  ['1d', '1 day', 86_400_000],
  ['7d', '1 week', 7 * 86_400_000],
  ['30d', '30 days', 30 * 86_400_000],
] as const;
type SpanId = (typeof SPANS)[number][0];

/** `kept`: as it is; empty: when somebody says so. */
type End = SpanId | 'date' | 'kept' | '';

export interface Until {
  readonly end: End;
  /** With `date`: as the date field has it. */
  readonly date: string;
  /** And the time of that day, as the time field has it; absent or empty: its end. */
  readonly time?: string | undefined;
  /** The end of what is changed, RFC 3339: to the second, whatever the day. */
  readonly keeps?: string | undefined;
}

export function UntilField({
  value,
  never,
  onChange,
}: {
  readonly value: Until;
  /** What having no end is called; without it, there is none. */
  readonly never?: string | undefined;
  readonly onChange: (value: Until) => void;
}) {
  const choices: readonly (readonly [End, string])[] = [
    ...(value.keeps === undefined
      ? []
      : [['kept', `As it is, until ${clock(value.keeps)}`] as const]),
    ...SPANS.map(([id, name]) => [id, name] as const),
    ['date', 'Until a day'],
    ...(never === undefined ? [] : [['', never] as const]),
  ];
  return (
    <fieldset class="choice">
      <legend>For how long</legend>
      {choices.map(([end, name]) => (
        <label key={end}>
          <input
            type="radio"
            name="until"
            checked={end === value.end}
            onChange={() => onChange({ ...value, end })}
          />
          {name}
        </label>
      ))}
      {value.end === 'date' ? (
        <>
          <label>
            Its last day
            <input
              type="date"
              required
              value={value.date}
              min={dayOf(new Date())}
              onInput={(event) => onChange({ ...value, date: event.currentTarget.value })}
            />
          </label>
          <label>
            until (empty: the end of that day; {ZONE})
            <input
              type="time"
              value={value.time ?? ''}
              onInput={(event) => onChange({ ...value, time: event.currentTarget.value })}
            />
          </label>
        </>
      ) : null}
    </fieldset>
  );
}

/** As the date field has it, where the browser is. */
function dayOf(at: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** What is still to be chosen, for the dialog. */
export function lastDayLacks({ end, date }: Until): string | undefined {
  return end === 'date' && date === '' ? 'Still to be chosen: its last day.' : undefined;
}

/** RFC 3339; undefined: it has no end. A day lasts until its end, or that time, where the browser is. */
export function endOf({ end, date, time, keeps }: Until): string | undefined {
  if (end === '') return undefined;
  if (end === 'kept') return keeps;
  if (end !== 'date') {
    const ms = SPANS.find(([one]) => one === end)?.[2] ?? 0;
    return new Date(Date.now() + ms).toISOString();
  }
  const [year = 0, month = 1, day = 1] = date.split('-').map(Number);
  if (!time) return new Date(year, month - 1, day + 1).toISOString();
  const [hour = 0, minute = 0] = time.split(':').map(Number);
  return new Date(year, month - 1, day, hour, minute).toISOString();
}
