/** The policy cache over the control socket. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { describe, test } from 'node:test';
import { createControlServer } from '../../src/admin/control.ts';
import { listingOf, type PolicyListing } from '../../src/admin/policies.ts';
import { UnreadableEntryError } from '../../src/policy/sts-files.ts';
import { tempDir } from '../support/temp-dir.ts';
import { FakePolicies, NOTHING_ELSE, viewAt } from './fake-policies.ts';
import { domain } from './policy-parts.ts';

const VIEW = viewAt('a.example');

/** The API with `policies` behind it. */
async function serve(policies = new FakePolicies()) {
  const dir = tempDir();
  const socketPath = dir.file('control.sock');
  const server = await createControlServer({ socketPath, api: { ...NOTHING_ELSE, policies } });
  return {
    policies,
    server,
    ask: async (method: string, path: string) => {
      const asking = request({ socketPath, method, path, agent: false }).end();
      const [response] = (await once(asking, 'response')) as [IncomingMessage];
      let text = '';
      for await (const part of response.setEncoding('utf8')) text += String(part);
      return { status: response.statusCode ?? 0, body: JSON.parse(text), octets: text.length };
    },
    start: (method: string, path: string) => request({ socketPath, method, path, agent: false }),
    async [Symbol.asyncDispose]() {
      await server.close();
      dir.remove();
    },
  };
}
type Api = Awaited<ReturnType<typeof serve>>;

/** Follow `next` to the end. */
async function pages(api: Api, query = ''): Promise<PolicyListing[][]> {
  const found: PolicyListing[][] = [];
  let after = '';
  for (;;) {
    const { status, body } = await api.ask('GET', `/api/v1/policies?${query}${after}`);
    assert.equal(status, 200, JSON.stringify(body));
    found.push(body.policies);
    if (body.next === undefined) return found;
    after = `&after=${body.next}`;
  }
}

describe('GET /api/v1/policies', () => {
  const many = (count: number) => {
    const views = Array.from({ length: count }, (_, i) =>
      viewAt(`d${String(i).padStart(5, '0')}.example`, {
        mode: i % 100 === 0 ? 'none' : 'enforce',
      }),
    );
    return new FakePolicies().add(...views.toReversed());
  };

  test('an empty list', async () => {
    await using api = await serve();
    assert.deepEqual((await api.ask('GET', '/api/v1/policies')).body, { policies: [] });
  });

  test('everything but the texts', async () => {
    await using api = await serve(new FakePolicies().add(VIEW));
    const { body } = await api.ask('GET', '/api/v1/policies');
    assert.deepEqual(body, { policies: [JSON.parse(JSON.stringify(listingOf(VIEW)))] });
    assert.equal('text' in body.policies[0].policy, false);
  });

  test('page after page, complete and in order, no more read than shown', async () => {
    await using api = await serve(many(1201));
    const first = await api.ask('GET', '/api/v1/policies?limit=7');
    assert.equal(first.body.policies.length, 7);
    assert.equal(first.body.next, 'd00006.example');
    assert.equal(api.policies.listed, 7);
    const all = (await pages(api)).map((page) => page.map((view) => String(view.domain)));
    assert.deepEqual(
      all.map(({ length }) => length),
      [500, 500, 201],
    );
    assert.deepEqual(all.flat(), [...api.policies.views.keys()].sort());
  });

  test('goes on behind a domain that was forgotten meanwhile', async () => {
    await using api = await serve(many(10));
    await api.policies.forget(domain('d00006.example'));
    const { body } = await api.ask('GET', '/api/v1/policies?after=d00006.example&limit=1');
    assert.equal(body.policies[0].domain, 'd00007.example');
  });

  test('of one mode; a page looks at a bounded number for them', async () => {
    await using api = await serve(many(4500));
    const found = await pages(api, 'mode=none');
    assert.equal(found.flat().length, 45);
    assert.ok(found.flat().every(({ policy }) => policy?.mode === 'none'));
    assert.deepEqual(
      found.map(({ length }) => length),
      [20, 20, 5],
    );
    assert.deepEqual((await pages(api, 'mode=testing')).flat(), []);
  });

  test('a page stays small when the policies are large', async () => {
    const { policy } = VIEW;
    assert.ok(policy);
    const mx = Array.from({ length: 6000 }, (_, i) => `mx${i}.a.example`);
    const policies = new FakePolicies();
    for (let i = 0; i < 100; i += 1) {
      policies.add({ ...VIEW, domain: domain(`d${i}.example`), policy: { ...policy, mx } });
    }
    await using api = await serve(policies);
    const { octets, body } = await api.ask('GET', '/api/v1/policies');
    assert.ok(octets < 2 * 1024 * 1024, `${octets} octets`);
    assert.ok(body.next !== undefined);
    assert.equal((await pages(api)).flat().length, 100);
  });

  for (const query of [
    'limit=0',
    'limit=501',
    'limit=-1',
    'limit=1.5',
    'limit=x',
    'limit=',
    'limit=1&limit=2',
    'mode=all',
    'mode=enforce&mode=none',
    'after=a%20b',
    'after=',
  ]) {
    test(`?${query}: 400, and what is wrong`, async () => {
      await using api = await serve();
      const { status, body } = await api.ask('GET', `/api/v1/policies?${query}`);
      assert.equal(status, 400, JSON.stringify(body));
      assert.match(body.error, new RegExp(`^${query.split('=')[0]}: `));
    });
  }
});

