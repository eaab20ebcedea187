/**
 * `stsrelay reload`: have the running relay apply the changed configuration file.
 */
import { z } from 'zod';
import { type CliCommand, CliError, EXIT } from './command.ts';
import { requireDataDir } from './configuration.ts';
import { askRelay } from './control-client.ts';
import { print, printJson } from './terminal.ts';

const applied = z.object({ ok: z.literal(true), needRestart: z.array(z.string()).default([]) });
const refusal = z.object({ ok: z.literal(false), problems: z.array(z.string()) });
const RELOAD_TIMEOUT_MS = 60_000;

export const reload: CliCommand = {
  usage: 'reload',
  summary: 'apply the changed configuration file without dropping a connection',
  async run(invocation) {
    const { status, body } = await askRelay(requireDataDir(invocation), {
      method: 'POST',
      path: '/api/v1/reload',
      timeoutMs: RELOAD_TIMEOUT_MS,
    });
    const done = applied.safeParse(body);
    if (done.success) {
      const { needRestart } = done.data;
      if (invocation.json) printJson({ ok: true, needRestart });
      else {
        print('the configuration is in effect');
        if (needRestart.length > 0) print(`at the next start only: ${needRestart.join(', ')}`);
      }
      return EXIT.done;
    }
    const refused = refusal.safeParse(body);
    if (!refused.success) throw new CliError(EXIT.no, `the relay answered ${status} to the reload`);
    const { problems } = refused.data;
    const text = `the relay refused the configuration and keeps the old one:\n${problems.join('\n')}`;
    throw new CliError(EXIT.wrong, text, { problems });
  },
};
