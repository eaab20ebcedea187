/**
 * The decisions on TLS over their whole space: the table that people read is what the relay does, and what must
 * never happen does not happen anywhere.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { decideTls, type TlsDecision, type TlsSituation } from '../../src/mail/tls-decision.ts';
import type { TlsLevel } from '../../src/mail/tls-requirement.ts';
import { type DecisionTable, pointsOf, tableReader } from '../support/decision-table.ts';
import {
  ASKED_TABLE,
  describeDecision,
  OWN_TABLE,
  renderTlsDecisions,
  SESSION_TABLE,
  situationOf,
} from '../support/tls-decisions.ts';

const GOLDEN = readFileSync(new URL('../fixtures/tls-decisions.txt', import.meta.url), 'utf8');

/** Least first: what satisfies one satisfies those before it. */
const STRENGTH: readonly TlsLevel[] = ['none', 'opportunistic', 'encrypt', 'verify'];

interface Case {
  readonly point: readonly string[];
  readonly situation: TlsSituation;
  readonly decision: TlsDecision;
}

function* cases(): Generator<Case> {
  for (const point of pointsOf(ASKED_TABLE.dimensions)) {
    const situation = situationOf(point);
    yield { point, situation, decision: decideTls(situation) };
  }
}

/** That `holds` of every case that is `meant`, of which there are some. */
function always(meant: (one: Case) => boolean, holds: (one: Case) => boolean): void {
  let count = 0;
  for (const one of cases()) {
    if (!meant(one)) continue;
    count += 1;
    assert.ok(holds(one), `${one.point.join(', ')}: ${JSON.stringify(one.decision)}`);
  }
  assert.ok(count > 0);
}

const isReport = ({ situation }: Case) => situation.wish === 'report';
const isAllowed = ({ decision }: Case) => decision.kind === 'allowed';
const levelOf = ({ decision }: Case) => STRENGTH.indexOf(decision.requirement.level);

describe('the table of decisions', () => {
  test('is what the code says: else run test/support/write-docs.ts, and read what changed', () => {
    assert.equal(renderTlsDecisions(), GOLDEN);
  });

  const tables: readonly (readonly [string, DecisionTable, least: number])[] = [
    ['own level', OWN_TABLE, 18],
    ['asked of a host', ASKED_TABLE, 5600],
    ['what becomes of a session', SESSION_TABLE, 100],
  ];
  for (const [name, table, least] of tables) {
    test(`has one line for each case, with its answer: ${name}`, () => {
      const answerTo = tableReader(table, GOLDEN);
      let count = 0;
      for (const point of pointsOf(table.dimensions)) {
        assert.equal(answerTo(point), table.decide(point), point.join(', '));
        count += 1;
      }
      assert.ok(count >= least, String(count));
    });
  }

  test('holds for the level of a route as for a default', () => {
    const answerTo = tableReader(ASKED_TABLE, GOLDEN);
    for (const point of pointsOf(ASKED_TABLE.dimensions)) {
      const situation = situationOf(point, 'route');
      if (situation.wish === 'report') continue; // it makes a difference there: see below
      const decision = decideTls(situation);
      assert.equal(describeDecision(decision, point[4] as TlsLevel), answerTo(point));
    }
  });
});

