/**
 * What every part of the relay stands on: clock, log, metrics and the events that write both, the
 * settings in force, and the list of what is to be taken down at the end. Made by relay.ts first of
 * all.
 */
import type { Settings } from './config/settings.ts';
import { DkimSigner } from './dkim/signer.ts';
import { type Clock, systemClock } from './platform/clock.ts';
import { adminEvents } from './telemetry/admin-events.ts';
import { dkimEvents } from './telemetry/dkim-events.ts';
import { intakeEvents } from './telemetry/intake-events.ts';
import { createLog, type Log } from './telemetry/log.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { outcomeEvents } from './telemetry/outcome-events.ts';
import { policyEvents } from './telemetry/policy-events.ts';
import { queueEvents } from './telemetry/queue-events.ts';
import { relayEvents } from './telemetry/relay-events.ts';
import { reportEvents } from './telemetry/report-events.ts';
import { ownerEvents } from './telemetry/role-events.ts';
import { traceEvents } from './telemetry/trace-events.ts';
import { openTraces, type Traces } from './telemetry/traces/open-traces.ts';
import { VERSION } from './version.ts';

/** What tests may put in the place of the real thing. */
export interface RelayOverrides {
  readonly clock?: Clock;
  readonly log?: Log;
}

export class Ground {
  /** In force now. */
  settings: Settings;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics = createMetrics();
  readonly events: {
    readonly relay: ReturnType<typeof relayEvents>;
    readonly owner: ReturnType<typeof ownerEvents>;
    readonly intake: ReturnType<typeof intakeEvents>;
    readonly queue: ReturnType<typeof queueEvents>;
    readonly policy: ReturnType<typeof policyEvents>;
    readonly outcome: ReturnType<typeof outcomeEvents>;
    readonly admin: ReturnType<typeof adminEvents>;
    readonly report: ReturnType<typeof reportEvents>;
  };
  /** Signs with the keys of the settings in force. */
  readonly signer: DkimSigner;
  /** Absent: nothing is traced. */
  traces: Traces | undefined;
  readonly #undo: (() => unknown)[] = [];

  constructor(settings: Settings, { clock, log }: RelayOverrides) {
    const { level, format } = settings.log;
    this.settings = settings;
    this.clock = clock ?? systemClock;
    this.log = log ?? createLog({ level, format });
    this.events = {
      relay: relayEvents(this.log, this.metrics),
      owner: ownerEvents(this.log, this.metrics),
      intake: intakeEvents(this.log, this.metrics),
      queue: queueEvents(this.log, this.metrics),
      policy: policyEvents(this.log, this.metrics),
      outcome: outcomeEvents(this.log, this.metrics),
      admin: adminEvents(this.log, this.metrics),
      report: reportEvents(this.log, this.metrics),
    };
    const signingEvents = dkimEvents(this.log, this.metrics);
    this.signer = new DkimSigner({ clock: this.clock, events: signingEvents });
    this.signer.use(settings.dkim);
  }

  /** Trace messages from now on, if the environment asks for it. */
  async openTraces(): Promise<void> {
    const events = traceEvents(this.log);
    const { env: environment } = process;
    const traces = await openTraces({ environment, version: VERSION, role: 'deliver', events });
    if (!traces) return;
    this.traces = traces;
    this.log.nameTraces?.((id) => traces.of(id)?.traceId);
    this.undo(() => traces.close());
  }

  /** Something was started: how it is taken down. */
  undo(action: () => unknown): void {
    this.#undo.push(action);
  }

  /** Take down what was started, the last first; what fails keeps nothing else from its end. */
  async takeDown(): Promise<void> {
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        this.events.relay.warning(`while stopping: ${(error as Error).message}`);
      }
    }
  }
}
