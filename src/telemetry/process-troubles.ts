/**
 * Node's own warnings, what libraries say on the console, and the errors nobody caught, as events:
 * once the relay runs, stderr carries nothing that is not a JSON line.
 */
import { format } from 'node:util';
import type { Log } from './log.ts';

/** Take over from Node. An error that nobody caught is a bug: it is logged and ends the process. */
export function reportProcessTroubles(log: Log): void {
  process.removeAllListeners('warning'); // Node's own prints text to stderr
  process.on('warning', ({ name, message }) => {
    log.write('warn', 'relay.node_warning', { warning: `${name}: ${message}` });
  });
  // ioredis, where our user of Redis may not say INFO; BullMQ, of what it did not expect.
  const said = (...words: unknown[]) => {
    log.write('warn', 'relay.node_warning', { warning: format(...words) });
  };
  Object.assign(console, { warn: said, error: said });
  let crashing = false;
  const crash = (kind: string) => (error: unknown) => {
    if (crashing) process.exit(1);
    crashing = true;
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    log.write('error', 'relay.crashed', { kind, error: message, stack });
    process.exit(1);
  };
  process.on('uncaughtException', crash('uncaught exception'));
  process.on('unhandledRejection', crash('unhandled rejection'));
}
