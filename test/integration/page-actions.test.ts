/**
 * Every button of the admin page that another test does not press, pressed, to its end: what is said afterwards, and
 * what the relay has then. And what a change of an override, a time, a name in another script looks like.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import type { OverrideView } from '../../src/admin/overrides.ts';
import { SIZES, startBrowser, type Visit, visit, WITHOUT_CHROMIUM } from '../support/browser.ts';
import { axe, logIn, withoutRefusals } from '../support/page-visit.ts';
import { fillWorld, type PageWorld, startPageWorld } from '../support/page-world.ts';

const OF_FILE = {
  ...{ domain: 'old.example', tls: 'none', owner: 'ops@example.net', reason: 'their "TLS" breaks' },
  expires: '2099-01-31T12:00:00Z',
};
const UMLAUT = 'xn--bcher-kva.example';

describe('the buttons of the admin page', { skip: WITHOUT_CHROMIUM, timeout: 480_000 }, () => {
  let scene: PageWorld;
  let browser: Browser;
  before(async () => {
    scene = await startPageWorld({ overrides: [OF_FILE] });
    [browser] = await Promise.all([startBrowser(), fillWorld(scene)]);
    await scene.world.internet.domain(UMLAUT, { mx: [{ host: `mx.${UMLAUT}`, down: true }] });
    await scene.world.send({ from: 'orders@shop.example', to: `ann@${UMLAUT}` });
  });
  after(async () => {
    await browser?.close();
    await scene?.[Symbol.asyncDispose]();
  });

  async function at(place: string, options: Parameters<typeof visit>[1] = {}): Promise<Visit> {
    const made = await visit(browser, options);
    await logIn(made.page, scene.url);
    await made.page.goto(`${scene.url}/#/${place}`);
    await made.page.locator('.loading').waitFor({ state: 'detached' });
    return made;
  }
  /** Press `button`, fill what the dialog asks for, and do it; then `said` stands there. */
  async function act(
    page: Page,
    button: string | RegExp,
    said: string | RegExp,
    {
      action = button,
      fill = {},
    }: { action?: string | RegExp; fill?: Record<string, string> } = {},
  ): Promise<void> {
    await page.getByRole('button', { name: button }).first().click();
    const dialog = page.getByRole('dialog');
    for (const [label, text] of Object.entries(fill)) await dialog.getByLabel(label).fill(text);
    await dialog.getByRole('button', { name: action }).click();
    await page.locator('.notices').getByText(said).waitFor();
    await dialog.waitFor({ state: 'detached' });
  }
  const overrides = async (domain: string) => {
    const { overrides: found } = (await scene.api('GET', `/overrides?domain=${domain}`)) as {
      overrides: OverrideView[];
    };
    return found[0];
  };
  const total = async (filter: string) =>
    ((await scene.api('GET', `/queue?${filter}`)) as { total: number }).total;

  test('of a destination: retry, pause, resume, hold, release, bounce, drop', async () => {
    await using made = await at('destinations/away.example');
    const { page, troubles } = made;
    await act(page, 'Retry now', /5 deliveries due now\./, { action: /^Retry now 5/ });
    await page.getByRole('button', { name: 'Pause…' }).click();
    const pausing = page.getByRole('dialog');
    await pausing.getByLabel('Until a day').check();
    await pausing.getByLabel('Its last day').fill('2098-03-04');
    await pausing.getByLabel('until (empty').fill('09:30');
    await pausing.getByLabel('Reason').fill('they move');
    await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
    await page.getByText('away.example is paused; 5 deliveries wait.').waitFor();
    await page.getByText('5 messages wait: delivery is paused (they move).').waitFor();
    const { pauses } = (await scene.api('GET', '/pauses?domain=away.example')) as {
      pauses: { expires?: string }[];
    };
    assert.deepEqual(
      pauses.map(({ expires }) => expires),
      [new Date(2098, 2, 4, 9, 30).toISOString()],
    );
    await act(page, 'Resume', 'away.example is resumed; 5 deliveries may go.');
    const reason = { Reason: 'ticket 8' };
    await act(page, 'Hold all…', /5 deliveries held\./, { action: /^Hold 5/, fill: reason });
    await act(page, 'Release all…', /5 deliveries released\./, { action: /^Release 5/ });
    await act(page, 'Bounce all…', /5 deliveries bounced\./, {
      action: /^Bounce 5/,
      fill: { Reason: 'they are gone', 'Type 5 to confirm': '5' },
    });
    assert.equal(await total('domain=away.example'), 0);
    // Without mail, too, a pause is there to be seen.
    await act(page, 'Pause…', 'away.example is paused; 0 deliveries wait.', {
      action: 'Pause',
      fill: { Reason: 'for good' },
    });
    await page.getByText('Delivery is paused: what comes in will wait.').waitFor();
    await page.getByText(/^Delivery to away\.example is paused since .*: for good\.$/).waitFor();
    await page.goto(`${scene.url}/#/destinations`);
    await page.getByRole('row', { name: /held\.example.*held by an administrator/ }).waitFor();
    await page.goto(`${scene.url}/#/destinations/held.example`);
    await act(page, 'Drop all…', /2 deliveries dropped\./, {
      action: /^Drop 2/,
      fill: { Reason: 'spam', 'Type 2 to confirm': '2' },
    });
    assert.equal(await total('domain=held.example'), 0);
    assert.deepEqual(withoutRefusals(troubles), []);
  });

  test('of a message: hold, release, retry, bounce, drop', async () => {
    await using made = await at('queue?domain=slow.example');
    const { page, troubles } = made;
    await page.locator('td a.id').first().click();
    await act(page, 'Hold', /1 delivery held\./, { action: /^Hold 1/ });
    await act(page, 'Release', /1 delivery released\./, { action: /^Release 1/ });
    await act(page, 'Retry now', /1 delivery due now\. 1 wait on/, { action: /^Retry now 1/ });
    await act(page, 'Bounce', /1 delivery bounced\./, { action: /^Bounce 1/ });
    await page.getByText('It was delivered, bounced or dropped, or it was never here').waitFor();
    await page.getByText('Not in the queue.').waitFor();
    for (const name of ['Retry now', 'Hold', 'Bounce', 'Drop']) {
      assert.equal(await page.getByRole('button', { name, exact: true }).isDisabled(), true, name);
    }
    assert.equal(await page.getByText('recipient waits').count(), 0);
    await page.goto(`${scene.url}/#/queue?domain=slow.example`);
    await page.locator('td a.id').first().click();
    await act(page, 'Drop', /1 delivery dropped\./, { action: /^Drop 1/ });
    assert.equal(await total('domain=slow.example'), 1);
    assert.deepEqual(withoutRefusals(troubles), []);
  });

  test('of the queue: with those chosen, with all that fit, of a rule; its filter', async () => {
    await using made = await at('queue');
    const { page, troubles } = made;
    const filter = page.getByRole('form', { name: 'Filter' });
    await filter.getByLabel('Domain', { exact: true }).fill('partner.example');
    await filter.getByLabel('State').selectOption('delayed');
    await filter.getByRole('button', { name: 'Filter' }).click();
    await page.getByText('4 deliveries that fit').waitFor();
    for (const i of [0, 1]) await page.getByRole('checkbox').nth(i).check();
    await page.getByText('4 deliveries that fit, 2 chosen').waitFor();
    await act(page, 'Hold…', /2 deliveries held\./, { action: /^Hold 2/ });
    await page.getByRole('link', { name: 'Clear' }).click();
    await filter.getByLabel('State').selectOption('held');
    await filter.getByRole('button', { name: 'Filter' }).click();
    await page.getByText('2 deliveries that fit').waitFor();
    await act(page, 'Release…', /2 deliveries released\./, { action: /^Release 2/ });
    await page.goto(`${scene.url}/#/queue?domain=${UMLAUT}`);
    await page.getByText('1 delivery that fit').waitFor();
    await act(page, 'Retry…', /1 delivery due now\./, { action: /^Retry now 1/ });
    await act(page, 'Bounce…', /1 delivery bounced\./, { action: /^Bounce 1/ });
    await scene.world.send({ from: 'orders@shop.example', to: `ann@${UMLAUT}` });
    await page.goto(`${scene.url}/#/queue?domain=held.example`);
    const rule = page.getByRole('region', { name: 'Rules that hold mail' });
    await rule.getByRole('button', { name: 'Release…' }).click();
    // Nothing of it is queued any more: the rule is there all the same, and ends.
    const dialog = page.getByRole('dialog');
    await dialog.getByText('The rule “mail for held.example” ends.').waitFor();
    await dialog.getByRole('button', { name: 'Release' }).click();
    await page.getByText(/0 deliveries released\. The rule .* ends\./).waitFor();
    await rule.waitFor({ state: 'detached' });
    await page.goto(`${scene.url}/#/queue?sender=nobody@example.com`);
    await page.getByText('Nothing fits.').waitFor();
    await page.getByRole('button', { name: 'Hold…' }).click();
    await dialog.getByText('There is nothing to be done.').waitFor();
    const hold = dialog.getByRole('button', { name: /^Hold/ });
    assert.equal(await hold.getAttribute('aria-describedby'), 'dialog-lacks');
    await dialog.getByLabel('Also what comes in later').check();
    await dialog
      .getByText(/The rule .*nobody@example\.com.* holds what comes in later\./)
      .waitFor();
    assert.deepEqual(await axe(page), []);
    await hold.click();
    await rule.getByText('nobody@example.com').waitFor();
    await rule.getByRole('button', { name: 'Release…' }).click();
    await dialog.getByRole('button', { name: 'Release' }).click();
    await rule.waitFor({ state: 'detached' });
    assert.deepEqual(troubles, []);
  });

  test('an override: what is still needed, what it lets go and when, an end that stays', async () => {
    await using made = await at('overrides', { timezoneId: 'Asia/Tokyo' });
    const { page, troubles } = made;
    const dialog = page.getByRole('dialog');
    await page.getByRole('button', { name: 'Add override…' }).click();
    await dialog.getByText('Still needed: a domain and a reason.').waitFor();
    const add = dialog.getByRole('button', { name: 'Add override' });
    assert.equal(await add.isDisabled(), true);
    await dialog.getByLabel('Domain', { exact: true }).fill('partner.example');
    await dialog.getByText('Still needed: a reason.').waitFor();
    await dialog.getByLabel('Reason').fill('ticket 9');
    await dialog.getByLabel('Until a day').check();
    await dialog.getByText('Still to be chosen: its last day.').waitFor();
    await dialog.getByLabel('1 hour').check();
    await dialog.getByLabel('Try what waits').uncheck();
    await add.click();
    // Each is tried at its time, some ten minutes after its first attempt.
    await page
      .getByText(/is added, until .*\. 4 messages are let go at the next attempt, the first in/)
      .waitFor();
    const before = await overrides('partner.example');
    await page.getByRole('link', { name: 'Overview' }).click();
    const note = page.getByRole('listitem').filter({ hasText: 'The override of partner.example' });
    const local = new Date(before?.expires ?? '').toLocaleTimeString('en-GB', {
      ...{ hour: '2-digit', minute: '2-digit', timeZone: 'Asia/Tokyo' },
    });
    await note.getByText(local).waitFor();
    assert.doesNotMatch((await note.textContent()) ?? '', /UTC/);
    await page.getByRole('main').getByText('Times: Asia/Tokyo').waitFor();
    await page.goto(`${scene.url}/#/overrides`);
    await page.getByRole('button', { name: 'Add override…' }).click();
    await dialog.getByLabel('Domain', { exact: true }).fill('Partner.example');
    await dialog.getByText(/^partner\.example has one already: .* \(ticket 9\)\./).waitFor();
    await dialog.getByLabel('Domain', { exact: true }).fill('partner.exampl');
    await dialog.getByText('has one already').waitFor({ state: 'detached' });
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Change… partner.example' }).click();
    assert.equal(await dialog.getByLabel('As it is, until').isChecked(), true);
    await dialog.getByLabel('Reason').fill('ticket 10');
    await dialog.getByRole('button', { name: 'Change override' }).click();
    await page.getByText(/is changed, until .*\. 4 messages are let go now\./).waitFor();
    const changed = await overrides('partner.example');
    assert.deepEqual([changed?.reason, changed?.expires], ['ticket 10', before?.expires]);
    await page.goto(`${scene.url}/#/destinations/partner.example`);
    await page.getByText('No mail waits for partner.example.').first().waitFor();
    await act(page, 'End it…', 'The override of partner.example is removed.', {
      action: 'End override',
    });
    assert.equal(await overrides('partner.example'), undefined);
    // Its button has gone with it.
    await page.getByText('An override is in force:').waitFor({ state: 'detached' });
    await page.locator('h1:focus').waitFor();
    assert.deepEqual(withoutRefusals(troubles), []);
  });

  test('an override of the file: all it says, and its line for another one', async () => {
    await using made = await at('destinations/old.example');
    const { page, troubles } = made;
    await page.getByText('It stands in the configuration file: change it there.').waitFor();
    await page.getByRole('button', { name: 'Override…' }).click();
    const dialog = page.getByRole('dialog');
    assert.equal(await dialog.getByLabel('What is asked instead').inputValue(), 'none');
    assert.equal(await dialog.getByLabel('Reason').inputValue(), OF_FILE.reason);
    assert.equal(await dialog.getByLabel('Owner').inputValue(), OF_FILE.owner);
    assert.equal(await dialog.getByLabel('As it is, until').isChecked(), true);
    await dialog.getByLabel('What is asked instead').selectOption('encrypt');
    await dialog
      .getByText(
        '- { domain: old.example, tls: encrypt, owner: "ops@example.net", reason: "their \\"TLS\\" breaks", expires: 2099-01-31T12:00:00.000Z }',
      )
      .waitFor();
    assert.equal(await dialog.getByRole('button').count(), 1, 'there is nothing to be sent');
    assert.deepEqual(await axe(page), []);
    await dialog.getByRole('button', { name: 'Close' }).click();
    await dialog.waitFor({ state: 'detached' });
    assert.equal((await overrides('old.example'))?.tls, 'none');
    await page.goto(`${scene.url}/#/overrides`);
    await page.getByRole('button', { name: 'Show… old.example' }).click();
    await dialog.getByText('It stands in the configuration file').waitFor();
    assert.deepEqual(troubles, []);
  });

  test('of policies: refresh and forget, in the list and on its page; the focus stays', async () => {
    await using made = await at('policies');
    const { page, troubles } = made;
    const filter = page.getByRole('form', { name: 'Filter' });
    await filter.getByLabel('Domain').fill('good.*');
    await filter.getByLabel('Mode').selectOption('enforce');
    await filter.getByRole('button', { name: 'Filter' }).click();
    await page.getByRole('row', { name: /partner/ }).waitFor({ state: 'detached' });
    const refresh = page.getByRole('button', { name: 'Refresh good.example' });
    await refresh.focus();
    await page.keyboard.press('Enter');
    await page.getByText(/^good\.example: .*\.$/).waitFor();
    assert.match((await page.locator(':focus').textContent()) ?? '', /^Refresh good\.example$/);
    await page.getByRole('button', { name: 'Dismiss' }).click();
    await page.locator('.notice').waitFor({ state: 'detached' });
    await page.getByRole('link', { name: 'good.example' }).click();
    await page.getByRole('button', { name: 'Refresh good.example' }).click();
    await page.getByText(/^good\.example: .*\.$/).waitFor();
    await page.getByRole('button', { name: 'Forget… good.example' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Forget' }).click();
    await page.getByText('No policy is kept that fits.').or(page.getByRole('table')).waitFor();
    const left = (await scene.api('GET', '/policies?domain=good.example')) as { policies: [] };
    assert.deepEqual(left.policies, []);
    await page.goto(`${scene.url}/#/policies`);
    await act(page, 'Forget… partner.example', 'The policy of partner.example is forgotten.', {
      action: 'Forget',
    });
    assert.deepEqual(troubles, []);
  });

  test('of the preview: what it shows leaves the focus, and the fields go back', async () => {
    await using made = await at('retry');
    const { page, troubles } = made;
    const waits = page.getByLabel('Waits between attempts');
    const before = await waits.inputValue();
    await waits.fill('1m');
    const show = page.getByRole('button', { name: 'Show what it would do' });
    await show.focus();
    await page.keyboard.press('Enter');
    await page.getByText('schedule: [1m]').waitFor();
    assert.equal(await page.locator(':focus').textContent(), 'Show what it would do');
    await page.getByRole('button', { name: 'As it is now' }).click();
    assert.equal(await waits.inputValue(), before);
    assert.deepEqual(troubles, []);
  });

  test('of the relay and its reports: reload, send', async () => {
    await using made = await at('relay');
    const { page, troubles } = made;
    await act(page, 'Reload configuration…', 'The configuration file is in force.', {
      action: 'Reload',
    });
    await scene.world.relay.waitForEvent('config.reloaded');
    const yesterday = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
    await page.goto(`${scene.url}/#/reports/${yesterday}`);
    await page.getByRole('button', { name: 'Send what has not gone…' }).click();
    await page.getByRole('dialog').getByText('There is nothing left to be sent.').waitFor();
    await page.keyboard.press('Escape');
    // Nothing was sent a day before this relay was there: the day is answered as one with a report.
    const orders: unknown[] = [];
    const summary = { 'total-successful-session-count': 2, 'total-failure-session-count': 0 };
    const policies = [{ policy: { 'policy-type': 'sts' }, summary }];
    const one = { domain: 'good.example', sends: true };
    await page.route('**/tlsrpt/days/**', async (route) => {
      if (route.request().method() === 'GET')
        return route.fulfill({
          json: { day: yesterday, reports: [{ domain: 'good.example', report: { policies } }] },
        });
      orders.push(route.request().postDataJSON());
      return route.fulfill({ json: { reports: [one] } });
    });
    await page.reload();
    await act(page, 'Send… good.example', '1 report sent on.', { action: 'Send' });
    await act(page, 'Send what has not gone…', '1 report sent on.', { action: 'Send' });
    const named = { domain: 'good.example' };
    assert.deepEqual(orders, [
      { ...named, dryRun: true },
      { ...named, dryRun: false },
      { dryRun: true },
      { dryRun: false },
    ]);
    assert.deepEqual(troubles, []);
  });

  test('around every view: colours, skip to content, try again; the other filters', async () => {
    await using made = await at('destinations');
    const { page, troubles } = made;
    const theme = () => page.evaluate('document.documentElement.dataset.theme');
    const seen: unknown[] = [];
    for (let i = 0; i < 3; i += 1) {
      await page.getByRole('button', { name: 'Colours:' }).click();
      seen.push(await theme());
    }
    assert.deepEqual(seen, ['light', 'dark', undefined]);
    await page.getByRole('button', { name: 'Skip to content' }).focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate('document.activeElement?.id'), 'main');
    await page.getByRole('cell', { name: `${UMLAUT} (bücher.example)` }).waitFor();
    const filter = page.getByRole('form', { name: 'Filter' });
    await filter.getByLabel('Domain').fill('slow*');
    await filter.getByLabel('With mail that is').selectOption('parked');
    await filter.getByRole('button', { name: 'Filter' }).click();
    await page.getByText('1 destination, 1 delivery.').waitFor();
    await filter.getByLabel('Domain').fill('Bücher.example');
    await filter.getByRole('button', { name: 'Filter' }).click();
    await page.getByRole('heading', { name: `${UMLAUT} (bücher.example)` }).waitFor();
    await page.goto(`${scene.url}/#/audit`);
    await filter.getByLabel('Did').fill('override');
    await filter.getByRole('button', { name: 'Filter' }).click();
    await page.waitForURL(/action=override/);
    assert.deepEqual(troubles, []);
    await page.route('**/api/v1/status', (route) => route.abort());
    await page.goto(`${scene.url}/#/relay`);
    await page.getByText('The relay does not answer.').waitFor();
    await page.unroute('**/api/v1/status');
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('region', { name: 'Listeners' }).waitFor();
  });

  test('on a phone no address and no name is torn where it need not be', async () => {
    await using made = await at('queue', { viewport: SIZES.phone });
    const { page } = made;
    const torn: string[] = [];
    for (const view of ['queue', 'audit', 'relay', 'overrides', 'destinations/slow.example']) {
      await page.goto(`${scene.url}/#/${view}`);
      await page.locator('main h1').waitFor();
      await page.locator('.loading').waitFor({ state: 'detached' });
      torn.push(...((await page.evaluate(TORN)) as string[]).map((word) => `#/${view}: ${word}`));
    }
    assert.deepEqual(torn, []);
  });
});

/** Words of tables, badges, buttons and headings that stand on two lines though one would hold them. */
const TORN = `(() => {
  const found = [];
  for (const place of document.querySelectorAll('td, .badge, button, h2, time')) {
    const texts = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      for (const { 0: word, index } of text.data.matchAll(/[^\\s-]+/g)) {
        const range = document.createRange();
        range.setStart(text, index);
        range.setEnd(text, index + word.length);
        const lines = new Set([...range.getClientRects()].filter((one) => one.width > 0).map((one) => Math.round(one.top)));
        if (lines.size > 1 && word.length < 40) found.push(word);
      }
    }
  }
  return [...new Set(found)];
})()`;
