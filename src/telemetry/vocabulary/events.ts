/** Every event the log can have. */
import { MAIL_EVENTS } from './mail.ts';
import { RELAY_EVENTS } from './relay.ts';

export const EVENTS = { ...MAIL_EVENTS, ...RELAY_EVENTS } as const;

export type EventName = keyof typeof EVENTS;
