/** What came of an order about queued mail. */

/** Deliveries an order was about. Each is one message for one destination. */
export interface Touched {
  /** That fit what was asked. */
  readonly matched: number;
  /** With which something was done, at once. */
  readonly touched: number;
  /** Being attempted: the order holds for what is left after that. */
  readonly underWay: number;
  /** Of those touched: their destination is closed, so they wait on. */
  readonly closed?: number;
  /** Recipients given up. */
  readonly recipients?: number;
  /** With which it could not be done: the disk did not take it. They wait as before. */
  readonly failed?: number;
}
