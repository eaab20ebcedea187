/** What one run of one relay in one scenario gave. */
export interface RunResult {
  readonly peer: string;
  readonly scenario: string;
  readonly accepted: number;
  readonly refused: number;
  /** That reached the sink. */
  readonly messages: number;
  /** A second, from the first connection to the last `250`. */
  readonly acceptRate: number;
  /** A second, from the first connection to the last message at the sink. */
  readonly drainRate: number;
  readonly ackP50Ms: number;
  readonly ackP99Ms: number;
  /** CPU a message, of all processes of the relay. */
  readonly cpuMs: number;
  readonly cpuUserMs: number;
  readonly cpuSystemMs: number;
  /** CPU milliseconds a message by name of the process. */
  readonly cpuByProcess: Readonly<Record<string, number>>;
  readonly rssMiB: number;
  readonly pssMiB: number;
  /** At the sink, like the following. */
  readonly connections: number;
  readonly handshakes: number;
  readonly resumed: number;
  readonly overTls: number;
  /** Share of all cores that was busy, 0 to 1: injector and sink included. */
  readonly busy: number;
  /** How long a fixed piece of work took just before: how fast the machine was. */
  readonly calibrationMs: number;
}
