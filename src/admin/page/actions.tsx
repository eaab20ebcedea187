/**
 * What an administrator does here: with queued mail, with a destination, with exceptions. Each asks first, says how
 * many it would touch (a dry run of the same request) and, afterwards, how many it did.
 */
import { useState } from 'preact/hooks';
import type { OverrideView } from '../overrides.ts';
import { api, type Which } from './api.ts';
import { Dialog, open } from './dialog.tsx';
import { useLive } from './live.ts';
import { Field, Loaded } from './parts.tsx';
import { counted, LEVELS, number } from './words.ts';

export type Action = 'retry' | 'hold' | 'release' | 'bounce' | 'drop';

/** Called when something was done: what is shown is out of date. */
type Done = () => void;

const WORDS: {
  readonly [K in Action]: {
    readonly title: string;
    readonly does: string;
    readonly done: string;
    readonly isGrave: boolean;
    readonly takesReason: boolean;
  };
} = {
  retry: {
    title: 'Retry now',
    does: 'Its waiting time is over: it is tried as soon as its destination is open.',
    done: 'due now',
    isGrave: false,
    takesReason: false,
  },
  hold: {
    title: 'Hold',
    does: 'It stays in the queue: neither tried nor given up, until it is released.',
    done: 'held',
    isGrave: false,
    takesReason: true,
  },
  release: {
    title: 'Release',
    does: 'What is held may go again.',
    done: 'released',
    isGrave: false,
    takesReason: false,
  },
  bounce: {
    title: 'Bounce',
    does: 'It is given up for good, and its senders are told. This cannot be undone.',
    done: 'bounced',
    isGrave: true,
    takesReason: true,
  },
  drop: {
    title: 'Drop',
    does: 'It is removed for good, and nobody is told. This cannot be undone.',
    done: 'dropped',
    isGrave: true,
    takesReason: true,
  },
};

/** More than that is confirmed by typing the number. */
const FEW = 1;

/** `what`: in words, e.g. `everything for example.org`. */
export function openAct(action: Action, which: Which, what: string, done: Done): void {
  open(() => <ActDialog action={action} which={which} what={what} done={done} />);
}

function ActDialog({
  action,
  which,
  what,
  done,
}: {
  readonly action: Action;
  readonly which: Which;
  readonly what: string;
  readonly done: Done;
}) {
  const { title, does, done: past, isGrave, takesReason } = WORDS[action];
  const [reason, setReason] = useState('');
  const [typed, setTyped] = useState('');
  // What a hold does with mail to come is for `stsrelay queue hold`; here it is about what is queued.
  const more = action === 'hold' ? { onlyQueued: true } : {};
  const dry = useLive('dry', () => api.act(action, { ...which, ...more, dryRun: true }), 0);
  const touched = dry.now?.touched ?? 0;
  const asksNumber = isGrave && touched > FEW;
  const isConfirmed = !asksNumber || typed.replaceAll(/\D/g, '') === String(touched);
  return (
    <Dialog
      title={`${title}: ${what}`}
      action={dry.now ? `${title} ${number(touched)}` : title}
      danger={isGrave}
      disabled={touched === 0 || !isConfirmed}
      done={done}
      run={async () => {
        const made = await api.act(action, {
          ...{ ...which, ...more },
          ...(takesReason && reason !== '' ? { reason } : {}),
        });
        const late = made.underWay > 0 ? ` ${number(made.underWay)} under way: after that.` : '';
        const shut = made.closed
          ? ` ${number(made.closed)} wait on: their destination is closed.`
          : '';
        return `${counted(made.touched, 'delivery', 'deliveries')} ${past}.${late}${shut}`;
      }}
    >
      <p>{does}</p>
      <Loaded live={dry}>
        {(now) => (
          <>
            <p class="big">
              <b>{counted(now.touched, 'delivery', 'deliveries')}</b> would be touched
              {now.matched > now.touched ? `, of ${number(now.matched)} that fit` : ''}.
            </p>
            {now.underWay > 0 ? <p>{number(now.underWay)} of them are under way now.</p> : null}
            {now.nullSender ? (
              <p>{number(now.nullSender)} are bounces themselves: nobody is told of them.</p>
            ) : null}
            {now.closedBy?.map((text) => (
              <p key={text} class="hint">
                {text}
              </p>
            ))}
          </>
        )}
      </Loaded>
      {takesReason ? (
        <Field
          label="Reason"
          value={reason}
          maxLength={400}
          onInput={(event) => setReason(event.currentTarget.value)}
          hint={action === 'bounce' ? 'The senders read it.' : 'Stands in the audit log.'}
        />
      ) : null}
      {asksNumber ? (
        <Field
          label={`Type ${touched} to confirm`}
          value={typed}
          inputMode="numeric"
          autocomplete="off"
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
      ) : null}
    </Dialog>
  );
}

