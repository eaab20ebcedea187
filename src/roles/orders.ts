/**
 * What the supervisor and the roles it started say to each other, and the role's end of it.
 * A role under a supervisor does what it is told over the channel between the two, ignores the
 * signals that reach it along with the supervisor's (from a terminal, from systemd), and ends
 * at once when the supervisor is gone, however that came.
 */
import type { LogLevel } from '../telemetry/log.ts';
import type { RoleName } from '../telemetry/role-events.ts';

export interface LogChoice {
  readonly level: LogLevel;
  readonly format: 'json' | 'pretty';
}

/** What a receiving role needs before it can ask for the rest. */
export interface OwnerPlace {
  /** Absolute. */
  readonly dataDir: string;
  /** Where the supervisor tells how its roles are; short enough for a socket. */
  readonly rolesSocket: string;
  readonly log: LogChoice;
}

/** From the supervisor. */
export type Order =
  | {
      readonly kind: 'begin';
      /** The relay is running: what is wrong now goes to the log and not to stderr. */
      readonly isAgain: boolean;
      /** How often each role was started again. */
      readonly restarts: Readonly<Record<RoleName, number>>;
      /** For the receiving role. */
      readonly owner?: OwnerPlace;
    }
  | { readonly kind: 'stop'; readonly signal: string }
  | { readonly kind: 'reload' }
  /** For the owner: a role was started again. */
  | { readonly kind: 'restarted'; readonly role: RoleName };

/** From a role. */
export type Report =
  /** It can take orders; one sent before would be lost. */
  | { readonly kind: 'ready' }
  /** The receiving role may connect. */
  | { readonly kind: 'listening'; readonly owner: OwnerPlace }
  /** It does its work; of the owner for the first time: the relay is up. */
  | { readonly kind: 'started' }
  | { readonly kind: 'log'; readonly log: LogChoice }
  /** It is about to end, because of this. */
  | { readonly kind: 'failed'; readonly reason: string };

export type Begin = Extract<Order, { kind: 'begin' }>;

export interface Supervised {
  /** Process id of the supervisor. */
  readonly supervisor: number;
  readonly begin: Promise<Begin>;
  /** The signal that the supervisor got. */
  readonly stop: Promise<string>;
  /** What is done about other orders; those that came before are lost. */
  onOrder(action: (order: Order) => void): void;
  readonly report: (what: Report) => void;
}

/** Take orders from the supervisor that started this process. */
export function takeOrders(): Supervised {
  const begin = Promise.withResolvers<Begin>();
  const stop = Promise.withResolvers<string>();
  let others = (_order: Order): void => {};
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.exit(1));
  process.on('message', (order: Order) => {
    if (order.kind === 'begin') begin.resolve(order);
    else if (order.kind === 'stop') stop.resolve(order.signal);
    else others(order);
  });
  if (!process.connected) process.exit(1);
  const report = (what: Report) => void process.send?.(what, undefined, undefined, () => {});
  report({ kind: 'ready' });
  return {
    supervisor: process.ppid,
    begin: begin.promise,
    stop: stop.promise,
    onOrder(action) {
      others = action;
    },
    report,
  };
}
