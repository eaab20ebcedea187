/**
 * Brings the bodies that have files of their own together with the messages that were found, at a
 * start.
 *
 * A body without a message is one of a draft, or of a message that was removed, and is removed: its
 * message was never acknowledged, or was finished. For the body is durable before the message's frame
 * is written, the frame before the message is acknowledged, and a frame that was acknowledged is
 * either found or reported as damaged (scan.ts). When anything is damaged, nobody can say that the
 * message was not there: every such body is set aside.
 */
import type { MessageId } from '../mail/message-id.ts';
import type { LargeBodies } from './large-bodies.ts';
import { isDamaged, type Recovered } from './recover.ts';
import type { SpoolEvents } from './store.ts';

export async function matchBodies(parts: {
  readonly bodies: LargeBodies;
  /** Those that were set aside. */
  readonly aside: LargeBodies;
  readonly recovered: Recovered;
  readonly events: Pick<SpoolEvents, 'damaged' | 'leftover'>;
}): Promise<void> {
  const { bodies, aside, recovered, events } = parts;
  const isLarge = (id: MessageId) => recovered.index.get(id)?.isLarge === true;
  const here = await bodies.ids();
  // Its segment can be read again, by itself or by somebody's care.
  for (const id of await aside.ids()) {
    if (isLarge(id) && !here.has(id)) await bodies.putBack(id);
  }
  for (const id of here) {
    if (isLarge(id)) continue;
    const path = bodies.pathOf(id);
    if (isDamaged(recovered)) {
      await bodies.setAside(id);
      events.damaged(path, 'a body whose message cannot be found; moved to damaged/large/', id);
    } else {
      await bodies.remove(id);
      events.leftover(path, 'a body without a message');
    }
  }
}
