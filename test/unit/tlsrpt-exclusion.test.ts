/** `tlsRpt.exclude`: every spelling of a place is that place, and what can be none is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settingsFrom } from '../../src/config/load.ts';
import { excludes } from '../../src/reporting/reports.ts';
import { excludesRua } from '../../src/reporting/rua.ts';

const settingsWith = (entry: string) =>
  settingsFrom({ hostname: 'relay.example.net', tlsRpt: { exclude: [entry] } }).tlsRpt;

for (const [entry, domain] of [
  ['bücher.example', 'xn--bcher-kva.example'],
  ['EXAMPLE.org.', 'example.org'],
] as const) {
  test(`${entry} excludes ${domain}`, () => {
    assert.equal(excludes(settingsWith(entry))(domain), true);
    assert.equal(excludes(settingsWith(entry))(`sub.${domain}`), false);
  });
}

for (const [entry, rua] of [
  ['a@b.example', 'mailto:a@b.example'],
  ['A@B.example', 'mailto:a@b.EXAMPLE'],
  ['a@b.example', 'mailto:a@b.example.'],
  ['a@b.example.', 'mailto:a@b.example'],
  ['a@bücher.example', 'mailto:a@xn--bcher-kva.example'],
  ['a@xn--bcher-kva.example', 'mailto:a@b%C3%BCcher.example'],
  ['mailto:a@b.example', 'mailto:a@b.example?subject=x'],
  ['mailto:a@b.example?subject=x', 'MAILTO:%61@b.example'],
  ['https://x.example', 'https://x.example/'],
  ['https://X.example/v1', 'https://x.example:443/v1#part'],
  ['https://x.example./v1', 'https://x.example/v1'],
] as const) {
  test(`${entry} excludes ${rua}`, () => {
    const isExcluded = excludesRua(settingsWith(entry).exclude);
    assert.equal(isExcluded(rua), true);
    assert.equal(isExcluded('mailto:other@b.example'), false);
    assert.equal(isExcluded('https://x.example/other'), false);
  });
}

for (const entry of ['', '*.example.org', '@x.example', 'http://x.example/', 'foo bar', 'https:']) {
  test(`${JSON.stringify(entry)} can match nothing and is refused`, () => {
    assert.throws(
      () => settingsWith(entry),
      /a policy domain, an address, or a mailto: or https: URI/,
    );
  });
}
