/** The small parts that views are made of: times, badges, tables, states of loading. */
import type { ComponentChildren } from 'preact';
import type { QueueState } from '../../queue/gates.ts';
import type { Live } from './live.ts';
import { to } from './route.ts';
import { unicodeOf } from './u-label.ts';
import { clock, fromNow, longTime, number, STATES, utc } from './words.ts';

/** `in 5 min`; the time itself where the pointer rests. */
export function Ago({ at }: { readonly at: string | undefined }) {
  if (at === undefined) return <span class="faint">–</span>;
  return (
    <time dateTime={at} title={`${longTime(at)} · ${utc(at)}`}>
      {fromNow(at)}
    </time>
  );
}

/** The time by the clock; in UTC where the pointer rests. */
export function At({ at }: { readonly at: string | undefined }) {
  if (at === undefined) return <span class="faint">–</span>;
  return (
    <time dateTime={at} title={`${utc(at)} (${fromNow(at)})`}>
      {clock(at)}
    </time>
  );
}

/** Times in sentences of the relay, those for people without seconds; and domains in A-labels. */
const MARKED =
  /(\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z| \d{2}:\d{2} UTC)|(?:[\w-]+\.)*xn--[\w-]+(?:\.[\w-]+)*)/;

/** A sentence of the relay, its times by the clock of whoever reads it. */
export function Said({ text }: { readonly text: string }) {
  // Here it is a button.
  const plain = text.replace('until `domain resume`', 'until it is resumed');
  return (
    <>
      {plain.split(MARKED).map((part, i) => (
        <span key={i}>{i % 2 === 0 ? part : <Marked text={part} />}</span>
      ))}
    </>
  );
}

function Marked({ text }: { readonly text: string }) {
  if (!/^\d{4}-.*[CZ]$/.test(text)) return <Domain name={text} />;
  return <At at={text.replace(' UTC', ':00Z').replace(' ', 'T')} />;
}

/** A domain as it is in DNS, and beside it as people write it. */
export function Domain({ name }: { readonly name: string }) {
  const unicode = unicodeOf(name);
  if (unicode === undefined) return <>{name}</>;
  return (
    <>
      {name} <bdi class="unicode">({unicode})</bdi>
    </>
  );
}

/** A destination, with the way to all that is known about it. */
export function DestinationLink({ domain }: { readonly domain: string }) {
  return (
    <a href={to('destinations', domain)}>
      <Domain name={domain} />
    </a>
  );
}

export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'plain';

export function Badge({ tone = 'plain', children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

const STATE_TONES: { readonly [K in QueueState]: Tone } = {
  active: 'good',
  due: 'info',
  delayed: 'plain',
  parked: 'warn',
  held: 'warn',
};

export function StateBadge({ state }: { readonly state: QueueState }) {
  const { name, means } = STATES[state];
  return (
    <span class={`badge ${STATE_TONES[state]}`} title={means}>
      {name}
    </span>
  );
}

export function Count({ value }: { readonly value: number }) {
  return value === 0 ? <span class="faint">0</span> : number(value);
}

/** What is shown of something that is asked for: itself, that it comes, or why it does not. */
export function Loaded<T>({
  live,
  children,
}: {
  readonly live: Live<T>;
  readonly children: (now: T) => ComponentChildren;
}) {
  const { now, error, again } = live;
  return (
    <>
      {error === undefined ? null : (
        <p class="notice bad" role="alert">
          <span>{error}</span>
          <button type="button" class="small" onClick={again}>
            Try again
          </button>
        </p>
      )}
      {now === undefined ? error === undefined && <p class="loading">Loading…</p> : children(now)}
    </>
  );
}

export function Empty({ children }: { readonly children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** A heading of a view, with what can be done beside it. */
export function Heading({
  title,
  lead,
  children,
}: {
  readonly title: ComponentChildren;
  readonly lead?: ComponentChildren;
  readonly children?: ComponentChildren;
}) {
  return (
    <header class="heading">
      <div>
        <h1 tabIndex={-1}>{title}</h1>
        {lead === undefined ? null : <p class="lead">{lead}</p>}
      </div>
      {children === undefined ? null : <div class="buttons">{children}</div>}
    </header>
  );
}

export function Panel({
  title,
  aside,
  children,
}: {
  readonly title: string;
  readonly aside?: ComponentChildren;
  readonly children: ComponentChildren;
}) {
  return (
    <section class="panel" aria-label={title}>
      <header>
        <h2>{title}</h2>
        {aside === undefined ? null : <div class="aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}

/** A table that becomes a list of cards on a phone: cells name their column themselves. */
export function Table({
  caption,
  head,
  children,
}: {
  readonly caption: string;
  /** Names of the columns; those that begin with `#` hold numbers. */
  readonly head: readonly string[];
  readonly children: ComponentChildren;
}) {
  return (
    <table>
      <caption class="unseen">{caption}</caption>
      <thead>
        <tr>
          {head.map((name) => (
            <th key={name} scope="col" class={name.startsWith('#') ? 'right' : undefined}>
              {name.replace('#', '')}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  );
}

/** A cell; `name` is that of its column, for where the head is not seen. */
export function Cell({
  name,
  right,
  wide,
  children,
}: {
  readonly name: string;
  readonly right?: boolean;
  /** It takes a row of its own on a phone; `phone`: there alone. */
  readonly wide?: boolean | 'phone';
  readonly children: ComponentChildren;
}) {
  const looks = [right ? 'right' : '', wide === true ? 'wide' : wide ? 'whole' : ''].filter(
    (word) => word !== '',
  );
  return (
    <td data-name={name} class={looks.length > 0 ? looks.join(' ') : undefined}>
      {children}
    </td>
  );
}

export interface Fact {
  readonly name: string;
  readonly value: ComponentChildren;
}

export function Facts({ facts }: { readonly facts: readonly (Fact | undefined)[] }) {
  return (
    <dl class="facts">
      {facts.map((fact) =>
        fact === undefined ? null : (
          <div key={fact.name}>
            <dt>{fact.name}</dt>
            <dd>{fact.value}</dd>
          </div>
        ),
      )}
    </dl>
  );
}

/** Where a list goes on; without `href` it does not. */
export function NextPage(props: { readonly href: string | undefined; readonly size: number }) {
  if (props.href === undefined) return null;
  return (
    <p class="pages">
      <a href={props.href}>Next {props.size}</a>
    </p>
  );
}
