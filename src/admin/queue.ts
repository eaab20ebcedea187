/**
 * The queue as the API sees it: lists, one message explained, what is done to many at once, and what
 * other retry settings would do.
 */
import type { MessageId } from '../mail/message-id.ts';
import type { HoldRule, HoldRules } from '../queue/hold-rules.ts';
import { addressMatcher, describePattern } from '../queue/mail-pattern.ts';
import type { QueueControl } from '../queue/queue-control.ts';
import type { Preview, Shift } from '../queue/reschedule.ts';
import type { RetrySettings } from '../queue/retry-schedule.ts';
import type { QueueFilter } from '../queue/selection.ts';
import {
  QueueActions,
  type QueueActionsParts,
  type QueueAnswer,
  type QueueOrder,
} from './queue-actions.ts';
import { instant } from './queue-barriers.ts';
import { type ListParts, listQueue, type QueuePage } from './queue-list.ts';
import { type MessageView, type ShowParts, showMessage } from './queue-show.ts';
import {
  type QueueSummary,
  type SummaryParts,
  type SummaryWish,
  summarizeQueue,
} from './queue-summary.ts';

export interface HoldView {
  /** What it holds, in words. */
  readonly rule: string;
  readonly domain?: string | undefined;
  readonly sender?: string | undefined;
  readonly recipient?: string | undefined;
  readonly client?: string | undefined;
  readonly user?: string | undefined;
  readonly reason: string;
  readonly by: string;
  /** RFC 3339, UTC. */
  readonly since: string;
  /** When it is over by itself; absent: never. */
  readonly expires?: string;
}

type ShiftView = Omit<Shift, 'firstBeforeMs' | 'firstAfterMs'> & {
  /** RFC 3339, UTC. */
  readonly firstBefore?: string;
  readonly firstAfter?: string;
};

export interface PreviewView {
  readonly total: ShiftView;
  readonly destinations: readonly (ShiftView & { readonly domain: string })[];
}

/** The answer to an order, and what it could not be about. */
export type ActedAnswer = QueueAnswer & {
  /** Ids that were named and are not in the queue. */
  readonly notQueued?: readonly string[];
  /** Of a bounce: deliveries that fit and have the null reverse-path. Nobody is told of them. */
  readonly nullSender?: number;
};

export interface QueueAdmin {
  list(
    filter: QueueFilter,
    page: { limit: number; after?: string | undefined },
  ): Promise<QueuePage>;
  summary(wish: SummaryWish): Promise<QueueSummary>;
  /** Undefined when it is not in the queue. */
  show(id: MessageId): Promise<MessageView | undefined>;
  /** By rule. `text`: in the rule, its reason or its maker; `*` stands for any characters. */
  holds(filter?: { readonly text?: string | undefined }): readonly HoldView[];
  /** Rejects with the system's error when the disk does not take it. */
  act(order: QueueOrder, actor: string): Promise<ActedAnswer>;
  previewRetry(settings: RetrySettings): Promise<PreviewView>;
  /** Those in force. */
  retryNow(): RetrySettings;
}

export interface QueueAdminParts
  extends ListParts,
    SummaryParts,
    ShowParts,
    Omit<QueueActionsParts, 'control' | 'gates'> {
  readonly control: QueueControl;
  readonly rules: HoldRules;
  readonly preview: (settings: RetrySettings) => Promise<Preview>;
}

export function createQueueAdmin(parts: QueueAdminParts): QueueAdmin {
  const actions = new QueueActions(parts);
  return {
    list: (filter, page) => listQueue(filter, page, parts),
    summary: (wish) => summarizeQueue(wish, parts),
    show: (id) => showMessage(id, parts),
    holds({ text = '' } = {}) {
      const has = addressMatcher(`*${text}*`);
      const views = parts.rules.list().map(viewOfRule);
      return views.filter(({ rule, reason, by }) => [rule, reason, by].some(has));
    },
    async act(order, actor) {
      const { ids } = order.filter;
      const notQueued = ids?.filter((id) => parts.ledger.deliveriesOf(id).length === 0) ?? [];
      const nullSender = order.action === 'bounce' ? await countNullSender(order, parts) : 0;
      return {
        ...(await actions.act(order, actor)),
        ...(notQueued.length > 0 ? { notQueued } : {}),
        ...(nullSender > 0 ? { nullSender } : {}),
      };
    },
    retryNow: () => parts.retry(),
    async previewRetry(settings) {
      const { total, destinations } = await parts.preview(settings);
      return {
        total: viewOfShift(total),
        destinations: destinations.map(({ destination, ...one }) => ({
          domain: destination,
          ...viewOfShift(one),
        })),
      };
    },
  };
}

/** Deliveries whose bounce nobody is sent: those with the null reverse-path. */
async function countNullSender({ filter }: QueueOrder, { control }: QueueAdminParts) {
  if (filter.sender !== undefined && !addressMatcher(filter.sender)('')) return 0;
  return (await control.find({ ...filter, sender: '<>' })).length;
}

function viewOfRule({ pattern, reason, by, since, expires }: HoldRule): HoldView {
  return {
    rule: describePattern(pattern),
    ...pattern,
    ...{ reason, by, since: instant(since) },
    ...(expires === undefined ? {} : { expires: instant(expires) }),
  };
}

function viewOfShift({ firstBeforeMs, firstAfterMs, ...counts }: Shift): ShiftView {
  return {
    ...counts,
    ...(firstBeforeMs === undefined ? {} : { firstBefore: instant(firstBeforeMs) }),
    ...(firstAfterMs === undefined ? {} : { firstAfter: instant(firstAfterMs) }),
  };
}
