/** Message ids sort by the time their message was begun, which is how old mail is found without reading it. */
import { test } from 'node:test';
import fc from 'fast-check';
import { isMessageId, leastMessageId, newMessageId } from '../../src/mail/message-id.ts';

test('the least id of a time stands between those begun before it and those begun at it or later', () => {
  const time = fc.nat({ max: 2 ** 44 });
  fc.assert(
    fc.property(time, time, (beganAtMs, ms) => {
      const isBefore = newMessageId(beganAtMs) < leastMessageId(ms);
      return isBefore === beganAtMs < ms && isMessageId(leastMessageId(ms));
    }),
  );
  fc.assert(
    fc.property(time, (ms) => newMessageId(ms) >= leastMessageId(ms)),
    { examples: [[0]] },
  );
});
