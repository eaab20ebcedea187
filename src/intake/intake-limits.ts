/**
 * What is counted per client over all listeners together: connections, failed logins,
 * messages. Made once per relay and handed to each listener; otherwise a second port would
 * double every limit.
 */
import type { Clock } from '../platform/clock.ts';
import { AuthBrake } from './auth-brake.ts';
import { ConnectionCount, type ConnectionLimits } from './connection-count.ts';
import { type MessageRate, MessageRateLimit } from './rate-limit.ts';

export interface LimitSettings extends ConnectionLimits {
  readonly messagesPerClient?: MessageRate | undefined;
}

export interface IntakeLimits {
  readonly connections: ConnectionCount;
  readonly brake: AuthBrake;
  readonly messages: MessageRateLimit;
  /** Other limits from now on; what was counted stays. */
  update(settings: LimitSettings): void;
}

export interface LimitParts {
  readonly settings: LimitSettings;
  readonly clock: Clock;
  /** Told the number of open client connections whenever it changes. */
  readonly connectionsOpen: (count: number) => void;
}

export function createIntakeLimits({ settings, clock, connectionsOpen }: LimitParts): IntakeLimits {
  const connections = new ConnectionCount(settings, connectionsOpen);
  const messages = new MessageRateLimit(settings.messagesPerClient, clock);
  return {
    connections,
    messages,
    brake: new AuthBrake(clock),
    update(changed) {
      connections.update(changed);
      messages.update(changed.messagesPerClient);
    },
  };
}
