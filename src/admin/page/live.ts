/**
 * What is asked for again and again while somebody looks. Pauses while the tab is hidden; goes on at once when it
 * is shown. A slow answer makes the pauses longer, so that a page that is left open costs the relay a tenth
 * of its time at most.
 */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { session } from './api.ts';

export interface Live<T> {
  readonly now: T | undefined;
  /** Why the last request failed. */
  readonly error: string | undefined;
  /** Ask at once. */
  readonly again: () => void;
}

const SLOW = 10;

/** `key` says what is asked for; `everyMs` 0: once. */
export function useLive<T>(key: string, load: () => Promise<T>, everyMs: number): Live<T> {
  const [state, setState] = useState<{ key: string; now?: T; error?: string }>({ key });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const again = useCallback(() => setTurn((count) => count + 1), []);
  // `turn` makes it ask again
  useEffect(() => {
    let timer = 0;
    let isOver = false;
    const run = async () => {
      const began = performance.now();
      try {
        const now = await latest.current();
        if (!isOver) setState({ key, now });
      } catch (error) {
        if (isOver) return;
        const text = (error as Error).message;
        setState((before) =>
          before.key === key ? { ...before, error: text } : { key, error: text },
        );
      }
      const tookMs = performance.now() - began;
      if (everyMs > 0 && !isOver) timer = window.setTimeout(next, Math.max(everyMs, SLOW * tookMs));
    };
    const next = () => {
      if (document.hidden) timer = 0;
      else if (session.value?.signedIn) void run();
    };
    const shown = () => {
      if (!document.hidden && timer === 0 && everyMs > 0) next();
    };
    void run();
    document.addEventListener('visibilitychange', shown);
    return () => {
      isOver = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', shown);
    };
  }, [key, everyMs, turn]);
  const isOwn = state.key === key;
  return {
    now: isOwn ? state.now : undefined,
    error: isOwn ? state.error : undefined,
    again,
  };
}
