/**
 * Holds: mail that an administrator wants to stay where it is.
 *
 * There are two kinds. A rule holds whatever it fits, also what comes in later, until it is ended
 * or over (queue/hold-rules.ts). And there is a last word about single deliveries, in the spool's
 * records: held, or released from the rules of that time. A rule that is made after it holds again.
 *
 * What is held is not attempted and is not given up, however old it grows. Released, it is tried once
 * at least.
 */

/** Who holds something, and why. */
export interface Hold {
  readonly reason: string;
  readonly by: string;
  /** Absolute, ms. */
  readonly sinceMs: number;
  /** When it is over by itself; absent: never. */
  readonly untilMs?: number | undefined;
  /** The rule it comes from, in words. */
  readonly rule?: string | undefined;
}

/** An administrator's last word about a delivery: a hold, or its end. */
export interface HeldBy {
  readonly atMs: number;
  /** Absent: released. */
  readonly hold?: Hold | undefined;
}
