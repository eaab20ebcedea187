/** What happens to traces, as the log tells it. A collector that is away is one line, not one for each batch. */
import { LineBudget } from './line-budget.ts';
import type { Log } from './log.ts';
import { Spell } from './spell.ts';

export function traceEvents(log: Log) {
  const losses = new Spell();
  const warnings = new LineBudget();
  let unsent = 0;
  return {
    opened({ ratio }: { readonly ratio: number }): void {
      log.write('info', 'traces.on', { ratio });
    },
    /** Somebody asked for them, and they cannot be had; mail goes on without. */
    impossible(reason: string): void {
      log.write('warn', 'traces.off', { reason });
    },
    /** The SDK, or a variable that is not understood. */
    warned(warning: string): void {
      const { mayTell, unsaid } = warnings.take();
      if (mayTell) log.write('warn', 'traces.warning', { warning, unsaid });
    },
    /** The collector did not take so many spans. */
    lost(spans: number, error: string): void {
      unsent += spans;
      const told = losses.hit();
      if (!told) return;
      log.write('warn', 'traces.lost', { error, spans: unsent, seconds: told.seconds });
      unsent = 0;
    },
    sent(): void {
      const over = losses.works();
      if (!over) return;
      log.write('info', 'traces.sent', { spans: unsent, seconds: over.seconds });
      unsent = 0;
    },
  };
}
export type TraceEvents = ReturnType<typeof traceEvents>;