const SPANS = [
  ['1h', '1 hour', 3_600_000],
  ['1d', '1 day', 86_400_000],
  ['7d', '1 week', 7 * 86_400_000],
  ['30d', '30 days', 30 * 86_400_000],
] as const;
type SpanId = (typeof SPANS)[number][0];

/** When something is over: after a span, at the end of a day, or (empty) when somebody says so. */
type End = SpanId | 'date' | '';

interface Until {
  readonly end: End;
  /** With `date`: as the date field has it. */
  readonly date: string;
}

function UntilField({
  value,
  never,
  onChange,
}: {
  readonly value: Until;
  /** What having no end is called; without it, there is none. */
  readonly never?: string;
  readonly onChange: (value: Until) => void;
}) {
  const choices: readonly (readonly [End, string])[] = [
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
        <input
          type="date"
          aria-label="Its last day"
          required
          value={value.date}
          min={new Date().toISOString().slice(0, 10)}
          onInput={(event) => onChange({ ...value, date: event.currentTarget.value })}
        />
      ) : null}
    </fieldset>
  );
}

/** RFC 3339; undefined: it has no end. */
function endOf({ end, date }: Until): string | undefined {
  if (end === '') return undefined;
  if (end !== 'date') {
    const ms = SPANS.find(([one]) => one === end)?.[2] ?? 0;
    return new Date(Date.now() + ms).toISOString();
  }
  const [year = 0, month = 1, day = 1] = date.split('-').map(Number);
  return new Date(year, month - 1, day + 1).toISOString();
}

export function openPause(domain: string, done: Done): void {
  open(() => <PauseDialog domain={domain} done={done} />);
}

function PauseDialog({ domain, done }: { readonly domain: string; readonly done: Done }) {
  const [reason, setReason] = useState('');
  const [until, setUntil] = useState<Until>({ end: '', date: '' });
  const waiting = useLive('waiting', () => api.queue({ domain, limit: 1 }), 0);
  return (
    <Dialog
      title={`Pause delivery to ${domain}`}
      action="Pause"
      done={done}
      run={async () => {
        const expires = endOf(until);
        await api.pause(domain, { reason, ...(expires === undefined ? {} : { expires }) });
        const { pauses } = await api.pauses({ domain });
        return `${domain} is paused; ${counted(pauses[0]?.waiting ?? 0, 'delivery waits', 'deliveries wait')}.`;
      }}
    >
      <p>Its mail waits, also what comes in later. An attempt under way is finished.</p>
      <Loaded live={waiting}>
        {({ total }) => (
          <p class="big">
            <b>{counted(total, 'delivery', 'deliveries')}</b> would wait.
          </p>
        )}
      </Loaded>
      <UntilField value={until} never="Until resumed" onChange={setUntil} />
      <Field
        label="Reason"
        value={reason}
        maxLength={400}
        onInput={(event) => setReason(event.currentTarget.value)}
        hint="Stands in the audit log, and beside the mail that waits."
      />
    </Dialog>
  );
}

export function openResume(domain: string, waiting: number, done: Done): void {
  open(() => (
    <Dialog
      title={`Resume delivery to ${domain}`}
      action="Resume"
      done={done}
      run={async () => {
        await api.resume(domain);
        return `${domain} is resumed; ${counted(waiting, 'delivery', 'deliveries')} may go.`;
      }}
    >
      <p class="big">
        <b>{counted(waiting, 'delivery', 'deliveries')}</b> may go again.
      </p>
    </Dialog>
  ));
}

