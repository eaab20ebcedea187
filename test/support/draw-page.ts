/**
 * Draws the pictures of the admin page in docs/pictures, in a browser, with mail that waits for every usual reason:
 *
 *   node test/support/draw-page.ts [MINUTES]
 *
 * MINUTES of traffic come first, so that the graphs have something to show (default 3). By hand now and then: no two
 * runs are alike, and a check could only fail.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { SIZES, startBrowser, visit } from './browser.ts';
import { fillWorld, type PageWorld, startPageWorld, TOKEN } from './page-world.ts';

const PICTURES = fileURLToPath(new URL('../../docs/pictures/', import.meta.url));

interface Picture {
  readonly name: string;
  readonly place: string;
  readonly size: keyof typeof SIZES;
  readonly colorScheme: 'light' | 'dark';
  /** A button that is pressed first. */
  readonly press?: string;
}

const DRAWN: readonly Picture[] = [
  { name: 'page-overview', place: '', size: 'desktop', colorScheme: 'light' },
  { name: 'page-overview-dark', place: '', size: 'desktop', colorScheme: 'dark' },
  { name: 'page-overview-phone', place: '', size: 'phone', colorScheme: 'dark' },
  {
    name: 'page-destination',
    place: 'destinations/partner.example',
    size: 'desktop',
    colorScheme: 'light',
  },
  {
    name: 'page-destination-phone',
    place: 'destinations/partner.example',
    size: 'phone',
    colorScheme: 'light',
  },
  {
    name: 'page-override',
    place: 'destinations/partner.example',
    size: 'desktop',
    colorScheme: 'dark',
    press: 'Add override',
  },
  {
    name: 'page-check',
    place: 'check/partner.example',
    size: 'desktop',
    colorScheme: 'light',
    press: 'Check now',
  },
  { name: 'page-queue', place: 'queue', size: 'desktop', colorScheme: 'light' },
  {
    name: 'page-retry',
    place: 'retry',
    size: 'desktop',
    colorScheme: 'light',
    press: 'Show what it would do',
  },
  { name: 'page-audit', place: 'audit', size: 'desktop', colorScheme: 'dark' },
];

async function draw(browser: Browser, { url }: PageWorld, picture: Picture): Promise<void> {
  const { name, place, size, colorScheme, press } = picture;
  await using made = await visit(browser, { viewport: SIZES[size], colorScheme });
  const { page } = made;
  await page.goto(url);
  await page.getByLabel('Token').fill(TOKEN);
  await page.getByLabel('Your name').fill('anna');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.goto(`${url}/#/${place}`);
  await page.locator('.loading').waitFor({ state: 'detached' });
  if (place === 'retry') await page.getByLabel('Waits between attempts').fill('1m, 2m, 5m');
  if (press !== undefined) await page.getByRole('button', { name: press }).click();
  if (name === 'page-check') await page.locator('.findings').first().waitFor();
  await sleep(1500);
  await page.screenshot({ path: `${PICTURES}${name}.png` });
}

/** Somebody writes, now more, now less. */
async function traffic({ world }: PageWorld, minutes: number): Promise<void> {
  const endMs = Date.now() + minutes * 60_000;
  for (let i = 0; Date.now() < endMs; i += 1) {
    const domain = i % 9 === 0 ? 'plain.example' : 'good.example';
    await world.send({ from: 'orders@shop.example', to: `user${i}@${domain}` });
    await sleep(400 + 350 * Math.sin(i / 20));
  }
}

await using world = await startPageWorld();
await fillWorld(world);
await traffic(world, Number(process.argv[2] ?? 3));
const browser = await startBrowser();
for (const picture of DRAWN) await draw(browser, world, picture);
await browser.close();
