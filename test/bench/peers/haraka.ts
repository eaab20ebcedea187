/**
 * Haraka from npm, which lives in the cache folder and never in this project's package.json:
 * a process for each core, 20 connections, relays everything to the sink.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCommand } from '../../support/tied-child.ts';
import { cacheFolder } from '../measure/programs.ts';
import { CORES } from '../settings.ts';
import type { Launch, Peer, Site } from './peer.ts';

const PLUGINS = fileURLToPath(new URL('haraka/plugins', import.meta.url));
const VERSION = '3.3.4';
/** Its dependencies as they were then: everybody measures the same program. */
const AS_OF = '2026-10-01';

/** Installs it when it is not there. */
export function haraka(): Peer {
  const folder = join(cacheFolder(), `haraka-${VERSION}`);
  const module = join(folder, 'node_modules', 'Haraka');
  const trouble = existsSync(module) ? undefined : install(folder);
  return {
    name: 'haraka',
    setup: `${VERSION}, ${CORES} processes, 20 connections`,
    missing: (scenario) => {
      if (scenario.domains > 1) return 'it knows no MTA-STS';
      return trouble;
    },
    prepare: (site) => prepare(site, module),
  };
}

function install(folder: string): string | undefined {
  const npm = findCommand('npm');
  if (npm === undefined) return 'npm is missing';
  process.stderr.write(`installing Haraka ${VERSION} in ${folder}\n`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const quiet = ['--no-audit', '--no-fund', '--no-progress', '--loglevel=error'];
  const args = ['install', ...quiet, '--omit=optional', `--before=${AS_OF}`, `Haraka@${VERSION}`];
  const { status, stderr } = spawnSync(npm, args, { cwd: folder, encoding: 'utf8' });
  if (status === 0) return undefined;
  const said = stderr.trim().split('\n')[1] ?? stderr;
  return `npm could not install it: ${said}`;
}

function prepare(site: Site, module: string): Launch {
  const config = join(site.dir, 'config');
  cpSync(join(module, 'config'), config, { recursive: true });
  cpSync(PLUGINS, join(site.dir, 'plugins'), { recursive: true });
  mkdirSync(join(site.dir, 'queue'));
  const { tls } = site.scenario;
  const files: Readonly<Record<string, string>> = {
    'smtp.ini': `listen=127.0.0.1:${site.port}\nnodes=${CORES}\n`,
    plugins: 'relay_to_sink\n',
    relay_to_sink: `127.0.0.1:${site.sinkPort}\n`,
    me: 'relay.test\n',
    host_list: '',
    'log.ini': '[main]\nlevel=notice\n',
    'outbound.ini': `concurrency_max=20\nlocal_mx_ok=true\nenable_tls=${tls}\n`,
    'outbound.bounce_message': '',
    'tls.ini': '[redis]\ndisable_for_failed_hosts=false\n[outbound]\nrejectUnauthorized=true\n',
    'ca.pem': readFileSync(site.outside.caFile, 'utf8'),
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(config, name), text);
  return {
    command: [process.execPath, join(module, 'bin', 'haraka'), '-c', site.dir],
    env: { NODE_EXTRA_CA_CERTS: site.outside.caFile, NODE_ENV: 'production' },
  };
}