describe('whatever else is said', () => {
  test('a message with REQUIRETLS goes verified and tagged, or not at all (RFC 8689 §4.2.1)', () => {
    always(
      (one) => one.situation.wish === 'required' && isAllowed(one),
      ({ decision: { requirement } }) =>
        requirement.level === 'verify' && requirement.requireTls === 'required',
    );
  });

  test('an override changes nothing about REQUIRETLS', () => {
    always(
      ({ situation }) => situation.wish === 'required' && situation.override !== undefined,
      ({ situation, decision }) =>
        JSON.stringify(decision) ===
        JSON.stringify(decideTls({ ...situation, override: undefined })),
    );
  });

  test('TLS-Required: No leaves what the administrator asks for, and weakens nothing else', () => {
    always(
      ({ situation }) => situation.wish === 'waived',
      (one) => {
        const { override, defaultLevel } = one.situation;
        return isAllowed(one) && levelOf(one) === STRENGTH.indexOf(override?.tls ?? defaultLevel);
      },
    );
  });

  test('a TLS report goes whatever is published, and without TLS unless an administrator asks for it there', () => {
    always(isReport, (one) => {
      const { override, defaultLevel } = one.situation;
      const most = override?.tls ?? (defaultLevel === 'none' ? 'none' : 'opportunistic');
      return isAllowed(one) && levelOf(one) === STRENGTH.indexOf(most);
    });
    for (const point of pointsOf(ASKED_TABLE.dimensions)) {
      const situation = situationOf(point, 'route');
      if (situation.wish !== 'report') continue;
      const { requirement } = decideTls(situation);
      assert.equal(requirement.level, situation.override?.tls ?? situation.route?.tls);
    }
  });

  test('what a domain publishes never lowers what the administrator asks for', () => {
    always(
      (one) => isAllowed(one) && one.situation.override === undefined && !isReport(one),
      (one) => levelOf(one) >= STRENGTH.indexOf(one.situation.defaultLevel),
    );
  });

  const binds = ({ situation: { wish, override } }: Case) =>
    wish === 'required' || (wish !== 'waived' && wish !== 'report' && override === undefined);

  test('DANE that fails is not rescued by MTA-STS (RFC 8461 §2, RFC 7672 §2.1.2)', () => {
    always(
      (one) => binds(one) && one.situation.dane.kind === 'failed',
      ({ decision }) => decision.kind === 'refused' && decision.requirement.source.kind === 'dane',
    );
  });

  test('usable TLSA records prove who it is, and no roots do (RFC 7672 §2.2)', () => {
    always(
      (one) => binds(one) && isAllowed(one) && one.situation.dane.kind === 'usable',
      ({ decision: { requirement } }) =>
        requirement.level === 'verify' && requirement.source.kind === 'dane',
    );
  });

  test('records that cannot be used prove nothing, and ask for TLS all the same', () => {
    always(
      (one) => binds(one) && isAllowed(one) && one.situation.dane.kind === 'unusable-only',
      (one) => {
        const { level, source } = one.decision.requirement;
        return level === 'encrypt' || (level === 'verify' && source.kind !== 'dane');
      },
    );
  });

  test('a host outside a policy in enforce gets nothing, whatever DANE says (RFC 8461 §5)', () => {
    always(
      (one) => binds(one) && isEnforced(one.situation, false),
      (one) => !isAllowed(one),
    );
  });

  test('a host of a policy in enforce is verified', () => {
    always(
      (one) => binds(one) && isAllowed(one) && isEnforced(one.situation, true),
      ({ decision: { requirement } }) => requirement.level === 'verify',
    );
  });

  test('a policy that is not known holds the mail back where it would bind', () => {
    always(
      (one) => binds(one) && one.situation.sts.kind === 'unknown',
      (one) => !isAllowed(one),
    );
  });
});

function isEnforced({ sts }: TlsSituation, listed: boolean): boolean {
  return sts.kind === 'policy' && sts.source.mode === 'enforce' && sts.source.listed === listed;
}

describe('whatever a host does', () => {
  const rows = [...pointsOf(SESSION_TABLE.dimensions)].map((point) => ({
    asked: point[0] ?? '',
    becomes: SESSION_TABLE.decide(point),
  }));

  test('clear text only where the level allows it, and never with TLS from the first octet', () => {
    for (const { asked, becomes } of rows) {
      if (!/\bclear\b/.test(becomes)) continue;
      assert.ok(/^(none|opportunistic)( \+ REQUIRETLS, bounce)?$/.test(asked), asked);
    }
  });

  test('a message that needs a verified host is delivered to no other', () => {
    for (const { asked, becomes } of rows) {
      if (!asked.startsWith('verify') || !becomes.includes('delivered')) continue;
      assert.match(becomes, /verified$/);
    }
  });

  test('a handshake that fails gets a second try before anything else', () => {
    for (const { becomes } of rows) {
      if (/clear text|tls-handshake-failed/.test(becomes)) {
        assert.match(becomes, /^again with a small ClientHello, /);
      }
    }
  });
});
