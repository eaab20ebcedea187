/**
 * What the log says of mail that cannot be taken: a line at the begin of a spell, one at its end,
 * whatever the number of refusals.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { intakeEvents, type RefusalReason } from '../../src/telemetry/intake-events.ts';
import type { LogFields } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { Spell } from '../../src/telemetry/spell.ts';

function watched() {
  const lines: { level: string; event: string; fields: LogFields }[] = [];
  const write = (level: string, event: string, fields: LogFields = {}) =>
    lines.push({ level, event, fields });
  const log = { write, setLevel: () => {}, recentTroubles: () => [], lostLines: () => 0 };
  const metrics = createMetrics();
  const events = intakeEvents(log, metrics);
  const refuse = (reason: RefusalReason, times: number) => {
    for (let i = 0; i < times; i += 1) {
      events.refused({ reason, client: '192.0.2.1', detail: 'no room below /spool' });
    }
  };
  const told = () => lines.filter(({ level }) => level !== 'debug');
  return { events, metrics, refuse, told };
}

test('a trouble of our own: one line for a thousand refusals, and one when it is over', async () => {
  const { events, metrics, refuse, told } = watched();
  refuse('queue-away', 1000);
  assert.deepEqual(
    told().map(({ level, event, fields }) => [level, event, fields['reason'], fields['detail']]),
    [['warn', 'intake.refusing', 'queue-away', 'no room below /spool']],
  );
  events.queueIsBack();
  events.queueIsBack();
  assert.deepEqual(
    told()
      .slice(1)
      .map(({ level, event, fields }) => [level, event, fields['refused']]),
    [['info', 'intake.accepting', 1000]],
  );
  const { values } = await metrics.refusals.get();
  const counted = values.filter(({ value }) => value > 0);
  assert.deepEqual(counted, [{ labels: { reason: 'queue-away' }, value: 1000 }]);
});

test('what is the client’s doing is told each time', () => {
  const { refuse, told } = watched();
  refuse('relay-denied', 3);
  assert.deepEqual(
    told().map(({ level, event }) => `${level} ${event}`),
    Array(3).fill('info intake.refused'),
  );
});

describe('a spell', () => {
  const spellAt = () => {
    const at = { ms: 0 };
    return { at, spell: new Spell(() => at.ms) };
  };

  test('is over when it did not come back for ten seconds', () => {
    const { at, spell } = spellAt();
    assert.equal(spell.works(), undefined);
    assert.deepEqual(spell.hit(), { count: 1, seconds: 0 });
    at.ms = 9_000;
    assert.equal(spell.works(), undefined);
    assert.equal(spell.hit(), undefined);
    at.ms = 18_900;
    assert.equal(spell.works(), undefined);
    at.ms = 19_000;
    assert.deepEqual(spell.works(), { count: 2, seconds: 19 });
    assert.equal(spell.works(), undefined);
    assert.deepEqual(spell.hit(), { count: 1, seconds: 0 });
  });

  test('that lasts is told again every ten minutes', () => {
    const { at, spell } = spellAt();
    const told: unknown[] = [];
    for (; at.ms <= 1_200_000; at.ms += 1000) told.push(spell.hit());
    assert.deepEqual(told.filter(Boolean), [
      { count: 1, seconds: 0 },
      { count: 601, seconds: 600 },
      { count: 1201, seconds: 1200 },
    ]);
  });
});

test('what strangers cause is 60 lines a minute for each reason, and counted all the same', async () => {
  const { refuse, told, metrics } = watched();
  refuse('relay-denied', 1000);
  refuse('bad-address', 3);
  const lines = told().filter(({ level }) => level === 'info');
  assert.equal(lines.length, 63);
  const { values } = await metrics.refusals.get();
  assert.equal(values.find(({ labels }) => labels.reason === 'relay-denied')?.value, 1000);
});
