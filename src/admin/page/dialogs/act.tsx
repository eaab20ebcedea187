/**
 * What is done with queued mail. Asks first, says how many it would touch (a dry run of the same request) and,
 * afterwards, how many it did.
 */
import { useState } from 'preact/hooks';
import { api, type Which } from '../api.ts';
import { Dialog, open } from '../dialog.tsx';
import { Field } from '../forms.tsx';
import { useLive } from '../live.ts';
import { Loaded } from '../parts.tsx';
import { counted, number } from '../words.ts';

export type Action = 'retry' | 'hold' | 'release' | 'bounce' | 'drop';

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
export function openAct(action: Action, which: Which, what: string, done: () => void): void {
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
  readonly done: () => void;
}) {
  const { title, does, done: past, isGrave, takesReason } = WORDS[action];
  const [reason, setReason] = useState('');
  const [typed, setTyped] = useState('');
  const [isRule, setIsRule] = useState(false);
  const more = action === 'hold' ? { onlyQueued: !isRule } : {};
  const dry = useLive(
    isRule ? 'dry, with a rule' : 'dry',
    () => api.act(action, { ...which, ...more, dryRun: true }),
    0,
  );
  const touched = dry.now?.touched ?? 0;
  const asksNumber = isGrave && touched > FEW;
  const isConfirmed = !asksNumber || typed.replaceAll(/\D/g, '') === String(touched);
  return (
    <Dialog
      title={`${title}: ${what}`}
      action={touched > 0 ? `${title} ${number(touched)}` : title}
      danger={isGrave}
      lacks={lacks(dry.now, isConfirmed)}
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
        const rule = made.rule ? ` ${rulesText(action, made.rule)}` : '';
        return `${counted(made.touched, 'delivery', 'deliveries')} ${past}.${late}${shut}${rule}`;
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
            {isGrave && !('ids' in which) ? (
              <p class="hint">What comes in until then, and fits, goes with them.</p>
            ) : null}
            {now.rule ? <p>{rulesText(action, now.rule)}</p> : null}
            {isRule && !now.rule ? (
              <p class="hint">These filters are about what is queued: they make no rule.</p>
            ) : null}
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
      {action === 'hold' && 'filter' in which ? (
        <label class="check">
          <input
            type="checkbox"
            checked={isRule}
            onChange={(event) => setIsRule(event.currentTarget.checked)}
          />
          Also what comes in later, until the rule is released
        </label>
      ) : null}
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

/** Why it cannot be done yet, or not at all. A rule is made or ended also where nothing is queued that it fits. */
function lacks(
  dry: { readonly touched: number; readonly rule?: string | undefined } | undefined,
  isConfirmed: boolean,
): string | undefined {
  if (dry === undefined) return 'How many it would be is not known yet.';
  if (dry.touched === 0 && !dry.rule) return 'There is nothing to be done.';
  return isConfirmed ? undefined : `Still to be typed: ${dry.touched}.`;
}

function rulesText(action: Action, rule: string): string {
  return action === 'release'
    ? `The rule “${rule}” ends.`
    : `The rule “${rule}” holds what comes in later.`;
}
