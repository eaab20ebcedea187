/** What deploy/ and the texts about it say is there is there: commands, settings, variables, files. */
import assert from 'node:assert/strict';
import { existsSync, globSync, statSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { COMMANDS, GROUPS } from '../../src/cli/commands.ts';
import { variableName } from '../../src/config/environment.ts';
import { loadSettings } from '../../src/config/load.ts';
import { allKeys, elementAt } from '../../src/config/structure.ts';
import {
  anchorsIn,
  commandsIn,
  linksIn,
  ROOT,
  readFile,
  settingsIn,
  TEXTS,
} from '../support/deploy-files.ts';
import { tempDir } from '../support/temp-dir.ts';

const FILES = globSync('deploy/**/*', { cwd: ROOT }).filter(
  (path) => statSync(ROOT + path).isFile() && !path.startsWith('deploy/prometheus'),
);

/** Options by command. */
const OPTIONS = new Map<string, readonly string[]>();
for (const { name, commands } of [{ name: '', commands: COMMANDS }, ...GROUPS]) {
  for (const { usage, options = [] } of commands) {
    const full = `${name} ${usage.split(' ')[0]}`.trim();
    OPTIONS.set(full, [...options.map(({ long }) => long ?? ''), '--config', '--json', '--help']);
  }
}

describe('commands', () => {
  const typed = [...new Set([...TEXTS, ...FILES])].flatMap((path) =>
    commandsIn(readFile(path)).map((words) => [path, words] as const),
  );

  test('that texts and files name exist, with their options', () => {
    assert.ok(typed.length > 20);
    for (const [path, words] of typed) {
      const [one = '', two = ''] = words.split(/[ ,]+/);
      const known = OPTIONS.get(`${one} ${two}`) ?? OPTIONS.get(one);
      const isGroup = GROUPS.some(({ name }) => name === words);
      assert.ok(known || isGroup, `${path}: stsrelay ${words}`);
      for (const [option] of words.matchAll(/--[a-z-]+/g)) {
        assert.ok(known?.includes(option), `${path}: ${option} in ${words}`);
      }
    }
  });

  test('are all in the manual page, and no others', () => {
    const page = readFile('deploy/debian/stsrelay.8');
    const section = page.slice(page.indexOf('.SH COMMANDS'), page.indexOf('.SH EXIT STATUS'));
    const named = [...section.matchAll(/^\.B (.+)$/gm)].flatMap(([, line = '']) => {
      if (line.startsWith('\\-')) return []; // an option
      const [group = '', ...members] = line.replaceAll(/\\fI.*/g, '').split(/\\fR \| \\fB| /);
      return members.filter(Boolean).length === 0
        ? [group]
        : members.map((one) => `${group} ${one}`);
    });
    assert.deepEqual(named.map((name) => name.trim()).sort(), [...OPTIONS.keys()].sort());
  });
});

describe('settings', () => {
  const keys = new Set(allKeys().map((path) => path.join('.')));
  const sections = new Set(allKeys().map(([first = '']) => first));

  test('that texts name exist', () => {
    const named = TEXTS.flatMap((path) =>
      settingsIn(readFile(path), sections).map((key) => [path, key] as const),
    );
    assert.ok(named.length > 20);
    for (const [path, key] of named) assert.ok(keys.has(key), `${path}: ${key}`);
  });

  test('that are given by the environment exist', () => {
    const variables = new Set(
      allKeys()
        .filter((path) => elementAt(path)?.shape.kind === 'setting')
        .map(variableName),
    );
    const named = [...new Set([...TEXTS, ...FILES])].flatMap((path) =>
      [...readFile(path).matchAll(/\bSTSRELAY_[A-Z0-9_]+/g)].map(([name]) => [path, name] as const),
    );
    assert.ok(named.length > 5);
    for (const [path, name] of named) {
      assert.ok(name === 'STSRELAY_CONFIG' || variables.has(name), `${path}: ${name}`);
    }
  });

  for (const path of FILES.filter((path) => path.endsWith('stsrelay.yaml'))) {
    test(`${path} is a valid configuration`, () => {
      const loaded = loadSettings({ configFile: ROOT + path, environment: {} });
      assert.deepEqual(loaded.ok ? [] : loaded.problems, []);
    });
  }

  test('that are commented out in deploy/stsrelay.yaml are valid, too', () => {
    const text = readFile('deploy/stsrelay.yaml');
    const offered = text.indexOf('# dkim:');
    assert.ok(offered > 0);
    const all =
      text.slice(0, offered).replaceAll(/^ {2}# (?=- \{)/gm, '  ') +
      text.slice(offered).replaceAll(/^# /gm, '');
    assert.equal(all.match(/^ {2}- \{ address:/gm)?.length, 4);
    using dir = tempDir();
    writeFileSync(dir.file('stsrelay.yaml'), all);
    const loaded = loadSettings({ configFile: dir.file('stsrelay.yaml'), environment: {} });
    assert.deepEqual(loaded.ok ? [] : loaded.problems, []);
    assert.equal(loaded.ok && loaded.settings.dkim.length, 1);
  });
});

describe('texts', () => {
  for (const path of [...TEXTS, 'CONTRIBUTING.md', 'docs/release.md']) {
    test(`the links of ${path} lead somewhere`, () => {
      for (const link of linksIn(path)) {
        const [target = '', anchor] = link.split('#');
        assert.ok(existsSync(ROOT + target), `${path}: ${link}`);
        if (anchor === undefined) continue;
        assert.ok(anchorsIn(readFile(target)).has(anchor), `${path}: no heading for ${link}`);
      }
    });
  }

  test('every way to run it, and every snippet, is in the index', () => {
    const links = new Set(linksIn('deploy/README.md').map((link) => link.split('#')[0]));
    for (const path of globSync('deploy/smarthost/*.md', { cwd: ROOT })) {
      assert.ok(links.has(path), path);
    }
  });
});
