/**
 * The override of a domain's TLS policy: added, changed, ended. One of the configuration file is shown with all it
 * says, but changed there: what is chosen here comes out as its line.
 */
import { useState } from 'preact/hooks';
import type { OverrideView } from '../../overrides.ts';
import { api } from '../api.ts';
import { Dialog, open } from '../dialog.tsx';
import { Field } from '../forms.tsx';
import { useLive } from '../live.ts';
import { Loaded } from '../parts.tsx';
import { clock, counted, fromNow, LEVELS, type Level } from '../words.ts';
import { endOf, lastDayLacks, type Until, UntilField } from './until.tsx';

type Done = () => void;

/** `domain` empty: it is asked for. `now`: the one in force, which is changed. */
export function openOverride(domain: string, done: Done, now?: OverrideView): void {
  open(() => <OverrideDialog given={domain} now={now} done={done} />);
}

interface Wish {
  readonly domain: string;
  readonly tls: Level;
  readonly until: Until;
  readonly reason: string;
  readonly owner: string;
  /** What waits is tried at once. */
  readonly tries: boolean;
}

function wishOf(domain: string, now: OverrideView | undefined): Wish {
  return {
    ...{ domain, tls: now?.tls ?? 'encrypt', reason: now?.reason ?? '', owner: now?.owner ?? '' },
    until: untilOf(now),
    tries: true,
  };
}

/** To the second as it is; for a new one a week. */
function untilOf(now: OverrideView | undefined): Until {
  if (now === undefined) return { end: '7d', date: '' };
  if (now.expires === undefined) return { end: '', date: '' };
  return { end: 'kept', date: '', keeps: now.expires };
}

function OverrideDialog({
  given,
  now,
  done,
}: {
  readonly given: string;
  readonly now: OverrideView | undefined;
  readonly done: Done;
}) {
  const [wish, setWish] = useState(wishOf(given, now));
  const change = (some: Partial<Wish>) => setWish({ ...wish, ...some });
  const isOfFile = now?.source === 'file';
  return (
    <Dialog
      title={titleOf(given, now)}
      action={isOfFile ? undefined : now ? 'Change override' : 'Add override'}
      lacks={lackOf(wish)}
      done={done}
      run={() => put(wish)}
    >
      {isOfFile ? (
        <p class="notice warn">It stands in the configuration file, and is changed there.</p>
      ) : (
        <p>
          Until it ends, mail for this domain is held to what is chosen here, and not to the TLS
          that the domain publishes.
        </p>
      )}
      {given === '' ? <Replaced domain={wish.domain} /> : null}
      {given === '' ? (
        <Field
          label="Domain"
          value={wish.domain}
          required
          autocomplete="off"
          spellcheck={false}
          placeholder="partner.example"
          onInput={(event) => change({ domain: event.currentTarget.value })}
        />
      ) : null}
      <LevelField tls={wish.tls} onChange={(tls) => change({ tls })} />
      <UntilField
        value={wish.until}
        never={isOfFile ? 'Without an end' : undefined}
        onChange={(until) => change({ until })}
      />
      <Field
        label="Reason"
        value={wish.reason}
        required
        maxLength={400}
        placeholder="their certificate expired, ticket 123"
        onInput={(event) => change({ reason: event.currentTarget.value })}
      />
      <Field
        label="Owner"
        value={wish.owner}
        maxLength={200}
        hint="Who answers for it; may be left out."
        onInput={(event) => change({ owner: event.currentTarget.value })}
      />
      {isOfFile ? (
        <FileLine wish={wish} />
      ) : (
        <label class="check">
          <input
            type="checkbox"
            checked={wish.tries}
            onChange={(event) => change({ tries: event.currentTarget.checked })}
          />
          Try what waits for this domain at once
        </label>
      )}
    </Dialog>
  );
}

