import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  formatDuration,
  formatExpiry,
  formatRate,
  formatSize,
  formatTimeOfDay,
  parseDuration,
  parseExpiry,
  parseRate,
  parseSize,
  parseTimeOfDay,
} from '../../src/config/units.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

describe('durations', () => {
  const good: readonly (readonly [string, number])[] = [
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 5 * MINUTE],
    ['4h', 240 * MINUTE],
    ['5d', 5 * DAY],
    ['0s', 0],
    ['007s', 7000],
  ];
  for (const [text, ms] of good) {
    test(`${text} is ${ms} ms`, () => assert.equal(parseDuration(text), ms));
  }
  const bad: readonly (readonly [string, string])[] = [
    ['', 'empty'],
    ['5', 'no unit'],
    ['m', 'no number'],
    ['5 m', 'a blank'],
    [' 5m', 'a blank before'],
    ['5m\n', 'a line end'],
    ['1.5h', 'a fraction'],
    ['-5m', 'negative'],
    ['5min', 'no such unit'],
    ['5M', 'a capital'],
    ['1h30m', 'two of them'],
    ['9999999999999d', 'beyond safe integers'],
    ['٣s', 'digits of another script'],
    ['constructor', 'a name every object has'],
  ];
  for (const [text, why] of bad) {
    test(`${JSON.stringify(text)} is none: ${why}`, () => {
      assert.equal(parseDuration(text), undefined);
    });
  }
  test('the shortest text is written', () => {
    assert.deepEqual([90_000, 60_000, 86_400_000, 1, 0, 1500].map(formatDuration), [
      '90s',
      '1m',
      '1d',
      '1ms',
      '0s',
      '1500ms',
    ]);
  });
});

describe('sizes', () => {
  const good: readonly (readonly [string, number])[] = [
    ['0B', 0],
    ['512B', 512],
    ['64KiB', 65_536],
    ['50MiB', 52_428_800],
    ['1GiB', 1_073_741_824],
    ['2TiB', 2 * 1024 ** 4],
  ];
  for (const [text, bytes] of good) {
    test(`${text} is ${bytes}`, () => assert.equal(parseSize(text), bytes));
  }
  for (const text of ['50', '50MB', '50mib', '50 MiB', '1.5GiB', '', '9999999999TiB']) {
    test(`${JSON.stringify(text)} is none`, () => assert.equal(parseSize(text), undefined));
  }
});

describe('rates', () => {
  test('600/1m', () => assert.deepEqual(parseRate('600/1m'), { count: 600, perMs: MINUTE }));
  test('1/250ms', () => assert.deepEqual(parseRate('1/250ms'), { count: 1, perMs: 250 }));
  for (const text of ['', '600', '600/', '/1m', '0/1m', '600/0s', '600/m', '6/1m/1m', '-1/1m']) {
    test(`${JSON.stringify(text)} is none`, () => assert.equal(parseRate(text), undefined));
  }
});

describe('times of day and expiries', () => {
  test('00:10 is ten minutes after midnight', () => {
    assert.equal(parseTimeOfDay('00:10'), 10 * MINUTE);
    assert.equal(parseTimeOfDay('23:59'), DAY - MINUTE);
  });
  for (const text of ['24:00', '0:10', '00:60', '0010', '']) {
    test(`${JSON.stringify(text)} is no time`, () => assert.equal(parseTimeOfDay(text), undefined));
  }
  test('a day lasts to its end (UTC)', () => {
    assert.equal(parseExpiry('2027-01-31'), Date.UTC(2027, 1, 1));
  });
  test('a time is that instant', () => {
    assert.equal(parseExpiry('2027-01-31T12:00:00+02:00'), Date.UTC(2027, 0, 31, 10));
  });
  for (const text of ['2027-02-31', '2027-13-01', '31.01.2027', '2027', '2027-01-31T25:00Z', '']) {
    test(`${JSON.stringify(text)} is no expiry`, () => assert.equal(parseExpiry(text), undefined));
  }
});

describe('whatever is written reads the same', () => {
  const amount = fc.integer({ min: 0, max: 10 ** 12 });
  test('durations', () => {
    fc.assert(fc.property(amount, (ms) => parseDuration(formatDuration(ms)) === ms));
  });
  test('sizes', () => {
    fc.assert(fc.property(amount, (bytes) => parseSize(formatSize(bytes)) === bytes));
  });
  test('rates', () => {
    const count = fc.integer({ min: 1, max: 10 ** 8 });
    const perMs = fc.integer({ min: 1, max: 10 ** 9 });
    fc.assert(
      fc.property(count, perMs, (n, ms) => {
        assert.deepEqual(parseRate(formatRate({ count: n, perMs: ms })), { count: n, perMs: ms });
      }),
    );
  });
  test('times of day', () => {
    const minutes = fc.integer({ min: 0, max: 24 * 60 - 1 });
    fc.assert(
      fc.property(minutes, (m) => parseTimeOfDay(formatTimeOfDay(m * MINUTE)) === m * MINUTE),
    );
  });
  test('expiries', () => {
    const at = fc.integer({ min: 0, max: Date.UTC(2200, 0) });
    fc.assert(fc.property(at, (ms) => parseExpiry(formatExpiry(ms)) === ms));
  });
  test('no text makes a parser throw', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const parse of [parseDuration, parseSize, parseRate, parseTimeOfDay, parseExpiry]) {
          parse(text);
        }
      }),
    );
  });
});
