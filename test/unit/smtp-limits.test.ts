/** The LIMITS keyword (RFC 9422): what is read of it, and what is as if it were not there. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseLimits, type SmtpLimits } from '../../src/protocol/smtp/limits.ts';

const READ: readonly (readonly [string, SmtpLimits])[] = [
  ['LIMITS RCPTMAX=20', { rcptMax: 20 }],
  ['LIMITS MAILMAX=10 RCPTMAX=20 RCPTDOMAINMAX=1', { mailMax: 10, rcptMax: 20, rcptDomainMax: 1 }],
  ['limits  rcptmax=999999', { rcptMax: 999999 }],
  ['LIMITS FUTURE=x=y BARE RCPTMAX=5', { rcptMax: 5 }],
  ['LIMITS RCPTMAX=0 MAILMAX=7', { mailMax: 7 }], // 0 is no value
  ['LIMITS RCPTMAX=05 MAILMAX=7', { mailMax: 7 }],
  ['LIMITS RCPTMAX=1000000', {}], // seven digits
  ['LIMITS RCPTMAX=-3', {}],
  ['LIMITS RCPTMAX=', {}],
  ['LIMITS =5', {}],
  ['LIMITS __proto__=5 CONSTRUCTOR=5', {}],
  ['LIMITS', {}],
  ['LIMITSRCPTMAX=5', {}],
  ['XLIMITS RCPTMAX=5', {}],
];

describe('LIMITS', () => {
  for (const [line, expected] of READ) {
    test(line, () => assert.deepEqual(parseLimits(['SIZE 100', line, 'DSN']), expected));
  }

  test('no line of it: no limits', () => assert.deepEqual(parseLimits(['SIZE 5', 'DSN']), {}));

  test('whatever else a server says, limits are whole numbers from 1 on', () => {
    const word = fc.constantFrom('LIMITS', 'RCPTMAX=', 'MAILMAX', '=', ' ', '9', '0', '1e3', 'x');
    fc.assert(
      fc.property(fc.array(word, { maxLength: 12 }), (words) => {
        for (const value of Object.values(parseLimits([`LIMITS ${words.join('')}`]))) {
          assert.ok(Number.isInteger(value) && value >= 1 && value <= 999_999);
        }
      }),
    );
  });
});