/** `domain` empty: it is asked for. `now`: the one in force, which is changed. */
export function openOverride(domain: string, done: Done, now?: OverrideView): void {
  open(() => <OverrideDialog given={domain} now={now} done={done} />);
}

type Level = keyof typeof LEVELS;

interface OverrideDialogProps {
  readonly given: string;
  readonly now: OverrideView | undefined;
  readonly done: Done;
}

function OverrideDialog({ given, now, done }: OverrideDialogProps) {
  const [domain, setDomain] = useState(given);
  const [tls, setTls] = useState<Level>(now?.tls ?? 'encrypt');
  const [until, setUntil] = useState<Until>(untilOf(now));
  const [reason, setReason] = useState(now?.reason ?? '');
  const [owner, setOwner] = useState(now?.owner ?? '');
  const [tries, setTries] = useState(true);
  const { means, givesUp } = LEVELS[tls];
  return (
    <Dialog
      title={
        now
          ? `Change the override of ${given}`
          : given === ''
            ? 'Add an override'
            : `Override the TLS policy of ${given}`
      }
      action={now ? 'Change override' : 'Add override'}
      disabled={domain.trim() === '' || reason.trim() === ''}
      done={done}
      run={async () => {
        const name = domain.trim();
        const expires = endOf(until) ?? '';
        const made = await api.putOverride(name, { tls, owner, reason, expires });
        const told = `The override of ${made.domain} is ${made.result}.`;
        if (!tries) return told;
        const { touched } = await api.act('retry', { filter: { domain: made.domain } });
        return `${told} ${counted(touched, 'delivery is', 'deliveries are')} due now.`;
      }}
    >
      <p>
        For a while, mail for this domain is not held to the TLS that the domain publishes. It ends
        by itself.
      </p>
      {given === '' ? (
        <Field
          label="Domain"
          value={domain}
          autocomplete="off"
          spellcheck={false}
          placeholder="partner.example"
          onInput={(event) => setDomain(event.currentTarget.value)}
        />
      ) : null}
      <div class="field">
        <label for="tls">What is asked instead</label>
        <select
          id="tls"
          value={tls}
          aria-describedby="tls-means"
          onChange={(event) => setTls(event.currentTarget.value as Level)}
        >
          {Object.entries(LEVELS).map(([id, { name }]) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
        <p class="hint" id="tls-means">
          {means}
        </p>
      </div>
      <p class="gives-up">
        <b>What it gives up:</b> {givesUp}
      </p>
      <UntilField value={until} onChange={setUntil} />
      <Field
        label="Reason"
        value={reason}
        required
        maxLength={400}
        placeholder="their certificate expired, ticket 123"
        onInput={(event) => setReason(event.currentTarget.value)}
      />
      <Field
        label="Owner"
        value={owner}
        maxLength={200}
        hint="Who answers for it; may be left out."
        onInput={(event) => setOwner(event.currentTarget.value)}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={tries}
          onChange={(event) => setTries(event.currentTarget.checked)}
        />
        Try what waits for this domain at once
      </label>
    </Dialog>
  );
}

/** The day that it ends on, or a week. */
function untilOf(now: OverrideView | undefined): Until {
  if (!now?.expires) return { end: '7d', date: '' };
  const ends = new Date(now.expires);
  const [month, day] = [ends.getMonth() + 1, ends.getDate()].map((n) => `${n}`.padStart(2, '0'));
  return { end: 'date', date: `${ends.getFullYear()}-${month}-${day}` };
}

export function openRemoveOverride(domain: string, done: Done): void {
  open(() => <RemoveOverride domain={domain} done={done} />);
}

function RemoveOverride({ domain, done }: { readonly domain: string; readonly done: Done }) {
  const waiting = useLive('waiting', () => api.queue({ domain, limit: 1 }), 0);
  return (
    <Dialog
      title={`End the override of ${domain}`}
      action="End override"
      danger
      done={done}
      run={async () => {
        await api.removeOverride(domain);
        return `The override of ${domain} is removed.`;
      }}
    >
      <p>From now on its mail is held to what the domain publishes again.</p>
      <Loaded live={waiting}>
        {({ total }) => <p>{counted(total, 'delivery waits', 'deliveries wait')} for it now.</p>}
      </Loaded>
    </Dialog>
  );
}