describe('/api/v1/policies/DOMAIN', () => {
  const ROUTES = [
    ['GET', ''],
    ['DELETE', ''],
    ['POST', '/refresh'],
  ] as const;

  test('all that is known about one', async () => {
    await using api = await serve(new FakePolicies().add(VIEW));
    const { status, body } = await api.ask('GET', '/api/v1/policies/A.Example.');
    assert.deepEqual([status, body], [200, JSON.parse(JSON.stringify(VIEW))]);
  });

  test('in U-labels as well, however long', async () => {
    const label = 'ü'.repeat(50);
    const name = `${label}.${label}.${label}.example`;
    const view = viewAt(name);
    await using api = await serve(new FakePolicies().add(view));
    const { status, body } = await api.ask('GET', `/api/v1/policies/${encodeURIComponent(name)}`);
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.domain, view.domain);
    assert.match(body.domain, /^xn--/);
  });

  test('404 where nothing is known', async () => {
    await using api = await serve();
    for (const method of ['GET', 'DELETE']) {
      const { status, body } = await api.ask(method, '/api/v1/policies/b.example');
      assert.equal(status, 404);
      assert.deepEqual(body, { error: 'nothing is known about b.example' });
    }
  });

  for (const name of [
    'a%20b',
    '-a.example',
    '192.0.2.1',
    'a..b',
    `${'a'.repeat(64)}.b`,
    '%0a',
    '%1b%5b2J',
  ]) {
    test(`${name}: 400 from every route, and nobody is asked`, async () => {
      const policies = new FakePolicies();
      policies.refreshing = () => Promise.reject(new Error('asked'));
      await using api = await serve(policies);
      for (const [method, end] of ROUTES) {
        const { status, body } = await api.ask(method, `/api/v1/policies/${name}${end}`);
        assert.equal(status, 400, `${method}: ${JSON.stringify(body)}`);
        assert.match(body.error, /^"[ -~]*" is no domain: /);
      }
    });
  }

  test('paths that are none', async () => {
    await using api = await serve();
    for (const [method, path] of [
      ['GET', '/a.example/refresh'],
      ['POST', '/a.example'],
      ['DELETE', ''],
      ['POST', ''],
      ['GET', `/${'a'.repeat(5000)}`],
      ['GET', '/%ff'],
    ] as const) {
      const { status, body } = await api.ask(method, `/api/v1/policies${path}`);
      assert.ok([400, 404, 414].includes(status), `${method} ${path.slice(0, 40)}: ${status}`);
      assert.equal(typeof body.error, 'string');
    }
  });

  test('forgotten once', async () => {
    await using api = await serve(new FakePolicies().add(VIEW));
    const { status, body } = await api.ask('DELETE', '/api/v1/policies/a.example');
    assert.deepEqual([status, body], [200, { domain: 'a.example', forgotten: true }]);
    assert.equal((await api.ask('DELETE', '/api/v1/policies/a.example')).status, 404);
  });

  test('a refresh: what came of it', async () => {
    await using api = await serve();
    const done = { ok: true, changed: true, text: 'new policy', view: VIEW };
    api.policies.refreshing = async (name) => ({ ...done, text: `about ${name}` });
    const good = await api.ask('POST', '/api/v1/policies/a.example/refresh');
    const expected = JSON.parse(JSON.stringify({ ...done, text: 'about a.example' }));
    assert.deepEqual([good.status, good.body], [200, expected]);
    const failed = { ok: false, changed: false, text: 'connection refused' };
    api.policies.refreshing = async () => failed;
    const bad = await api.ask('POST', '/api/v1/policies/a.example/refresh');
    assert.deepEqual([bad.status, bad.body], [422, failed]);
  });

  test('a refresh ends when nobody waits for it any more', async () => {
    await using api = await serve();
    const asked = Promise.withResolvers<AbortSignal>();
    api.policies.refreshing = (_name, signal) => {
      asked.resolve(signal);
      return new Promise(() => {});
    };
    const asking = api.start('POST', '/api/v1/policies/a.example/refresh');
    asking.on('error', () => {});
    asking.end();
    const signal = await asked.promise;
    assert.equal(signal.aborted, false);
    const aborted = once(signal, 'abort');
    asking.destroy();
    await aborted;
  });

  test('the relay does not wait for a refresh when it stops', { timeout: 120_000 }, async () => {
    await using api = await serve();
    const asked = Promise.withResolvers<void>();
    api.policies.refreshing = async (_name, signal) => {
      asked.resolve();
      await once(signal, 'abort');
      return { ok: false, changed: false, text: 'given up' };
    };
    const asking = api.start('POST', '/api/v1/policies/a.example/refresh');
    const failed = once(asking, 'error').catch((error: unknown) => error);
    asking.end();
    await asked.promise;
    await api.server.close();
    await failed;
  });

  test('what goes wrong is told: nobody but the administrator asks here', async () => {
    await using api = await serve();
    const file = '/data/state/policies/a.example.json';
    api.policies.show = () => Promise.reject(new UnreadableEntryError(file, 'damaged'));
    const { status, body } = await api.ask('GET', '/api/v1/policies/a.example');
    assert.equal(status, 500);
    assert.match(body.error, /a\.example\.json cannot be read \(damaged\)/);
  });
});
