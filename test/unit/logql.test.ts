/** The LogQL of docs/logs.md is LogQL, by the grammar that Grafana's editor has, and asks for fields that there are. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parser } from '@grafana/lezer-logql';
import { renderLogsDoc } from '../../src/telemetry/logs-document.ts';
import { EVENTS } from '../../src/telemetry/vocabulary/events.ts';
import { FIELDS } from '../../src/telemetry/vocabulary/fields.ts';

/** On every line, or put there by whoever ships them. */
const OTHERS = ['event', 'level', 'time', 'job'];

const QUERIES = [...renderLogsDoc().matchAll(/```logql\n([\s\S]*?)\n```/g)].flatMap(
  ([, block = '']) => block.split('\n'),
);

/** The texts of a query that its grammar does not take, or of the nodes of some names. */
function textsOf(query: string, wanted: (node: { name: string; isError: boolean }) => boolean) {
  const texts: string[] = [];
  parser.parse(query).iterate({
    enter: ({ type, from, to }) => {
      if (wanted(type)) texts.push(query.slice(from, to) || `(at ${from})`);
    },
  });
  return texts;
}

test('there are queries, and the grammar refuses what is none', () => {
  assert.ok(QUERIES.length >= 8, `${QUERIES.length}`);
  for (const query of ['{job="x"} | json | = `y`', 'sum by (count_over_time({job="x"}[1h]))']) {
    assert.notDeepEqual(
      textsOf(query, ({ isError }) => isError),
      [],
      query,
    );
  }
});

describe('each query of docs/logs.md', () => {
  for (const query of QUERIES) {
    test(query, () => {
      assert.deepEqual(
        textsOf(query, ({ isError }) => isError),
        [],
      );
      const fields = [
        ...textsOf(query, ({ name }) => name === 'Identifier'),
        ...[...query.matchAll(/\{\{\.(\w+)\}\}/g)].map(([, field = '']) => field),
      ];
      assert.ok(fields.length > 0);
      for (const field of fields) {
        assert.ok(Object.hasOwn(FIELDS, field) || OTHERS.includes(field), field);
      }
      for (const [, event = ''] of query.matchAll(/`([a-z]+\.[a-z_]+)`/g)) {
        assert.ok(Object.hasOwn(EVENTS, event), event);
      }
    });
  }
});
