/**
 * Destinations an administrator has paused: their mail waits, also what comes in later, until the pause
 * is ended or over. Kept on disk, whatever becomes of Redis.
 */
import { z } from 'zod';
import type { Destination } from '../mail/route.ts';
import type { Clock } from '../platform/clock.ts';
import { KeptList, keptDomain } from '../platform/kept-list.ts';
import type { SharedBoard } from '../platform/shared-board.ts';
import { shareList, type TakenOver } from '../platform/shared-list.ts';

export const MOST_PAUSES = 1000;
export const LONGEST_REASON = 500;

const stored = z.object({
  domain: keptDomain,
  reason: z.string().max(LONGEST_REASON),
  /** Milliseconds since the epoch. */
  pausedAt: z.number().int().max(8.64e15), // later is no date
  /** When it is over by itself; absent: never. */
  expires: z.number().int().max(8.64e15).optional(),
});
export type Pause = Readonly<z.infer<typeof stored>>;

export interface PauseEvents {
  /** A pause was over by itself. */
  pauseOver(domain: string): void;
  /** The file is moved away; nothing is paused. */
  pausesUnreadable(file: string, reason: string): void;
}

export class Pauses {
  readonly #list: KeptList<Pause>;
  #seen: readonly Pause[] = [];
  #byDomain = new Map<Destination, Pause>();

  private constructor(list: KeptList<Pause>) {
    this.#list = list;
  }

  /** `onOver`: mail of these destinations may go again. Rejects with the system's error. */
  static async open(parts: {
    /** `dataDir/state/pauses.json`. */
    readonly file: string;
    readonly clock: Clock;
    readonly events: PauseEvents;
    readonly onOver: (destination: Destination) => void;
  }): Promise<Pauses> {
    const { file, clock, events, onOver } = parts;
    const list = await KeptList.open<Pause>({
      ...{ file, clock, schema: stored, most: MOST_PAUSES },
      keyOf: ({ domain }) => domain,
      onEnded: (ended) => {
        for (const { domain } of ended) {
          events.pauseOver(domain);
          onOver(domain);
        }
      },
      onUnreadable: events.pausesUnreadable,
    });
    return new Pauses(list);
  }

  /** By domain. */
  list(): readonly Pause[] {
    return this.#list.list();
  }

  /** The pause of a destination; asked for at every turn. */
  of(destination: Destination): Pause | undefined {
    const all = this.#list.list();
    if (all !== this.#seen) {
      this.#seen = all;
      this.#byDomain = new Map(all.map((pause) => [pause.domain, pause]));
    }
    return this.#byDomain.get(destination);
  }

  put(pause: Pause): ReturnType<KeptList<Pause>['put']> {
    return this.#list.put(pause);
  }

  remove(domain: Pause['domain']): ReturnType<KeptList<Pause>['remove']> {
    return this.#list.remove(domain);
  }

  /** Have the same pauses as all nodes on one Redis; to be called before the board starts. */
  share(
    board: SharedBoard,
    told: {
      readonly onTaken: (taken: TakenOver<Pause>) => void;
      readonly onError: (error: Error) => void;
    },
  ): void {
    const keyOf = ({ domain }: Pause) => domain;
    shareList(this.#list, { board, topic: 'pause', schema: stored, keyOf, ...told });
  }

  close(): Promise<void> {
    return this.#list.close();
  }
}
