import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fastify } from 'fastify';
import { parse } from 'yaml';
import { loadSettings, settingsFrom } from '../../src/config/load.ts';
import { maskSecrets, maskUrl } from '../../src/config/mask.ts';
import { toInput, toJsonSchema } from '../../src/config/settings.ts';
import { canonicalName } from '../../src/config/system-hostname.ts';
import { tempDir } from '../support/temp-dir.ts';

const contract: unknown = parse(
  readFileSync(new URL('../fixtures/config/contract.yaml', import.meta.url), 'utf8'),
);

describe('secrets', () => {
  /** URL, what is shown of it. */
  const urls: readonly (readonly [string, string])[] = [
    ['redis://user:geheim@host:6379/0', 'redis://user:***@host:6379/0'],
    ['redis://:geheim@host', 'redis://:***@host'],
    ['rediss://user@host', 'rediss://user@host'],
    ['redis://host/geheim', 'redis://host/geheim'],
    ['redis://u:p@ss:wo@host', 'redis://u:***@host'],
    ['redis://u:p a s s@[broken', 'redis://u:***@[broken'],
    ['mailto:a:b@example.net', 'mailto:a:b@example.net'],
    ['ops@example.net', 'ops@example.net'],
  ];
  for (const [url, shown] of urls) test(url, () => assert.equal(maskUrl(url), shown));

  test('by the name of the key, at any depth; files are none', () => {
    const masked = maskSecrets({
      redis: { url: 'redis://a:geheim@b' },
      list: [{ password: 'geheim', passwordFile: '/etc/x' }],
      apiToken: 'geheim',
      secret: '',
      port: 5,
    });
    assert.deepEqual(masked, {
      redis: { url: 'redis://a:***@b' },
      list: [{ password: '***', passwordFile: '/etc/x' }],
      apiToken: '***',
      secret: '',
      port: 5,
    });
  });
});

describe('settings as text again', () => {
  test('say the same when they are read again', () => {
    const settings = settingsFrom(contract as never);
    assert.deepEqual(settingsFrom(toInput(settings)), settings);
  });
  test('so do the defaults', () => {
    using dir = tempDir();
    const loaded = loadSettings({ directory: dir.path, environment: {} });
    assert.ok(loaded.ok);
    assert.deepEqual(settingsFrom(toInput(loaded.settings)), loaded.settings);
  });
  test('in the units people write', () => {
    const input = toInput(settingsFrom({ retry: { lifetime: '48h', delayWarning: 'off' } }));
    assert.equal(input.retry?.lifetime, '2d');
    assert.equal(input.retry?.delayWarning, 'off');
    assert.equal(input.limits?.minFreeDisk, '1GiB');
  });
});

describe('the JSON Schema', () => {
  /** fastify compiles the schema (ajv, draft 7) and answers 400 to what does not match. */
  async function accepts(document: unknown): Promise<boolean> {
    const app = fastify({
      ajv: {
        customOptions: {
          removeAdditional: false,
          coerceTypes: false,
          useDefaults: false,
          strict: true,
        },
      },
    });
    const { $schema: _, ...body } = toJsonSchema();
    app.post('/', { schema: { body } }, async () => 'ok');
    const response = await app.inject({ method: 'POST', url: '/', payload: document as object });
    await app.close();
    return response.statusCode === 200;
  }

  test("takes the contract's example and nothing at all", async () => {
    assert.equal(await accepts(contract), true);
    assert.equal(await accepts({}), true);
  });
  for (const bad of [
    { hostnam: 'a' },
    { limits: { messageSize: 5 } },
    { limits: { messageSize: '50MB' } },
    { log: { level: 'loud' } },
    { listeners: [{ address: '::1' }] },
  ]) {
    test(`refuses ${JSON.stringify(bad)}`, async () => assert.equal(await accepts(bad), false));
  }
  test('explains every setting', () => {
    const without: string[] = [];
    const visit = (schema: unknown, path: string): void => {
      const { properties = {}, items } = schema as {
        properties?: Readonly<Record<string, { description?: string }>>;
        items?: unknown;
      };
      for (const [key, child] of Object.entries(properties)) {
        // The classes of `retry` are explained by their schedules.
        const isClass = path === '.retry.classes';
        if (!isClass && (child.description ?? '').length < 5) without.push(`${path}.${key}`);
        visit(child, `${path}.${key}`);
      }
      if (items !== undefined) visit(items, `${path}[]`);
    };
    visit(toJsonSchema(), '');
    assert.deepEqual(without, []);
  });
});

describe('the canonical name in a hosts file', () => {
  const hosts =
    '127.0.0.1 localhost\n# 127.0.1.1 no.example relay\n127.0.1.1\trelay.example.net relay # x\n';
  test('found', () => assert.equal(canonicalName('relay', hosts), 'relay.example.net'));
  test('not there', () => assert.equal(canonicalName('other', hosts), undefined));
  test('there without a domain', () => assert.equal(canonicalName('localhost', hosts), undefined));
});
