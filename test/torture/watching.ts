/**
 * Watches the relay's log, and this process itself, for what the ledger has to know.
 */
import type { Ledger } from './ledger.ts';
import { Violation } from './ledger-facts.ts';
import type { LogLine } from './relay-run.ts';

/** When this process itself stands still for so long, it is its answers that are late. */
const LAG_MS = 1000;

/** What a line of the relay's log means for the promises. */
export function judgeLine(line: LogLine, ledger: Ledger, violate: (error: Error) => void): void {
  switch (line.event) {
    case 'delivery.delivered':
    case 'outcome.bounced':
      ledger.recorded(String(line['recipient']));
      break;
    case 'relay.crashed':
    case 'spool.damaged':
      violate(new Violation(JSON.stringify(line), []));
      break;
    case 'relay.role_ended':
      if (line['reason'] !== 'SIGKILL') violate(new Violation(JSON.stringify(line), []));
  }
}

/** Where this process itself stood still, answers were late that were not meant to be. */
export function watchLag(ledger: Ledger): NodeJS.Timeout {
  const periodMs = 50;
  let dueMs = Date.now() + periodMs;
  return setInterval(() => {
    const lagMs = Date.now() - dueMs;
    if (lagMs > LAG_MS) ledger.disturb(`the campaign lagged by ${lagMs} ms`, true, lagMs)();
    dueMs = Date.now() + periodMs;
  }, periodMs);
}
