/**
 * Settings of the queue: when a waiting message is tried again, when it is given up, and how
 * hard one destination may be pressed.
 */
import { z } from 'zod';
import { domain, duration, integer, list, notation, rate } from '../kinds.ts';
import { formatDuration, parseDuration } from '../units.ts';

const schedule = () => list(duration('10ms', '30d'), { min: 1, max: 100 });
const lifetime = () => duration('10ms', '365d');

const delayWarning = notation<number | undefined>({
  expected: 'a duration (30m 4h), or off',
  parse: (value) => {
    if (value === 'off') return { value: undefined };
    const ms = parseDuration(value);
    return ms === undefined || ms === 0 ? undefined : { value: ms };
  },
  format: (value) => (value === undefined ? 'off' : formatDuration(value)),
});

const scheduleOf = (cause: string) => schedule().describe(`Waits between attempts ${cause}.`);
const ownClass = (cause: string) => z.strictObject({ schedule: scheduleOf(cause) });

const classes = z
  .strictObject({
    greylisted: ownClass('after a greylisting reply').prefault({
      schedule: ['5m', '10m', '15m', '30m'],
    }),
    tlsPolicy: ownClass('when the TLS that policy asks for was not reached').prefault({
      schedule: ['10m', '30m', '1h', '2h'],
    }),
    dns: ownClass('when names could not be looked up').optional(),
    connection: ownClass('when no connection came about').optional(),
    mailboxFull: ownClass('when the mailbox is full').optional(),
    rateLimited: ownClass('when the destination asks for less').optional(),
    reputation: ownClass('when the destination does not like us').optional(),
    other: ownClass('for everything else').optional(),
  })
  .prefault({})
  .describe('Schedules per cause; where a class has none, `schedule` holds.');

const retryDomain = z.strictObject({
  domain: domain().describe('The recipient domain.'),
  schedule: schedule().optional().describe('Its own schedule, for every cause.'),
  lifetime: lifetime().optional().describe('Its own lifetime.'),
});

export const retry = z
  .strictObject({
    schedule: schedule()
      .prefault(['1m', '5m', '15m', '30m', '1h', '2h', '4h'])
      .describe('Waits between attempts; the last one repeats, each is jittered by up to 10 %.'),
    lifetime: lifetime()
      .prefault('5d')
      .describe('How long a message is tried before it bounces (RFC 5321 §4.5.4.1).'),
    bounceLifetime: lifetime()
      .prefault('1d')
      .describe('The same for messages with the null reverse-path.'),
    delayWarning: delayWarning
      .prefault('4h')
      .describe('When the sender is told once that a message waits; `off` to never tell.'),
    classes,
    domains: z
      .array(retryDomain)
      .max(10_000)
      .prefault([])
      .describe('Schedules per recipient domain; they go before classes.'),
  })
  .prefault({})
  .describe('When a waiting message is tried again.');

const connections = () => integer(1, 1000).describe('Connections at once to one destination.');
const messagesPerConnection = () =>
  integer(1, 100_000).describe('Messages over one connection before it is closed.');
const idle = () => duration('0s', '10m').describe('How long an idle connection is kept.');

const destinationLimits = z
  .strictObject({
    connections: connections().prefault(10),
    messagesPerConnection: messagesPerConnection().prefault(100),
    idle: idle().prefault('5s'),
    rate: rate()
      .prefault('')
      .describe(
        'Attempts in a window of time, of all nodes on one Redis together, for all destinations on the same MX hosts that have no rate of their own; "" for no limit.',
      ),
  })
  .prefault({})
  .describe('For every destination that has nothing else.');

const destination = z.strictObject({
  domain: domain().describe('The recipient domain.'),
  connections: connections().optional(),
  messagesPerConnection: messagesPerConnection().optional(),
  idle: idle().optional(),
  rate: rate()
    .optional()
    .describe(
      'Its own rate, counted for this domain alone; "" for no limit, whatever `default` has.',
    ),
});

const breaker = z
  .strictObject({
    failures: integer(1, 10_000)
      .prefault(10)
      .describe('Failed attempts in a row, all its hosts away, that close a destination.'),
    probeEvery: duration('100ms', '1d')
      .prefault('1m')
      .describe('How often a closed destination is tried with one message.'),
  })
  .prefault({})
  .describe('The breaker for destinations whose hosts do not answer.');

export const destinations = z
  .strictObject({
    default: destinationLimits,
    domains: z
      .array(destination)
      .max(10_000)
      .prefault([])
      .describe('Limits per recipient domain; what is left out is as in `default`.'),
    breaker,
  })
  .prefault({})
  .describe('How hard one destination may be pressed.');
