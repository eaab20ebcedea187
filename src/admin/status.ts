/**
 * What `GET /api/v1/status` on the control socket says: one screen about a running relay.
 */
export interface RelayStatus {
  readonly version: string;
  readonly uptimeSeconds: number;
  /** Name of this relay among several on one Redis. */
  readonly node: string;
  readonly listeners: readonly {
    readonly address: string;
    readonly port: number;
    readonly tls?: string;
    readonly auth?: string;
    /** Client connections open now. */
    readonly connections?: number;
  }[];
  /** Numbers by name, e.g. messages, deliveries due, deliveries waiting. */
  readonly queue: Readonly<Record<string, number>>;
  readonly redis: { readonly up: boolean; readonly reason?: string };
  readonly spool: { readonly ok: boolean; readonly reason?: string };
  /** The latest first. */
  readonly lastErrors: readonly {
    /** RFC 3339. */
    readonly time: string;
    readonly event: string;
    readonly text: string;
  }[];
}
