/**
 * The way in as the rest of the relay sees it: open in this process (front-door.ts), or in
 * another one (remote-door.ts), and what the two processes say to each other about it.
 */
import { join } from 'node:path';
import { shortPath } from './admin/socket-path.ts';
import type { Settings } from './config/settings.ts';
import type { PemPair } from './intake/tls-material.ts';
import type { Trouble } from './telemetry/log.ts';
import type { MetricFacts } from './telemetry/merge-metrics.ts';

/** The settings that the way in depends on. */
export type DoorSettings = Pick<
  Settings,
  'hostname' | 'postmaster' | 'listeners' | 'tls' | 'access' | 'limits' | 'dkim' | 'log'
>;

/** How long messages in transit and attempts under way may take to finish when the relay ends. */
export const STOP_GRACE_MS = 30_000;

export interface ListenerFacts {
  readonly address: string;
  readonly port: number;
  readonly tls: string;
  readonly auth: string;
  /** Client connections open now. */
  readonly connections: number;
}

/** What another process knows of itself. */
export interface DoorFacts {
  readonly listeners: readonly ListenerFacts[];
  /** Its last warnings and errors, where it has a log of its own. */
  readonly troubles: readonly Trouble[];
}

export interface Door {
  /** Put changed settings into force. Rejects, with everything as it was, when they cannot be. */
  update(settings: DoorSettings): Promise<void>;
  /** Refuse new connections; wait at most `graceMs` for messages in transit. */
  close(graceMs: number): Promise<void>;
  /** Rejects when the process that knows does not answer; the message says so to people. */
  facts(): Promise<DoorFacts>;
  /** The metrics that are counted in another process; undefined when there are none. */
  metrics(): Promise<readonly MetricFacts[] | undefined>;
  /** Certificate and key in use, for HTTPS of our own. */
  readonly certificate: PemPair | undefined;
}

/** What the owner asks the receiving role. */
export type DoorRequest =
  | { readonly kind: 'settings'; readonly settings: DoorSettings }
  | { readonly kind: 'facts' }
  | { readonly kind: 'metrics' };

/** The answer to new settings. */
export type SettingsAnswer =
  | { readonly ok: true; readonly certificate: PemPair | undefined }
  | { readonly ok: false; readonly problem: string };

/** What the receiving role tells without being asked. */
export type DoorNews = { readonly kind: 'certificate'; readonly certificate: PemPair };

export function pickDoorSettings(settings: DoorSettings): DoorSettings {
  const { hostname, postmaster, listeners, tls, access, limits, dkim, log } = settings;
  return { hostname, postmaster, listeners, tls, access, limits, dkim, log };
}

/** The socket on which the supervisor says how its roles are; as `intakeSocket`. */
export function rolesSocket(dataDir: string): string {
  return shortPath(join(dataDir, 'roles.sock'));
}

/** The socket of the link, in a form that is short enough for one. Throws when there is none. */
export function intakeSocket(dataDir: string): string {
  return shortPath(join(dataDir, 'intake.sock'));
}
