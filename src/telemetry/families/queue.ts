/** The families of the queue, of the destinations, and of Redis behind it. */
import { counter, DELIVERY_BUCKETS, gauge, histogram, LATENCY_BUCKETS } from './family.ts';

/** What became of a recipient in an attempt, by destination. */
export const DESTINATION_RESULTS = ['delivered', 'deferred', 'policy-not-met', 'bounced'] as const;

const DESTINATION =
  'the configured ones that have mail, those with most traffic and trouble, and `other` for all the rest';

export const QUEUE_FAMILIES = {
  queueMessages: gauge('queue_messages', {
    help: 'Deliveries (message x destination) in the queue, by state: `parked` is due while its destination is closed, `delayed` waits for its next attempt, `held` for an administrator.',
    labels: { state: ['active', 'due', 'parked', 'delayed', 'held'] },
    healthy:
      '`due` near 0 and going up and down; `delayed` a steady level of mail for hosts in trouble.',
    alert:
      '`due` that only grows: more comes in than goes out. The sum near `limits.queuedMessages`: mail is refused.',
  }),
  queueParked: gauge('queue_parked_messages', {
    help: 'Deliveries that are due and whose destination is closed, by what closes it.',
    labels: { reason: ['pause', 'rate', 'breaker'] },
    healthy:
      '`breaker` follows dead hosts; `pause` only while an administrator wants it; `rate` goes back to 0 in every window.',
    alert: '`rate` that never reaches 0: more mail comes in than the rate lets out.',
  }),
  queueOldestDeliverable: gauge('queue_oldest_deliverable_seconds', {
    help: 'Age of the oldest delivery that is due, may go, and is not being attempted.',
    healthy: 'Below a few seconds; a minute behind a large newsletter.',
    alert: 'Over 5 minutes: the relay does not keep up, or does not work.',
  }),
  queueOverdue: gauge('queue_overdue_messages', {
    help: 'Deliveries due for over a minute, which may go, and are not being attempted.',
    healthy: '0, but for moments after a burst.',
    alert: 'More than 0 for 10 minutes, together with `queue_oldest_deliverable_seconds`.',
  }),
  breakerState: gauge('breaker_state', {
    help: 'Groups of hosts whose mail waits because they do not answer: open, or half-open while a probe is due.',
    labels: { state: ['open', 'half-open'] },
    healthy: 'A handful: somewhere some hosts are always down.',
    alert: 'Many at once: not they are away but our own connection, DNS, or port 25.',
  }),
  breakerChanges: counter('breaker_changes_total', {
    help: 'Groups of hosts that were closed by their breaker (opened), or answered again (closed).',
    labels: { change: ['opened', 'closed'] },
    healthy: 'A few an hour; both grow alike.',
  }),
  rateLimited: counter('rate_limited_total', {
    help: 'Windows of time in which mail had to wait because a rate of `destinations` was used up: that of a domain, or of a group of hosts (site).',
    labels: { scope: ['domain', 'site'] },
    healthy: 'Grows where a rate is meant to hold mail back.',
    alert:
      'In every window, while `queue_parked_messages{reason="rate"}` grows too: more comes in than the rate lets out.',
  }),
  rateClosed: gauge('rate_closed', {
    help: 'Domains, and groups of hosts (site), whose mail waits for the next window of their rate now.',
    labels: { scope: ['domain', 'site'] },
    healthy: '0, or as many as have a tight rate.',
  }),
  firstAttemptDelay: histogram('first_attempt_delay_seconds', {
    help: 'From acknowledgement to the first attempt.',
    buckets: DELIVERY_BUCKETS,
    healthy: 'p95 below a second. It is what the relay itself adds.',
    alert: 'p95 over a minute without a breaker, a pause or a rate to explain it.',
  }),
  requeued: counter('queue_requeued_total', {
    help: 'Deliveries given a new turn because the old one was lost, by reason.',
    labels: {
      reason: [
        'missing',
        'ended',
        'stuck',
        'abandoned',
        'not-added',
        'redis-emptied',
        'worker-silent',
        'stalled',
      ],
    },
    healthy: '0; bursts after Redis was away or emptied. No mail is lost by it.',
    alert: 'Growing steadily while Redis is up: something else writes to this Redis, or a bug.',
  }),
  destinationQueue: gauge('destination_queue_messages', {
    help: 'Deliveries in the queue by destination; together they are all that is queued.',
    labels: { destination: DESTINATION },
    healthy: 'No destination stands out that is not a large one.',
  }),
  destinationRecipients: counter('destination_recipients_total', {
    help: 'Recipients by destination and what became of them in an attempt; `policy-not-met` are those deferred because the TLS that a policy asks for was not reached.',
    labels: { destination: DESTINATION, result: DESTINATION_RESULTS },
    healthy: 'Mostly `delivered`; `policy-not-met` is 0.',
    alert:
      '`policy-not-met` for one destination: its policy, its certificate, or somebody on the way.',
  }),
  redisLatency: histogram('redis_latency_seconds', {
    help: 'Round trip of a PING.',
    buckets: LATENCY_BUCKETS,
    healthy: 'p99 below 5 ms.',
    alert: 'p99 over 100 ms: attempts are slowed down.',
  }),
  redisErrors: counter('redis_errors_total', {
    help: 'Redis errors, by what they hit.',
    labels: {
      kind: [
        'worker',
        'reschedule',
        'add',
        'reconcile',
        'connection',
        'rate',
        'shared',
        'policy-cache',
      ],
    },
    healthy: '0.',
    alert:
      'Growing for minutes while `redis_up` is 1: permissions, memory, or a failing disk of Redis.',
  }),
  redisUp: gauge('redis_up', {
    help: '1 while Redis answers.',
    healthy: '1.',
    alert: '0 for a minute: mail is taken to the spool, nothing is delivered.',
  }),
  redisEvictionUnsafe: gauge('redis_eviction_unsafe', {
    help: '1 when the maxmemory-policy of Redis is not noeviction: it may drop jobs.',
    healthy: '0.',
    alert: '1: set `maxmemory-policy noeviction`.',
  }),
};
