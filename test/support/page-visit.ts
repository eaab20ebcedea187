/** What visits to the admin page have in common: the login, axe, and what a browser writes that is no trouble. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';
import { TOKEN } from './page-world.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');

/** As anna. */
export async function logIn(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await page.getByLabel('Token').fill(TOKEN);
  await page.getByLabel('Your name').fill('anna');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
}

/** What breaks WCAG 2.2 A and AA, or what axe counts as good practice. */
export async function axe(page: Page, rules: readonly string[] = []): Promise<readonly string[]> {
  // By way of the debugger: the page itself lets no script of others in.
  await page.evaluate(AXE);
  return page.evaluate(async (only) => {
    const { axe: checker } = globalThis as unknown as {
      axe: {
        run(options: object): Promise<{
          violations: { id: string; nodes: { target: unknown[]; failureSummary: string }[] }[];
        }>;
      };
    };
    const { violations } = await checker.run(only.length > 0 ? { runOnly: only } : {});
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`),
    );
  }, rules);
}

/** Chromium writes every 4xx to the console, also one that is shown. */
export function withoutRefusals(troubles: readonly string[]): readonly string[] {
  return troubles.filter((one) => !/status of 40[04]/.test(one));
}
