/**
 * Reads what strace wrote of a relay's processes: syncs and acknowledgements in the order in
 * which they happened. Pure.
 */

export const TRACED = 'fsync,fdatasync,sync_file_range,syncfs,msync,write,writev,sendto,sendmsg';

export interface TraceFinding {
  /** Syncs that succeeded. */
  readonly syncs: number;
  /** `250` to DATA. */
  readonly acknowledged: number;
  /** Acknowledgements that no sync came before, since the acknowledgement before them. */
  readonly unsynced: number;
}

const SYNC = /(?:fsync|fdatasync|sync_file_range|syncfs|msync)(?:\(| resumed>).*\) += 0$/;
/** Postfix and ours: `250 2.0.0 Ok: queued as`; Haraka: `250 Message Queued (`. */
const REPLY = /(?:write|writev|sendto|sendmsg)\(.*"250[ -][^"]*queued/i;

/** The lines of `strace -f -o`. A call cut in two counts where it ended, a reply where it began. */
export function readTrace(text: string): TraceFinding {
  let [syncs, acknowledged, unsynced, since] = [0, 0, 0, 0];
  for (const line of text.split('\n')) {
    if (SYNC.test(line)) {
      syncs += 1;
      since += 1;
    } else if (REPLY.test(line)) {
      acknowledged += 1;
      if (since === 0) unsynced += 1;
      since = 0;
    }
  }
  return { syncs, acknowledged, unsynced };
}