/** Somebody else's that what is chosen takes the place of. */
function Replaced({ domain: typed }: { readonly domain: string }) {
  const domain = typed.trim();
  const isName = domain.includes('.') && !domain.includes('*');
  const find = async () => (isName ? (await api.overrides({ domain })).overrides[0] : undefined);
  const { now } = useLive(domain, find, 0);
  if (!now) return null;
  const { tls, reason, expires, source } = now;
  const then =
    source === 'file'
      ? 'It stands in the configuration file, and is changed there.'
      : 'What is chosen here takes its place.';
  const end = expires === undefined ? '' : `, until ${clock(expires)}`;
  return (
    <p class="notice warn" role="status">
      {`${now.domain} has one already: ${LEVELS[tls].name}${end} (${reason}). ${then}`}
    </p>
  );
}

function titleOf(domain: string, now: OverrideView | undefined): string {
  if (now) return `The override of ${domain}`;
  return domain === '' ? 'Add an override' : `Override the TLS policy of ${domain}`;
}

function lackOf({ domain, reason, until }: Wish): string | undefined {
  const missing = [
    ...(domain.trim() === '' ? ['a domain'] : []),
    ...(reason.trim() === '' ? ['a reason'] : []),
  ];
  return missing.length > 0 ? `Still needed: ${missing.join(' and ')}.` : lastDayLacks(until);
}

/** Make it. What it does to the mail that waits, and when, in a sentence. */
async function put({ domain: name, tls, owner, reason, until, tries }: Wish): Promise<string> {
  const expires = endOf(until) ?? '';
  const { domain, result } = await api.putOverride(name.trim(), { tls, owner, reason, expires });
  const made = result === 'replaced' ? 'changed' : result;
  const told = `The override of ${domain} is ${made}, until ${clock(expires)}.`;
  const goes = tls === 'verify' ? ['is tried', 'are tried'] : ['is let go', 'are let go'];
  const go = (count: number) => `${counted(count, 'message')} ${goes[count === 1 ? 0 : 1]}`;
  if (!tries) {
    const { destinations } = await api.summary({ domain, limit: 1 });
    const [waits] = destinations;
    if (!waits) return `${told} No mail waits for it.`;
    const when = waits.nextAttempt
      ? ` the first ${fromNow(waits.nextAttempt)} (${clock(waits.nextAttempt)})`
      : ' as soon as its destination is open';
    return `${told} ${go(waits.total)} at the next attempt,${when}.`;
  }
  const { touched, underWay, closed = 0 } = await api.act('retry', { filter: { domain } });
  if (touched === 0) return `${told} No mail waits for it.`;
  const late = underWay > 0 ? ` ${underWay} under way now: after that.` : '';
  const shut = closed > 0 ? ` ${counted(closed, 'waits', 'wait')} on: it is closed.` : '';
  return `${told} ${go(touched)} now.${late}${shut}`;
}

function LevelField(props: { readonly tls: Level; readonly onChange: (tls: Level) => void }) {
  const { means, givesUp } = LEVELS[props.tls];
  return (
    <>
      <div class="field">
        <label for="tls">What is asked instead</label>
        <select
          id="tls"
          value={props.tls}
          aria-describedby="tls-means"
          onChange={(event) => props.onChange(event.currentTarget.value as Level)}
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
    </>
  );
}

/** As it would stand in the file. */
function FileLine({ wish }: { readonly wish: Wish }) {
  const { domain, tls, owner, reason, until } = wish;
  const ends = lastDayLacks(until) === undefined ? endOf(until) : undefined;
  const text = (value: string) => JSON.stringify(value);
  const parts = [
    ...[`domain: ${domain}`, `tls: ${tls}`, `owner: ${text(owner)}`, `reason: ${text(reason)}`],
    ...(ends === undefined ? [] : [`expires: ${ends}`]),
  ];
  return (
    <div class="field">
      <p>To change it, put this in its place in the file, then reload the relay:</p>
      <pre>{`overrides:\n  - { ${parts.join(', ')} }`}</pre>
    </div>
  );
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
        {({ total }) => <p>{counted(total, 'message waits', 'messages wait')} for it now.</p>}
      </Loaded>
    </Dialog>
  );
}
