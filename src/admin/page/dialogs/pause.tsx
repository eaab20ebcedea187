/** Delivery to a destination is stopped, or goes on. */
import { useState } from 'preact/hooks';
import { api } from '../api.ts';
import { Dialog, open } from '../dialog.tsx';
import { Field } from '../forms.tsx';
import { useLive } from '../live.ts';
import { Loaded } from '../parts.tsx';
import { counted } from '../words.ts';
import { endOf, lastDayLacks, type Until, UntilField } from './until.tsx';

export function openPause(domain: string, done: () => void): void {
  open(() => <PauseDialog domain={domain} done={done} />);
}

function PauseDialog({ domain, done }: { readonly domain: string; readonly done: () => void }) {
  const [reason, setReason] = useState('');
  const [until, setUntil] = useState<Until>({ end: '', date: '' });
  const waiting = useLive('waiting', () => api.queue({ domain, limit: 1 }), 0);
  return (
    <Dialog
      title={`Pause delivery to ${domain}`}
      action="Pause"
      lacks={lastDayLacks(until)}
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

export function openResume(domain: string, waiting: number, done: () => void): void {
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
