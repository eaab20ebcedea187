/**
 * Loaded into the relay before anything else (`node --import`): a clock that is wrong by what a
 * file says, in milliseconds, from the moment it is written. Only the time of day is; timers and
 * `performance.now` run on, as they do when a machine's clock is set.
 */
import { readFileSync } from 'node:fs';

const LOOK_MS = 50;
const file = process.env['TORTURE_CLOCK_FILE'] ?? '';
const RealDate = globalThis.Date;
let offsetMs = 0;

function look(): void {
  try {
    const text = readFileSync(file, 'utf8');
    // Empty: it is being written.
    if (text !== '') offsetMs = Number(text) || 0;
  } catch {
    offsetMs = 0; // not written yet
  }
}

const now = () => RealDate.now() + offsetMs;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, parts: unknown[], asked) =>
    Reflect.construct(target, parts.length === 0 ? [now()] : parts, asked) as Date,
  apply: () => new RealDate(now()).toString(),
  get: (target, name, receiver): unknown =>
    name === 'now' ? now : Reflect.get(target, name, receiver),
});

if (file !== '') {
  look();
  setInterval(look, LOOK_MS).unref();
}
