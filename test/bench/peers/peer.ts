/** What the bench asks of a relay it compares. */
import type { Programs } from '../measure/programs.ts';
import type { Scenario } from '../scenarios.ts';
import type { PeerName } from '../settings.ts';
import type { Outside } from '../world/outside.ts';

/** Where and for what a peer is to run. */
export interface Site {
  /** An empty folder. */
  readonly dir: string;
  /** Listen here, on 127.0.0.1. */
  readonly port: number;
  /** A free port for whatever else it serves. */
  readonly sparePort: number;
  readonly sinkPort: number;
  readonly outside: Outside;
  readonly scenario: Scenario;
}

export interface Launch {
  /** Run in the foreground, until SIGTERM. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Peer {
  readonly name: PeerName;
  /** Its version and what it is allowed, for the document. */
  readonly setup: string;
  /** Why it cannot take part in a scenario here. */
  missing(scenario: Scenario): string | undefined;
  /** Write its configuration. */
  prepare(site: Site): Launch;
}

/** Everything a run needs besides the peer. */
export interface Bench {
  readonly work: string;
  readonly programs: Programs;
  readonly outside: Outside;
}
