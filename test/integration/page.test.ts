/**
 * The admin page in a real browser, as its users have it: what a first-time admin looks for and does, with every
 * action in the audit log; who is let in; and that no view asks another host, breaks its own
 * Content-Security-Policy, writes errors, or is unusable without eyes, mouse or width.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { SIZES, startBrowser, type Visit, visit, WITHOUT_CHROMIUM } from '../support/browser.ts';
import { axe, logIn, withoutRefusals } from '../support/page-visit.ts';
import { fillWorld, type PageWorld, startPageWorld, TOKEN } from '../support/page-world.ts';

/** How much wider the page is than the window. */
const WIDER = 'document.documentElement.scrollWidth - innerWidth';
const VIEWS = [
  ...['', 'destinations', 'destinations/partner.example', 'queue', 'policies'],
  ...['policies/partner.example', 'overrides', 'retry', 'reports', 'audit', 'relay', 'nowhere'],
  ...['check', 'check/partner.example'],
  `reports/${new Date().toISOString().slice(0, 10)}`,
];

describe('the admin page', { skip: WITHOUT_CHROMIUM, timeout: 240_000 }, () => {
  let scene: PageWorld;
  let browser: Browser;
  before(async () => {
    scene = await startPageWorld();
    [browser] = await Promise.all([startBrowser(), fillWorld(scene)]);
  });
  after(async () => {
    await browser?.close();
    await scene?.[Symbol.asyncDispose]();
  });

  async function loggedIn(options: Parameters<typeof visit>[1] = {}): Promise<Visit> {
    const made = await visit(browser, options);
    await logIn(made.page, scene.url);
    return made;
  }
  const audit = async (action: string) => {
    const { entries } = (await scene.api('GET', `/audit?action=${action}`)) as {
      entries: { actor: string; target: string; result?: string; facts: Record<string, unknown> }[];
    };
    return entries;
  };

  test('why is mail to partner.example not leaving; let it out for a week with a reason', async () => {
    await using made = await loggedIn();
    const { page, troubles } = made;
    await page.getByText('Mail for partner.example waits: the TLS').waitFor();
    await page.getByLabel('Find a domain').fill('partner.example');
    await page.keyboard.press('Enter');
    await page.getByText(/4 messages wait: the TLS that its policy asks for was not/).waitFor();
    await page.getByText('certificate has expired').first().waitFor();
    await page.getByRole('button', { name: 'Add override' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('What it gives up').waitFor();
    assert.equal(await dialog.getByLabel('1 week').isChecked(), true);
    await dialog.getByLabel('Reason').fill('their certificate expired, ticket 123');
    await dialog.getByRole('button', { name: 'Add override' }).click();
    await page
      .getByText(/The override of partner.example is added, until .*\. 4 messages are let go now\./)
      .waitFor();
    await page.getByText('No mail waits for partner.example.').first().waitFor();
    const [noted] = await audit('override.add');
    assert.match(noted?.actor ?? '', /^anna \(page\) from 127\.0\.0\.1$/);
    assert.equal(noted?.facts['reason'], 'their certificate expired, ticket 123');
    const days = (Date.parse(String(noted?.facts['expires'])) - Date.now()) / 86_400_000;
    assert.ok(days > 6.9 && days < 7.1, `${days} days`);
    await page.getByRole('link', { name: 'Overrides' }).click();
    await page.getByRole('button', { name: 'End… partner.example' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'End override' }).click();
    await page.getByText('None is in force').waitFor();
    // A message that has gone meanwhile is not found.
    assert.deepEqual(withoutRefusals(troubles), []);
  });

  test('what would a shorter retry schedule do to the queue now', async () => {
    await using made = await loggedIn();
    const { page, troubles } = made;
    await page.getByRole('link', { name: 'Retry preview' }).click();
    await page.getByLabel('Waits between attempts').fill('1m, 2m');
    await page.getByRole('button', { name: 'Show what it would do' }).click();
    await page.getByText(/[1-9]\d* sooner/).waitFor();
    await page.getByRole('row', { name: /away\.example/ }).waitFor();
    await page.getByText('schedule: [1m, 2m]').waitFor();
    await page.getByLabel('Waits between attempts').fill('soon');
    await page.getByRole('button', { name: 'Show what it would do' }).click();
    await page.getByText(/retry\.schedule\.0: a duration/).waitFor();
    assert.deepEqual(withoutRefusals(troubles), []);
  });

  test('who changed what: today, and yesterday nobody', async () => {
    await using made = await loggedIn();
    const { page, troubles } = made;
    await page.getByRole('link', { name: 'Audit log' }).click();
    await page.getByRole('link', { name: 'Today' }).click();
    const row = page.getByRole('row', { name: /domain\.pause/ });
    await row.getByText('slow.example').waitFor();
    await row.getByText('http token from 127.0.0.1').waitFor();
    await page.getByRole('link', { name: 'Yesterday' }).click();
    await page.getByText('Nobody changed anything that fits.').waitFor();
    assert.deepEqual(troubles, []);
  });

  test('pause and resume; drop what is chosen, after its number was typed', async () => {
    await using made = await loggedIn();
    const { page, troubles } = made;
    await page.goto(`${scene.url}/#/destinations/slow.example`);
    await page.getByRole('button', { name: 'Resume' }).click();
    await page.getByRole('dialog').getByText('3 deliveries may go again').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
    await page.getByText('slow.example is resumed; 3 deliveries may go.').waitFor();
    await page.goto(`${scene.url}/#/queue?domain=held.example`);
    await page.getByRole('button', { name: 'Drop…' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('2 deliveries would be touched').waitFor();
    const drop = dialog.getByRole('button', { name: 'Drop 2' });
    assert.equal(await drop.isDisabled(), true);
    await dialog.getByLabel('Type 2 to confirm').fill('2');
    await dialog.getByLabel('Reason').fill('spam');
    await drop.click();
    await page.getByText('2 deliveries dropped.').waitFor();
    const [done] = await audit('queue.drop');
    assert.deepEqual([done?.result, done?.facts['touched']], ['done', 2]);
    assert.deepEqual(troubles, []);
  });

  test('an address that is looked for: what waits for it, or else what it sent', async () => {
    await using made = await loggedIn();
    const { page, troubles } = made;
    const look = async (text: string, hash: string) => {
      await page.getByRole('searchbox').fill(text);
      await page.keyboard.press('Enter');
      await page.waitForURL(`${scene.url}/#/${hash}`);
    };
    await look('user1@away.example', 'queue?recipient=user1%40away.example');
    await page.getByText('1 delivery that fit').waitFor();
    await look('support@shop.example', 'queue?sender=support%40shop.example');
    await page.getByText(/[1-9]\d* deliver\w+ that fit/).waitFor();
    await look('nobody@home.example', 'queue?recipient=nobody%40home.example');
    await page.getByText('0 deliveries that fit').waitFor();
    assert.deepEqual(troubles, []);
  });

  test('a message explained, by the keyboard alone', async () => {
    await using made = await loggedIn();
    const { page, troubles } = made;
    await page.goto(`${scene.url}/#/queue?domain=away.example`);
    const link = page.locator('td a.id').first();
    const id = (await link.textContent()) ?? '';
    await link.focus();
    await page.keyboard.press('Enter');
    await page.getByText('What the sender is told').waitFor();
    await page.getByText('Next attempt').first().waitFor();
    const focused = await page.evaluate('document.activeElement?.tagName');
    assert.equal(focused, 'H1', 'the heading of the new view has the focus');
    const retry = page.getByRole('button', { name: 'Retry now' });
    await retry.focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').getByText('1 delivery would be touched').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.equal(await page.locator(':focus').textContent(), 'Retry now');
    assert.match(id, /^[0-9A-Z]{16}$/);
    assert.deepEqual(troubles, []);
  });

  // What differs in the dark are the colours.
  for (const [colorScheme, rules] of [
    ['light', undefined],
    ['dark', ['color-contrast', 'link-in-text-block']],
  ] as const) {
    test(`every view keeps to WCAG AA as axe sees it, ${colorScheme}`, async () => {
      await using made = await loggedIn({ colorScheme });
      const { page, troubles } = made;
      const found: string[] = [];
      for (const view of VIEWS) {
        await page.goto(`${scene.url}/#/${view}`);
        await page.locator('main h1').waitFor();
        await page.locator('.loading').waitFor({ state: 'detached' });
        const over = Number(await page.evaluate(WIDER));
        if (over > 0) found.push(`#/${view} is ${over} pixels too wide`);
        found.push(...(await axe(page, rules)).map((one) => `#/${view}: ${one}`));
      }
      await page.goto(`${scene.url}/#/destinations/away.example`);
      await page.getByRole('button', { name: 'Add override' }).click();
      found.push(...(await axe(page, rules)).map((one) => `the dialog: ${one}`));
      assert.deepEqual(found, []);
      assert.deepEqual(troubles, []);
    });
  }

  test('every view fits 320 pixels', async () => {
    await using made = await loggedIn({ viewport: SIZES.narrow });
    const { page, troubles } = made;
    for (const view of VIEWS) {
      await page.goto(`${scene.url}/#/${view}`);
      await page.locator('main h1').waitFor();
      await page.locator('.loading').waitFor({ state: 'detached' });
      const over = await page.evaluate(WIDER);
      assert.ok(Number(over) <= 0, `#/${view} is ${over} pixels too wide`);
    }
    await page.getByRole('button', { name: /^TLS reports/ }).click();
    await page.getByRole('link', { name: 'Overview' }).click();
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    assert.deepEqual(troubles, []);
  });

  test('logging in and out: a wrong token is refused, a login ends with its token', async () => {
    await using made = await visit(browser);
    const { page } = made;
    await page.goto(scene.url);
    await page.getByLabel('Token').fill('not-the-token-at-all');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByText('this is not the token').waitFor();
    await page.getByLabel('Token').fill(TOKEN);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page
      .getByText(/wrong tokens came from 127\.0\.0\.1: try again in \d+ s|Overview/)
      .waitFor();
    await page.waitForTimeout(1100);
    await logIn(page, scene.url);
    const cookies = await page.context().cookies();
    assert.deepEqual(
      cookies.map(({ httpOnly, sameSite, path }) => [httpOnly, sameSite, path]),
      [[true, 'Strict', '/']],
    );
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByLabel('Token').waitFor();
    await page.context().addCookies(cookies);
    await page.goto(scene.url);
    await page.getByLabel('Token').waitFor();
  });
});
