/**
 * Headless Chromium for the tests of the admin page: Debian's own, driven by playwright-core. Each visit notes what
 * no page of ours may do: ask another host, be stopped by its own Content-Security-Policy, write errors.
 */
import { existsSync } from 'node:fs';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The program, where it is installed. */
export const CHROMIUM: string | undefined = PLACES.find((path) => existsSync(path));

/** `false`: it is there; else why the test is skipped. */
export const WITHOUT_CHROMIUM: string | false =
  CHROMIUM === undefined ? 'chromium is not installed' : false;

export const SIZES = {
  desktop: { width: 1280, height: 800 },
  phone: { width: 390, height: 844 },
  narrow: { width: 320, height: 640 },
} as const;

export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM ?? '',
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb'],
  });
}

export interface Visit extends AsyncDisposable {
  readonly page: Page;
  /** What it did that it must not, in words. */
  readonly troubles: string[];
}

/** A browser window of its own, with cookies of its own. */
export async function visit(browser: Browser, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext({
    viewport: SIZES.desktop,
    colorScheme: 'light',
    reducedMotion: 'reduce',
    ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const troubles: string[] = [];
  page.on('pageerror', (error) => troubles.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error') troubles.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    const isOwn = url.hostname === '127.0.0.1' || url.hostname === 'localhost';
    if (!isOwn && url.protocol !== 'data:') troubles.push(`asked ${url.href}`);
  });
  return { page, troubles, [Symbol.asyncDispose]: () => context.close() };
}
