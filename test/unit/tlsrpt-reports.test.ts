/** Which of what happens is counted, and the reports of the days (RFC 8460 §4). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { settingsFrom } from '../../src/config/load.ts';
import type { Route } from '../../src/mail/route.ts';
import type { SessionResult } from '../../src/mail/session-result.ts';
import type { RequirementSource } from '../../src/mail/tls-requirement.ts';
import type { PolicyFailure } from '../../src/policy/sts-fetch.ts';
import type { DomainName } from '../../src/protocol/domain.ts';
import { type Counted, countPolicyFailure } from '../../src/reporting/counted.ts';
import { createCounting } from '../../src/reporting/counting.ts';
import { DayTally } from '../../src/reporting/day-tally.ts';
import { type DomainReport, Reports } from '../../src/reporting/reports.ts';
import { assertIsReport } from '../support/tlsrpt-schema.ts';

const DOMAIN = 'a.example' as DomainName;

function sessionUnder(source: RequirementSource): SessionResult {
  return {
    kind: 'transacted',
    recipients: new Map(),
    facts: {
      candidate: { host: 'mx.a.example' as DomainName, preference: 0, port: 25 },
      ...{ address: '192.0.2.1', localAddress: undefined },
      requirement: { level: 'opportunistic', minVersion: 'TLSv1.2', source },
      tls: {
        ...{ version: 'TLSv1.3', cipher: 'x', certSha256: undefined },
        verdict: { verified: true, matchedName: 'mx.a.example' },
      },
    },
  };
}

function failure(): PolicyFailure {
  const fetched = { kind: 'failed', resultType: 'sts-policy-fetch-error', reason: '' } as const;
  return { domain: DOMAIN, fetched: { ...fetched }, inForce: undefined };
}

function bench() {
  const counted: Counted[] = [];
  let settings = { enabled: true, exclude: [] as readonly string[] };
  const counting = createCounting({
    settings: () => settings,
    count: (one) => void counted.push(one),
  });
  const set = (change: Partial<typeof settings>) => {
    settings = { ...settings, ...change };
  };
  const route = (policyDomain: Route['policyDomain']) => ({ policyDomain });
  const mail = {};
  const session = sessionUnder({ kind: 'default' });
  return { counted, counting, set, route, mail, session };
}

describe('a session', () => {
  test('is counted for the domain whose policy binds it, or for none', () => {
    const { counted, counting, route, mail, session } = bench();
    counting.session(mail, route('relay.partner.example' as DomainName), session);
    counting.session(mail, route(undefined), session);
    const forced = sessionUnder({ kind: 'override', domain: DOMAIN });
    counting.session(mail, route(DOMAIN), forced);
    assert.deepEqual(
      counted.map(({ domain }) => domain),
      ['relay.partner.example'],
    );
  });

  test('is not counted while that is off, and for domains that are excluded', () => {
    const { counted, counting, set, route, mail, session } = bench();
    for (const change of [{ enabled: false }, { enabled: true, exclude: ['A.example.'] }]) {
      set(change);
      counting.session(mail, route(DOMAIN), session);
      counting.policyFailure(failure());
    }
    assert.deepEqual(counted, []);
    set({ exclude: ['b.example'] });
    counting.session(mail, route(DOMAIN), session);
    counting.policyFailure(failure());
    assert.equal(counted.length, 2);
  });

  test('R111 of report mail is not counted', () => {
    const { counted, counting, route, mail, session } = bench();
    counting.session({ tlsReport: true }, route(DOMAIN), session);
    assert.equal(counted.length, 0);
    counting.session(mail, route(DOMAIN), session);
    assert.equal(counted.length, 1);
  });
});

test('R106 a fetch that failed is counted once, however many waited for it', () => {
  const { counted, counting } = bench();
  const one = failure();
  for (const told of [one, one, failure(), one]) counting.policyFailure(told);
  assert.equal(counted.length, 2);
});

describe('the reports of a day', () => {
  const tally = new DayTally();
  for (const domain of ['b.example', 'a.example', 'no-session.example']) {
    const policy = { type: 'no-policy-found', domain, lines: [], mx: [] } as const;
    const successful = domain === 'no-session.example' ? 0 : 2;
    tally.add({ domain, policy, successful, failed: 0, details: [] });
  }
  tally.addOther({ successful: 7, failed: 1 });
  const unfetched = countPolicyFailure({ ...failure(), domain: 'c.example' as DomainName });
  if (unfetched) tally.add(unfetched);
  const counts = {
    days: async () => ['2026-03-14'],
    ofAll: async () => tally,
    ofDomain: async (_day: string, name: string) => ({
      counts: tally.countsOf(name),
      nodes: ['a'],
    }),
  };
  const reportsWith = (tlsRpt: object) => {
    const settings = settingsFrom({ hostname: 'relay.example.net', tlsRpt });
    const states = { ofDay: async () => new Map() };
    const files = { report: async () => undefined };
    return new Reports({ counts, states, files, settings: () => settings });
  };
  async function reportsOf(reports: Reports): Promise<readonly DomainReport[]> {
    const all: DomainReport[] = [];
    for await (const one of (await reports.ofDay('2026-03-14')).reports) all.push(one);
    return all;
  }

  test('say who reports, also where nothing is set', async () => {
    const [one] = await reportsOf(reportsWith({}));
    assert.equal(one?.report['organization-name'], 'relay.example.net');
    assert.equal(one?.report['contact-info'], 'postmaster@relay.example.net');
    assert.equal(one?.report['report-id'], '20260314.a.example@relay.example.net');
    const set = reportsWith({ organization: 'Example Ltd', contact: 'tls@example.net' });
    const [other] = await reportsOf(set);
    assert.equal(other?.report['organization-name'], 'Example Ltd');
    assert.equal(other?.report['report-id'], '20260314.a.example@example.net');
    for (const made of [one, other]) assertIsReport(made?.report);
  });

  test('R079 are those of domains with sessions, or a policy that could not be had, that are not excluded', async () => {
    const domainsOf = async (reports: Reports) =>
      (await reportsOf(reports)).map(({ domain }) => domain);
    assert.deepEqual(await domainsOf(reportsWith({})), [
      ...['a.example', 'b.example', 'c.example'],
    ]);
    const without = reportsWith({ exclude: ['a.example', 'c.example'] });
    assert.deepEqual(await domainsOf(without), ['b.example']);
  });

  test('are summed up', async () => {
    assert.deepEqual(await reportsWith({}).days(), [
      {
        ...{ day: '2026-03-14', domains: 3, successful: 4, failed: 0 },
        ...{ other: { successful: 7, failed: 1 }, targets: {} },
      },
    ]);
  });
});
