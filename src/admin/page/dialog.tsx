/**
 * Dialogs, and the line that says what came of an action. A dialog is a <dialog> of the browser: it keeps the focus,
 * closes on Escape, and gives the focus back. What it does is done in `run`; while it does it cannot be sent again.
 */
import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

export interface Notice {
  readonly tone: 'good' | 'bad';
  readonly text: string;
}

/** What the last action came to; read out by screen readers. */
export const notice = signal<Notice | undefined>(undefined);

/** Do it, and say what came of it. Whether it went well. */
export async function tell(work: () => Promise<string>): Promise<boolean> {
  try {
    notice.value = { tone: 'good', text: await work() };
    return true;
  } catch (error) {
    notice.value = { tone: 'bad', text: (error as Error).message };
    return false;
  }
}

export function NoticeLine() {
  const now = notice.value;
  return (
    <div class="notices" role="status" aria-live="polite">
      {now === undefined ? null : (
        <p class={`notice ${now.tone}`}>
          <span>{now.text}</span>
          <button
            type="button"
            class="small"
            onClick={() => {
              notice.value = undefined;
            }}
          >
            Dismiss
          </button>
        </p>
      )}
    </div>
  );
}

/** The dialog that is open; undefined: none. */
export const dialog = signal<(() => ComponentChildren) | undefined>(undefined);

export function open(content: () => ComponentChildren): void {
  dialog.value = content;
}

export function close(): void {
  dialog.value = undefined;
}

/** Where the dialog that is open is drawn. */
export function DialogPlace() {
  const content = dialog.value;
  return content === undefined ? null : content();
}

const GONE_WITHIN_MS = 15_000;

/** Give the focus back; to the heading, where what was done takes away what had it. */
function giveBack(element: HTMLElement): void {
  element.focus();
  const watch = new MutationObserver(() => {
    const { activeElement, body } = document;
    if (activeElement === element) return;
    watch.disconnect();
    if (activeElement !== body || element.isConnected) return;
    document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true });
  });
  watch.observe(document.body, { childList: true, subtree: true });
  setTimeout(() => watch.disconnect(), GONE_WITHIN_MS);
}

export interface DialogProps {
  readonly title: string;
  /** What the button says that does it; undefined: it shows something alone. */
  readonly action: string | undefined;
  readonly danger?: boolean;
  /** Why it is not to be sent as it is: stands beside the button, which is grey then. */
  readonly lacks?: string | undefined;
  /** Returns what came of it, for the notice line; rejects with what is to be mended. */
  readonly run: () => Promise<string>;
  /** It was done. */
  readonly done?: () => void;
  readonly children: ComponentChildren;
}

export function Dialog({ title, action, danger, lacks, run, done, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | undefined>(undefined);
  useEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) giveBack(before);
    };
  }, []);
  async function send(event: Event): Promise<void> {
    event.preventDefault();
    if (busy || lacks !== undefined || action === undefined) return;
    setBusy(true);
    setError(undefined);
    try {
      notice.value = { tone: 'good', text: await run() };
      close();
      done?.();
    } catch (failure) {
      setError((failure as Error).message);
      setBusy(false);
    }
  }
  return (
    <dialog ref={element} aria-labelledby="dialog-title" onClose={close}>
      <form method="dialog" onSubmit={(event) => void send(event)}>
        <h2 id="dialog-title">{title}</h2>
        {children}
        {error === undefined ? null : (
          <p class="notice bad" role="alert">
            {error}
          </p>
        )}
        <footer>
          {lacks === undefined || action === undefined ? null : (
            <p class="lacks" id="dialog-lacks">
              {lacks}
            </p>
          )}
          <button type="button" onClick={close}>
            {action === undefined ? 'Close' : 'Cancel'}
          </button>
          {action === undefined ? null : (
            <button
              type="submit"
              class={danger ? 'danger' : 'primary'}
              aria-disabled={busy || lacks !== undefined}
              aria-describedby={lacks === undefined ? undefined : 'dialog-lacks'}
            >
              {busy ? 'Working…' : action}
            </button>
          )}
        </footer>
      </form>
    </dialog>
  );
}
