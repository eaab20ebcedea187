/** The events of messages: taken, delivered, deferred, bounced; of the queue, and of policies. */
import type { Vocabulary } from './entry.ts';

const POLICY = [
  'required',
  'requireTls',
  'policy',
  'policyDomain',
  'ruleFor',
  'policyId',
  'policyMode',
] as const;
const RECIPIENT = ['id', 'recipient', 'destination', 'attempt'] as const;
const EVIDENCE = [
  'mx',
  'address',
  'reused',
  'resumed',
  'tls',
  'tlsCause',
  ...POLICY,
  'tlsVersion',
  'cipher',
  'certSha256',
  'verified',
  'tlsa',
  'verdict',
  'clearText',
] as const;
const DIAGNOSIS = ['mx', 'address', 'status', 'causeClass', ...POLICY, 'cause', 'reason'] as const;

export const MAIL_EVENTS = {
  'intake.listening': {
    level: 'info',
    means: 'A listener is open; where `proxyProtocol` is, for these proxies.',
    fields: ['address', 'port', 'tls', 'auth', 'proxyProtocol'],
  },
  'intake.accepted': {
    level: 'info',
    means: 'The message is on disk; its 250 is about to be sent. From here on it has an answer.',
    fields: [
      'id',
      'messageId',
      'from',
      'recipients',
      'size',
      'client',
      'helo',
      'user',
      'tls',
      'requireTls',
      'tlsRequiredNo',
      'signed',
    ],
  },
  'intake.refused': {
    level: ['info', 'debug'],
    means:
      'A client was told no: `reason` as in `stsrelay_refusals_total`. At most so many in a minute for each reason, the rest is counted in `unsaid`. For troubles of the relay itself at debug.',
    fields: ['reason', 'client', 'reply', 'sender', 'recipient', 'detail', 'unsaid'],
  },
  'intake.refusing': {
    level: 'warn',
    means: 'No mail is taken, for a reason of the relay’s own; again every ten minutes.',
    fields: ['reason', 'reply', 'detail', 'refused', 'seconds'],
  },
  'intake.accepting': {
    level: 'info',
    means: 'Mail is taken again.',
    fields: ['reason', 'refused', 'seconds'],
  },
  'intake.auth_failed': {
    level: 'warn',
    means: 'A wrong password. At most so many in a minute, the rest is counted in `unsaid`.',
    fields: ['client', 'user', 'unsaid'],
  },
  'intake.authenticated': {
    level: 'info',
    means: 'A client logged in.',
    fields: ['client', 'user'],
  },
  'intake.session_error': {
    level: 'warn',
    means: 'Something at the door that should not happen; that session ends, the relay goes on.',
    fields: ['client', 'error', 'unsaid'],
  },
  'intake.queue_linked': {
    level: 'info',
    means: '`receive` is connected to `deliver`.',
    fields: ['pid'],
  },
  'intake.queue_gone': {
    level: 'warn',
    means: '`receive` lost `deliver`: clients are told 451 until it is back.',
    fields: ['reason'],
  },
  'delivery.session_failed': {
    level: 'info',
    means:
      'A host was tried, or skipped, and another one may follow; what became of the recipients has a line of its own.',
    fields: ['id', ...EVIDENCE, 'cause', 'reason'],
  },
  'delivery.tls_fallback': {
    level: ['info', 'warn'],
    means:
      'A handshake failed, and another try at the same address followed: with a small ClientHello (info), or in clear text (warn).',
    fields: ['id', 'mx', 'address', 'to', 'cause', 'reason', ...POLICY],
  },
  'delivery.delivered': {
    level: 'info',
    means: 'The next hop took the message for this recipient. The evidence of how it went.',
    fields: [...RECIPIENT, ...EVIDENCE, 'reply', 'afterMs'],
  },
  'delivery.deferred': {
    level: ['info', 'warn'],
    means: 'Not now; it is tried again. A warning where a TLS policy holds it back.',
    fields: [...RECIPIENT, ...DIAGNOSIS, 'nextAttempt'],
  },
  'delivery.login_failed': {
    level: 'error',
    means:
      'A smart host cannot be told who we are, or does not believe it: the route’s mail waits.',
    fields: ['user', 'mx', 'address', 'reason'],
  },
  'delivery.thread_ended': {
    level: 'error',
    means: 'A bug: a session thread ended by itself. Its deliveries stay queued.',
    fields: ['error', 'stack', 'runs'],
  },
  'outcome.bounced': {
    level: 'warn',
    means: 'Given up for this recipient; the sender gets a DSN.',
    fields: [...RECIPIENT, 'lifetimeOver', ...DIAGNOSIS],
  },
  'outcome.dropped': {
    level: 'warn',
    means: 'An administrator gave it up, and nobody is told.',
    fields: [...RECIPIENT, 'reason'],
  },
  'outcome.dsn_queued': {
    level: 'info',
    means: 'A DSN about message `about` is in the queue, as message `id`.',
    fields: ['id', 'about', 'to', 'failed', 'delayed', 'relayed'],
  },
  'outcome.dsn_delayed': {
    level: 'error',
    means: 'A DSN could not be stored; it stays owed.',
    fields: ['about', 'error'],
  },
  'outcome.record_delayed': {
    level: 'error',
    means: 'The spool does not take the record of an attempt: the delivery waits for it.',
    fields: ['id', 'error'],
  },
  'outcome.finished': {
    level: 'info',
    means: 'Every recipient has its answer; the last line about this message.',
    fields: ['id'],
  },
  'queue.entered': {
    level: ['info', 'warn'],
    means: 'All deliveries of the spool were given their turns: at a start (info), or anew.',
    fields: ['deliveries', 'reason'],
  },
  'queue.requeued': {
    level: 'warn',
    means: 'Turns were lost and given anew.',
    fields: ['reason', 'deliveries'],
  },
  'queue.stalled': {
    level: 'warn',
    means: 'BullMQ thought a turn abandoned; it comes again.',
    fields: ['job'],
  },
  'queue.breaker_opened': {
    level: 'warn',
    means: 'The hosts of a site are away: its mail waits, but for a probe now and then.',
    fields: ['site', 'failures', 'failure', 'node'],
  },
  'queue.breaker_closed': {
    level: 'info',
    means: 'They answer again.',
    fields: ['site', 'afterSeconds', 'node'],
  },
  'queue.rate_reached': {
    level: 'info',
    means: 'Mail waits because a rate is used up; once a window.',
    fields: ['scope', 'key', 'rate', 'until'],
  },
  'queue.shared_change': {
    level: 'info',
    means:
      'A pause or an override was set, changed or removed on another node, and holds here, too.',
    fields: ['list', 'domain', 'change', 'node'],
  },
  'queue.board_full': {
    level: 'warn',
    means:
      'Redis holds as many breakers, pauses and overrides as nodes share: a new one of this list stays with its node. In ten minutes again. For breakers (a node whose network is broken) each node finds out for itself; pauses and overrides have 6,000 places of their own.',
    fields: ['list'],
  },
  'queue.node_taken': {
    level: 'error',
    means:
      'Another relay on this Redis has the name of this node (a copy?): mail is taken, nothing is delivered.',
    fields: ['node', 'holder'],
  },
  'queue.node_regained': {
    level: 'info',
    means: 'The name is this relay’s again; it delivers.',
    fields: ['node'],
  },
  'queue.pause_over': { level: 'info', means: 'A pause ended by itself.', fields: ['domain'] },
  'queue.pauses_unreadable': {
    level: 'error',
    means: 'The pauses of before cannot be read; nothing is paused.',
    fields: ['file', 'reason'],
  },
  'queue.hold_over': { level: 'info', means: 'A hold ended by itself.', fields: ['rule'] },
  'queue.holds_unreadable': {
    level: 'error',
    means: 'The holds of before cannot be read; nothing is held by a rule.',
    fields: ['file', 'reason'],
  },
  'queue.attempt_crashed': {
    level: 'error',
    means: 'A bug: an attempt threw. The delivery stays queued.',
    fields: ['id', 'destination', 'error', 'stack'],
  },
  'policy.looked_up': {
    level: 'debug',
    means: 'What MTA-STS says for a delivery.',
    fields: ['domain', 'result'],
  },
  'policy.fetched': {
    level: 'info',
    means: 'A policy that a delivery needed was fetched.',
    fields: ['domain', 'id', 'mode', 'maxAgeSeconds'],
  },
  'policy.fetch_failed': {
    level: 'warn',
    means: 'There is a record, and its policy cannot be had.',
    fields: ['domain', 'id', 'kind', 'resultType', 'reason', 'inForce'],
  },
  'policy.refreshed': {
    level: 'info',
    means: 'A policy was fetched anew.',
    fields: ['domain', 'cause', 'id', 'mode', 'maxAgeSeconds', 'changed'],
  },
  'policy.refresh_failed': {
    level: ['warn', 'debug'],
    means: 'It could not be; what is kept stays in force. At debug for mode none.',
    fields: ['domain', 'cause', 'id', 'resultType', 'reason', 'inForce'],
  },
  'policy.refresh_crashed': {
    level: 'warn',
    means: 'A refresh came to no result: the disk, or the time.',
    fields: ['domain', 'error'],
  },
  'policy.forgotten': {
    level: 'info',
    means:
      'A policy is not kept any more: nobody asked for it in a long time, or an administrator said so.',
    fields: ['domain', 'reason'],
  },
  'policy.record_gone': {
    level: ['warn', 'debug'],
    means:
      'The TXT record is gone, broken or cannot be looked up while a policy is in force, which stays so. Within ten minutes again: at debug.',
    fields: ['domain', 'mode', 'live', 'detail'],
  },
  'policy.dns_grace_over': {
    level: 'warn',
    means:
      'DNS failed for `dnsFailureGrace` with nothing in force: mail goes as if nothing were published.',
    fields: ['domain', 'reason'],
  },
  'policy.downgrade_suspected': {
    level: 'warn',
    means: 'A sign that somebody weakens the TLS of a domain is new, or still there.',
    fields: ['domain', 'signal', 'detail', 'count'],
  },
  'policy.last_check_failed': {
    level: 'warn',
    means:
      'A policy holds back a message whose lifetime is over, and could not be checked for a newer one.',
    fields: ['domain', 'reason'],
  },
  'policy.cache_error': {
    level: 'warn',
    means: 'One of the places where policies are kept did not do its part; the other did.',
    fields: ['place', 'error'],
  },
  'policy.override_expiring': {
    level: 'warn',
    means: 'An exception ends soon: seven days and one day before.',
    fields: ['domain', 'expires'],
  },
  'policy.override_expired': {
    level: 'info',
    means: 'It ended: the policy counts again.',
    fields: ['domain'],
  },
  'policy.overrides_unreadable': {
    level: 'error',
    means: 'The exceptions that were added cannot be read; none of them counts.',
    fields: ['file', 'reason'],
  },
  'dkim.signing': {
    level: 'info',
    means: 'Messages are signed again.',
    fields: ['unsigned', 'seconds'],
  },
  'dkim.unsigned': {
    level: 'error',
    means: 'A message that was to be signed goes without; told once a spell.',
    fields: ['domain', 'reason', 'unsigned', 'seconds'],
  },
  'dkim.malformed': {
    level: ['info', 'debug'],
    means:
      'A message of a domain with a key goes without a signature: lines in its header are no fields, and no signature would hold. At most so many in a minute, the rest is counted in `unsaid`.',
    fields: ['domain', 'unsaid'],
  },
  'dkim.key_failed': {
    level: ['warn', 'error'],
    means: 'A key cannot be read. A warning while the one of before stays in use.',
    fields: ['domain', 'selector', 'keyFile', 'reason', 'keeps'],
  },
  'dkim.key_changed': {
    level: 'info',
    means: 'A key was read again.',
    fields: ['domain', 'selector', 'keyFile'],
  },
  'report.counts_damaged': {
    level: 'error',
    means: 'Counts for TLS reports could not be read: those reports say less than there was.',
    fields: ['file', 'lines'],
  },
  'report.counts_not_compacted': {
    level: 'warn',
    means: 'A file of counts could not be made smaller; it is complete.',
    fields: ['file', 'error'],
  },
  'report.counts_delayed': {
    level: 'error',
    means: 'The disk does not take the counts; told once, until it does.',
    fields: ['error'],
  },
  'report.counts_kept': { level: 'info', means: 'It does again.', fields: [] },
  'report.counts_lost': {
    level: 'error',
    means: 'The disk took none for days: those of a day are given up.',
    fields: ['day'],
  },
  'report.failure_counted': {
    level: 'info',
    means: 'A session was counted as failed, as it will be in the report.',
    fields: ['domain', 'policyType', 'mode', 'resultType', 'mx', 'reason'],
  },
  'report.made': {
    level: 'info',
    means: 'A report is made, and is handed on from now on.',
    fields: ['day', 'domain', 'reportId', 'octets', 'nodes', 'without'],
  },
  'report.nobody_asks': {
    level: 'debug',
    means: 'There are counts, and the domain wants no report.',
    fields: ['day', 'domain', 'reason'],
  },
  'report.gave_up': {
    level: 'warn',
    means: 'There will be no report for this domain and day.',
    fields: ['day', 'domain', 'reason'],
  },
  'report.waiting': {
    level: 'info',
    means: 'A copy could not be handed on yet; it is tried again.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.handing_over': {
    level: 'info',
    means: 'A copy is about to be queued.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.queued': {
    level: 'info',
    means: 'A copy is in the queue, as message `id`.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.delivered': {
    level: 'info',
    means: 'A copy was delivered.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.posted': {
    level: 'info',
    means: 'A copy was posted over HTTPS.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.not_mailed': {
    level: 'info',
    means: 'A copy stays here, since `tlsRpt` is not set up for mail.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.excluded': {
    level: 'info',
    means: 'A copy goes nowhere, because of `tlsRpt.exclude`.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.failed': {
    level: 'warn',
    means: 'A copy was given up.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.suspended': {
    level: 'warn',
    means: 'A copy is not sent, since its place keeps failing.',
    fields: ['id', 'day', 'domain', 'rua', 'attempts', 'reason', 'nextAttempt'],
  },
  'report.rua_suspended': {
    level: 'warn',
    means: 'A rua of a domain keeps failing, and is left alone for a while.',
    fields: ['domain', 'rua', 'failures', 'until', 'reason'],
  },
  'report.suspensions_unreadable': {
    level: 'error',
    means: 'The suspensions of before cannot be read; none counts.',
    fields: ['aside', 'reason'],
  },
  'report.state_delayed': {
    level: 'error',
    means: 'The disk, or Redis, did not take what became of a report.',
    fields: ['day', 'domain', 'error'],
  },
  'report.round_failed': {
    level: 'warn',
    means: 'Reports cannot be looked after for now; told once, until they can.',
    fields: ['error'],
  },
  'report.send_failed': {
    level: 'warn',
    means: 'Sending a report came to no result.',
    fields: ['day', 'domain', 'error'],
  },
  'report.nodes_missing': {
    level: 'warn',
    means: 'Reports go without what these nodes did not share within an hour.',
    fields: ['day', 'nodes'],
  },
  'report.late_counts': {
    level: 'warn',
    means: 'What this node counted is not in the report that went out.',
    fields: ['day', 'domain'],
  },
} as const satisfies Vocabulary;
