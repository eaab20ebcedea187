/** The events of the relay itself: processes, configuration, spool, Redis, API. */
import type { Vocabulary } from './entry.ts';

export const RELAY_EVENTS = {
  'relay.started': {
    level: 'info',
    means: 'Listeners are open: the relay takes mail.',
    fields: ['version', 'node', 'dataDir', 'recovered', 'pid'],
  },
  'relay.stopping': {
    level: 'info',
    means: 'It was told to end, and lets what is under way finish.',
    fields: ['signal'],
  },
  'relay.stopped': { level: 'info', means: 'The last line.', fields: [] },
  'relay.cannot_start': {
    level: 'error',
    means: 'A role could not start; the supervisor tries again.',
    fields: ['role', 'error'],
  },
  'relay.crashed': {
    level: 'error',
    means: 'A bug: an error nobody caught. The process ends, and is started again.',
    fields: ['kind', 'error', 'stack'],
  },
  'relay.warning': {
    level: 'warn',
    means: 'Something an administrator should know, such as a setting without effect.',
    fields: ['warning'],
  },
  'relay.node_warning': {
    level: 'warn',
    means: 'Node.js or a library warned.',
    fields: ['warning'],
  },
  'relay.role_started': {
    level: 'info',
    means: 'The supervisor started a role.',
    fields: ['role', 'pid'],
  },
  'relay.role_ended': {
    level: 'error',
    means: 'A role ended without being asked to, and is started again.',
    fields: ['role', 'pid', 'reason', 'restartInMs'],
  },
  'relay.receiver_linked': {
    level: 'info',
    means: '`receive` is connected.',
    fields: ['pid'],
  },
  'relay.receiver_gone': {
    level: 'warn',
    means: '`receive` is away: no mail is taken.',
    fields: ['pid', 'reason'],
  },
  'relay.receiver_refused': {
    level: 'error',
    means: 'Settings could not be put into force in `receive`.',
    fields: ['error'],
  },
  'config.reloaded': {
    level: 'info',
    means: 'A changed configuration is in force.',
    fields: ['needRestart'],
  },
  'config.reload_refused': {
    level: 'error',
    means: 'A changed configuration does not hold; the old one stays.',
    fields: ['problems'],
  },
  'admin.auth_failed': {
    level: 'warn',
    means: 'A wrong token of the API.',
    fields: ['client'],
  },
  'admin.token_unusable': {
    level: 'error',
    means: 'The token file cannot be used: nobody gets in over HTTP.',
    fields: ['reason'],
  },
  'admin.token_kept': {
    level: 'warn',
    means: 'The token file cannot be used; the token that was in it a moment ago counts on.',
    fields: ['reason', 'seconds'],
  },
  'spool.failed': {
    level: 'error',
    means:
      'An operation of the spool failed. What fails for every message alike is one line a spell.',
    fields: ['operation', 'error', 'failures', 'seconds'],
  },
  'spool.works': {
    level: 'info',
    means: 'It works again.',
    fields: ['operation', 'failures', 'seconds'],
  },
  'spool.damaged': {
    level: 'error',
    means: 'Something acknowledged cannot be read; it is kept aside, the rest is not affected.',
    fields: ['id', 'file', 'reason'],
  },
  'spool.leftover': {
    level: 'info',
    means: 'The rest of a message that was never acknowledged, cut off by a crash.',
    fields: ['file', 'reason'],
  },
  'redis.up': { level: 'info', means: 'Redis answers.', fields: [] },
  'redis.down': { level: 'error', means: 'It does not.', fields: ['reason'] },
  'redis.error': {
    level: 'warn',
    means: 'Something in Redis failed; one line a kind in ten seconds.',
    fields: ['kind', 'error', 'unsaid'],
  },
  'redis.started': {
    level: 'info',
    means: 'The private Redis was started.',
    fields: ['program', 'socket'],
  },
  'redis.died': {
    level: 'error',
    means: 'It ended, and is started again.',
    fields: ['reason', 'restartInMs'],
  },
  'redis.data_set_aside': {
    level: 'error',
    means: 'It could not read what it had written; the queue is made anew from the spool.',
    fields: ['directory'],
  },
  'redis.persistence_off': {
    level: 'error',
    means: 'Its disk is full: it goes on in memory; the spool has what it knows.',
    fields: ['directory', 'reason', 'advice'],
  },
  'redis.persistence_on': {
    level: 'info',
    means: 'It writes to disk again.',
    fields: ['directory'],
  },
  'redis.output': {
    level: ['debug', 'warn'],
    means: 'What the private Redis says; a warning where it sounds like trouble.',
    fields: ['line'],
  },
  'redis.eviction_policy': {
    level: 'error',
    means: 'Redis may drop keys when its memory is full.',
    fields: ['policy', 'wanted'],
  },
  'traces.on': {
    level: 'info',
    means: 'The environment asks for traces; one line of each process.',
    fields: ['ratio'],
  },
  'traces.off': {
    level: 'warn',
    means: 'The environment asks for traces, and they cannot be had; mail goes on without.',
    fields: ['reason'],
  },
  'traces.warning': {
    level: 'warn',
    means:
      'A variable that is not understood, spans that did not fit into the queue, or what the SDK says.',
    fields: ['warning', 'unsaid'],
  },
  'traces.lost': {
    level: 'warn',
    means: 'The collector does not take them; again every ten minutes.',
    fields: ['error', 'spans', 'seconds'],
  },
  'traces.sent': {
    level: 'info',
    means: 'It takes them again.',
    fields: ['spans', 'seconds'],
  },
} as const satisfies Vocabulary;
