/**
 * What happens when messages are signed (RFC 6376). One function per event: log line and metric together.
 */
import { LineBudget } from './line-budget.ts';
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';
import { Spell } from './spell.ts';

interface KeyFacts {
  readonly domain: string;
  readonly selector: string;
  readonly keyFile: string;
}

export function dkimEvents(log: Log, metrics: Metrics) {
  const unsigned = new Spell();
  const malformed = new LineBudget();
  return {
    signed(): void {
      metrics.dkimSignatures.inc({ result: 'signed' });
      const over = unsigned.works();
      if (!over) return;
      log.write('info', 'dkim.signing', { unsigned: over.count, seconds: over.seconds });
    },
    /** A message that was to be signed goes without; told once a spell. */
    unsigned(facts: { readonly domain: string; readonly reason: string }): void {
      metrics.dkimSignatures.inc({ result: 'failed' });
      const told = unsigned.hit();
      if (!told) return;
      const { count, seconds } = told;
      log.write('error', 'dkim.unsigned', { ...facts, unsigned: count, seconds });
    },
    /** It goes without, and no key is to blame: whoever made it is. */
    malformed({ domain }: { readonly domain: string }): void {
      metrics.dkimSignatures.inc({ result: 'malformed' });
      const { mayTell, unsaid } = malformed.take();
      log.write(mayTell ? 'info' : 'debug', 'dkim.malformed', { domain, unsaid });
    },
    /** `keeps`: the key that was read before stays in use. */
    keyFailed(facts: KeyFacts & { readonly reason: string; readonly keeps: boolean }): void {
      const { domain, selector, keyFile, reason, keeps } = facts;
      const level = keeps ? 'warn' : 'error';
      log.write(level, 'dkim.key_failed', { domain, selector, keyFile, reason, keeps });
    },
    keyChanged({ domain, selector, keyFile }: KeyFacts): void {
      log.write('info', 'dkim.key_changed', { domain, selector, keyFile });
    },
  };
}
