/** Writes so many lines to the log, some in each turn, tells its parent when it has, and ends with the channel to it. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createLog } from '../../src/telemetry/log.ts';

process.on('disconnect', () => process.exit(0));
const log = createLog({ level: 'info', format: 'json' });
const lines = Number(process.argv[2]);
for (let n = 0; n < lines; n += 1) {
  log.write(n % 100 === 0 ? 'warn' : 'info', 'test.line', { n, text: 'x'.repeat(500) });
  if (n % 10 === 0) await nextTurn();
}
process.send?.('written');
