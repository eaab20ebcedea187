/** How the admin page is served: its headers, its names, and what is there instead of it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { createControlServer } from '../../src/admin/control.ts';
import { createHttpServer, type HttpApi } from '../../src/admin/http.ts';
import { buildPage } from '../../src/admin/page/build.ts';
import { type PageFiles, readPageFiles } from '../../src/admin/page-files.ts';
import { tempDir } from '../support/temp-dir.ts';
import { fakeParts, OPEN } from './api-rig.ts';

const dir = tempDir();
let files: PageFiles | undefined;
before(async () => {
  await buildPage(dir.path);
  files = await readPageFiles(pathToFileURL(`${dir.path}/`));
  assert.ok(files);
});
after(() => dir.remove());

async function serve(api: HttpApi, page: PageFiles | undefined) {
  const server = await createHttpServer({
    ...{ address: '127.0.0.1', port: 0, api, page },
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
    ready: async () => ({ ready: true, parts: {} }),
  });
  return {
    get: (path: string, headers = {}) =>
      fetch(`http://127.0.0.1:${server.port}${path}`, { headers }),
    [Symbol.asyncDispose]: () => server.close(),
  };
}
const open = (): HttpApi => ({ kind: 'open', parts: fakeParts(), access: OPEN });

describe('the page', () => {
  test('allows its own origin alone, and nothing inline', async () => {
    await using http = await serve(open(), files);
    const answer = await http.get('/');
    const policy = answer.headers.get('content-security-policy') ?? '';
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
    assert.match(policy, /frame-ancestors 'none'$/);
    assert.doesNotMatch(policy, /unsafe|https?:|\*/);
    for (const [name, value] of [
      ['x-content-type-options', 'nosniff'],
      ['referrer-policy', 'no-referrer'],
      ['cross-origin-opener-policy', 'same-origin'],
      ['cache-control', 'no-cache'],
    ] as const) {
      assert.equal(answer.headers.get(name), value);
    }
    const text = await answer.text();
    assert.doesNotMatch(text, /style=|<style|<script>|https?:/);
    const etag = answer.headers.get('etag') ?? '';
    assert.equal((await http.get('/', { 'if-none-match': etag })).status, 304);
  });

  test('names its files by what is in them, for good', async () => {
    await using http = await serve(open(), files);
    const text = await (await http.get('/')).text();
    const paths = [...text.matchAll(/(?:src|href)="(\/page\/[^"]+)"/g)].map(
      ([, path = '']) => path,
    );
    assert.equal(paths.length, 3);
    for (const path of paths) {
      assert.match(path, /-[0-9a-f]{16}\.(js|css|svg)$/);
      const file = await http.get(path);
      assert.equal(file.status, 200);
      assert.match(file.headers.get('cache-control') ?? '', /immutable/);
      assert.equal(file.headers.get('x-content-type-options'), 'nosniff');
      await file.arrayBuffer();
    }
    assert.equal((await http.get('/page/page-0000000000000000.js')).status, 404);
    assert.equal((await http.get('/page/../../package.json')).status, 404);
  });

  test('is small: under 200 KB, before it is packed', () => {
    const size = (files?.script.body.length ?? 0) + (files?.style.body.length ?? 0);
    assert.ok(size < 200_000, `${size}`);
  });
});

describe('instead of it', () => {
  const cases: readonly (readonly ['no-token' | 'no-tls', RegExp])[] = [
    ['no-token', /http\.tokenFile[\s\S]*openssl rand[\s\S]*ssh -N -L/],
    ['no-tls', /http\.tls: true/],
  ];
  for (const [page, said] of cases) {
    test(`${page}: how to enable it`, async () => {
      await using http = await serve({ kind: 'closed', reason: 'closed', page }, files);
      const answer = await http.get('/');
      assert.equal(answer.status, 200);
      assert.ok(answer.headers.get('content-security-policy'));
      assert.match(await answer.text(), said);
    });
  }

  test('on the control socket it is there without a login', async () => {
    const socketPath = dir.file('control.sock');
    const control = await createControlServer({ socketPath, api: fakeParts(), page: files });
    const texts: string[] = [];
    for (const path of ['/', '/api/v1/session']) {
      const asking = request({ socketPath, path, agent: false }).end();
      const [response] = (await once(asking, 'response')) as [IncomingMessage];
      assert.equal(response.statusCode, 200);
      let text = '';
      for await (const part of response.setEncoding('utf8')) text += String(part);
      texts.push(text);
    }
    await control.close();
    assert.match(texts[0] ?? '', /<div id="page">/);
    assert.match(texts[1] ?? '', /"signedIn":true,"by":"control-socket"/);
  });

  test('not built: what to do', async () => {
    const missing = await readPageFiles(pathToFileURL(`${dir.path}/nothing/`));
    assert.equal(missing, undefined);
    await using http = await serve(open(), missing);
    assert.match(await (await http.get('/')).text(), /make build/);
    assert.equal((await http.get('/api/v1/status')).status, 200);
  });
});
