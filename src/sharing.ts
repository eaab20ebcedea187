/**
 * Composition of what this relay shares with the other nodes on its Redis, besides policies, rates and
 * report counts: its name, which is its own; breakers, pauses and overrides. With the embedded Redis there
 * are no other nodes, and none of this. Built by relay.ts.
 */
import type { AuditLog } from './admin/audit.ts';
import { factsOfOverride, factsOfPause } from './admin/audit-facts.ts';
import { boundedNotes } from './admin/bounded-notes.ts';
import type { Ground } from './ground.ts';
import { NodeClaim } from './platform/node-claim.ts';
import type { RedisClient } from './platform/redis.ts';
import { SharedBoard } from './platform/shared-board.ts';
import type { TakenOver } from './platform/shared-list.ts';
import { type OverrideStore, shareOverrides } from './policy/override-store.ts';
import type { DomainName } from './protocol/domain.ts';
import type { Pauses } from './queue/pauses.ts';
import { BoardBreakers, type SharedBreakers } from './queue/shared-breakers.ts';

export interface Sharing {
  readonly claim: Pick<NodeClaim, 'isOurs' | 'isCertain'>;
  readonly breakers: SharedBreakers;
  /** Why nothing is delivered, where another relay has this node's name. */
  readonly trouble: string | undefined;
  /**
   * Claim the name, learn what others know, and share these lists from now on. Rejects with NodeNameTakenError; without
   * Redis all that comes later.
   */
  start(parts: {
    readonly pauses: Pauses;
    readonly overrides: OverrideStore;
    /** Has what others changed, too. */
    readonly audit: Pick<AuditLog, 'note'>;
    /** A destination is not paused any more. */
    readonly resumed: (domain: DomainName) => void;
  }): Promise<void>;
  /** Redis answers again. Never rejects. */
  redisIsBack(): Promise<void>;
}

/** Changes of others in the audit log, an hour: who may write to the Redis must not push out what is there. */
const MOST_NOTES = 1000;

/** Undefined: there are no others. */
export async function openSharing(
  ground: Ground,
  { redis, node, dataDir }: { redis: RedisClient; node: string; dataDir: string },
): Promise<Sharing | undefined> {
  const { settings, clock, events } = ground;
  const { mode, keyPrefix } = settings.redis;
  if (mode === 'embedded') return undefined;
  const claim = await NodeClaim.open({
    ...{ redis, keyPrefix, node, dataDir, clock },
    events: events.queue,
  });
  // Last of all: until then there may be attempts under way.
  ground.undo(() => claim.release());
  const onError = (error: Error) => events.queue.redisError('shared', error);
  const onFull = (list: string) => events.queue.boardFull(list);
  const board = new SharedBoard({ redis, keyPrefix, node, clock, onError, onFull });
  ground.undo(() => board.stop());
  let isStarted = false;
  return {
    claim,
    breakers: new BoardBreakers({ board, redis, keyPrefix, node, clock }),
    get trouble() {
      return claim.trouble;
    },
    async start({ pauses, overrides, audit, resumed }) {
      await claim.start();
      const unnoted = ({ message }: Error) =>
        events.relay.warning(`a change of another node is not in the audit log: ${message}`);
      const note = boundedNotes({ audit, clock, most: MOST_NOTES, onError: unnoted });
      const tell = (list: 'pause' | 'override', { key, entry, node: where }: TakenOver<unknown>) =>
        events.queue.takenOver(list, {
          domain: key,
          change: entry === undefined ? 'removed' : 'set',
          node: where,
        });
      pauses.share(board, {
        onTaken: (taken) => {
          tell('pause', taken);
          const { key: target, entry, before, node: where } = taken;
          const action = entry ? 'domain.pause' : 'domain.resume';
          note({ actor: `node ${where}`, action, target, facts: factsOfPause(entry, before) });
          if (!taken.entry) resumed(taken.key as DomainName);
        },
        onError: (error) => events.relay.warning(`pauses could not be kept: ${error.message}`),
      });
      shareOverrides(overrides, board, {
        onTaken: (taken) => {
          tell('override', taken);
          const { key: target, entry, before, node: where } = taken;
          const action = entry ? 'override.add' : 'override.remove';
          note({ actor: `node ${where}`, action, target, facts: factsOfOverride(entry, before) });
        },
        onError: (error) => events.relay.warning(`overrides could not be kept: ${error.message}`),
      });
      isStarted = true;
      board.start();
    },
    async redisIsBack() {
      if (!isStarted) return;
      await claim.renew();
      await board.look();
    },
  };
}
