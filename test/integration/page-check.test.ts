/**
 * `stsrelay check` on the admin page: begun with a button, watched while it runs, with what it found and what to do
 * about it; on the page of a destination and on its own.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { SIZES, startBrowser, visit, WITHOUT_CHROMIUM } from '../support/browser.ts';
import { axe, logIn, withoutRefusals } from '../support/page-visit.ts';
import { type PageWorld, startPageWorld } from '../support/page-world.ts';

describe('a check on the admin page', { skip: WITHOUT_CHROMIUM, timeout: 240_000 }, () => {
  let scene: PageWorld;
  let browser: Browser;
  before(async () => {
    [scene, browser] = await Promise.all([startPageWorld(), startBrowser()]);
    const { internet } = scene.world;
    await internet.domain('good.example', { sts: {}, tlsRptRua: 'mailto:tls@good.example' });
    await internet.domain('partner.example', {
      mx: [{ host: 'mx.partner.example', certificate: 'expired' }],
      sts: {},
      policy: { delayMs: 2500 },
    });
    await internet.domain('xn--bcher-kva.example', { nullMx: true });
    for (const name of ['a.example', 'b.example']) {
      await internet.domain(name, { sts: {}, policy: { hang: 'response' } });
    }
  });
  after(async () => {
    await browser?.close();
    await scene?.[Symbol.asyncDispose]();
  });

  test('of a destination: how far it is, then verdict, findings and what to do', async () => {
    await using made = await visit(browser);
    const { page, troubles } = made;
    await logIn(page, scene.url);
    await page.goto(`${scene.url}/#/destinations/partner.example`);
    const panel = page.getByRole('region', { name: 'Check' });
    await panel.getByText('It sends no mail').or(panel.getByText('sends no mail')).waitFor();
    const button = panel.getByRole('button', { name: 'Check now' });
    await button.focus();
    await page.keyboard.press('Enter');
    await panel.getByText('Looking at: policy…').waitFor();
    assert.deepEqual(await axe(page), []);
    await panel.getByText('Mail would be deferred: refused at mx.partner.example.').waitFor();
    const findings = panel.getByRole('list', { name: 'Findings' }).first();
    await findings.getByText('certificate-expired, RFC 8461 §4.2').waitFor();
    await findings.getByText('What to do: Renew the certificate').waitFor();
    await panel.getByText('things are as they should be').click();
    await panel.getByRole('row', { name: /mx\.partner\.example .*not verified/ }).waitFor();
    assert.equal(await page.locator(':focus').count(), 1);
    assert.match((await page.locator(':focus').textContent()) ?? '', /as they should be|Check/);
    assert.deepEqual(await axe(page), []);
    const { entries } = (await scene.api('GET', '/audit?action=domain.check')) as {
      entries: { actor: string; target: string }[];
    };
    assert.deepEqual(
      entries.map(({ actor, target }) => [actor, target]),
      [['anna (page) from 127.0.0.1', 'partner.example']],
    );
    assert.deepEqual(withoutRefusals(troubles), []);
  });

  test('on its own: any domain, in its own script, without connections, and the last ones', async () => {
    await using made = await visit(browser, { viewport: SIZES.phone });
    const { page, troubles } = made;
    await logIn(page, scene.url);
    await page.goto(`${scene.url}/#/check`);
    await page.getByLabel('Domain', { exact: true }).fill('Bücher.example');
    await page.getByRole('button', { name: 'Look at it' }).click();
    await page.getByRole('heading', { name: 'xn--bcher-kva.example (bücher.example)' }).waitFor();
    await page.getByLabel('Connect to its hosts').uncheck();
    await page.getByRole('button', { name: 'Check now' }).click();
    await page.getByText('Mail would bounce.').waitFor();
    await page.getByText('without connecting to its hosts').waitFor();
    await page.goto(`${scene.url}/#/check/good.example`);
    await page.getByRole('button', { name: 'Check now' }).click();
    await page.getByText('Nothing is wrong.').waitFor();
    await page.getByText('Mail would be delivered over verified TLS, mx.good.example.').waitFor();
    await page.goto(`${scene.url}/#/check`);
    await page.getByRole('row', { name: /good\.example .* well/ }).waitFor();
    await page.getByRole('row', { name: /bücher.* something is wrong/ }).waitFor();
    assert.deepEqual(await axe(page), []);
    assert.deepEqual(troubles, []);
  });

  test('what is no domain, and one too many, are told', async () => {
    await using made = await visit(browser);
    const { page, troubles } = made;
    await logIn(page, scene.url);
    await page.goto(`${scene.url}/#/check/a_b%20c`);
    await page.getByRole('button', { name: 'Check now' }).click();
    await page.getByText('"a_b c" is no domain').waitFor();
    for (const name of ['a.example', 'b.example']) {
      await page.goto(`${scene.url}/#/check/${name}`);
      await page.getByRole('button', { name: 'Check now' }).click();
      await page.getByText('Looking at: policy…').waitFor();
    }
    await page.goto(`${scene.url}/#/check/good.example`);
    await page.getByRole('button', { name: /Check (now|again)/ }).click();
    await page.getByText('a.example and b.example are being checked').waitFor();
    assert.deepEqual(
      troubles.filter((one) => !/status of (400|503)/.test(one)),
      [],
    );
  });
});
