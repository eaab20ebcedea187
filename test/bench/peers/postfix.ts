/**
 * Debian's Postfix, tuned (peers/postfix/): 20 connections to the destination, no pauses, TLS
 * verified as strictly as we do. Two ways to save handshakes: its TLS session cache, or whole
 * TLS connections kept open.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCommand } from '../../support/tied-child.ts';
import type { Scenario } from '../scenarios.ts';
import type { Launch, Peer, Site } from './peer.ts';
import { destinationSettings, resolverMissing, withResolver } from './postfix-destination.ts';

const TEMPLATES = fileURLToPath(new URL('postfix/', import.meta.url));
const CONNECTIONS = 20;

export function postfix(kind: 'reuse' | 'session cache'): Peer {
  const reuse = kind === 'reuse';
  return {
    name: reuse ? 'postfix-reuse' : 'postfix',
    setup: `${version()}, ${CONNECTIONS} connections, ${reuse ? 'TLS connection reuse' : 'TLS session cache'}`,
    missing: (scenario) => missing(scenario, reuse),
    prepare: (site) => prepare(site, reuse),
  };
}

/** postconf wants a main.cf, be it empty. */
function version(): string {
  const conf = mkdtempSync(join(tmpdir(), 'postconf-'));
  writeFileSync(join(conf, 'main.cf'), '');
  const postconf = findCommand('postconf') ?? 'postconf';
  const args = ['-c', conf, '-d', '-h', 'mail_version'];
  const { stdout } = spawnSync(postconf, args, { encoding: 'utf8' });
  rmSync(conf, { recursive: true });
  return stdout?.trim() || 'not installed';
}

function missing(scenario: Scenario, reuse: boolean): string | undefined {
  if (findCommand('postfix') === undefined) return 'it is not installed: apt-get install postfix';
  if (process.getuid?.() !== 0) return 'it runs as root only';
  if (reuse && !scenario.reuse) return 'the scenario forbids to reuse connections';
  return scenario.domains > 1 ? resolverMissing() : undefined;
}

function prepare(site: Site, reuse: boolean): Launch {
  const { dir, scenario, outside } = site;
  const conf = join(dir, 'conf');
  for (const folder of [conf, join(dir, 'spool'), join(dir, 'data')]) mkdirSync(folder);
  chmodSync(dir, 0o755); // its processes run as other users
  spawnSync('chown', ['postfix', join(dir, 'data')]);
  const values = {
    ROOT: dir,
    CA: outside.caFile,
    CONNECTIONS: String(CONNECTIONS),
    SESSIONS: reuse ? '' : 'btree:$data_directory/smtp_scache',
    REUSE: reuse ? 'yes' : 'no',
    DESTINATION: destinationSettings(site),
    PORT: `127.0.0.1:${site.port}`,
  };
  for (const name of ['main.cf', 'master.cf']) {
    const template = readFileSync(join(TEMPLATES, `${name}.in`), 'utf8');
    writeFileSync(join(conf, name), fill(template, values));
  }
  const command = findCommand('postfix') ?? 'postfix';
  spawnSync(command, ['-c', conf, 'check']); // makes the queue directories
  const start = [command, '-c', conf, 'start-fg'];
  return { command: scenario.domains > 1 ? withResolver(site, start) : start };
}

/** `@NAME@` becomes the value of that name. */
function fill(template: string, values: Readonly<Record<string, string>>): string {
  return template.replaceAll(/@([A-Z]+)@/g, (whole, name: string) => values[name] ?? whole);
}
