/** The families of the processes: what they use, whether they are there, what they run. */
import { counter, gauge } from './family.ts';

/** The processes of a relay. */
export const ROLES = ['receive', 'deliver'] as const;

export const PROCESS_FAMILIES = {
  roleUp: gauge('role_up', {
    help: '1 while this role is there; that of deliver vanishes with all metrics, which it serves.',
    labels: { role: ROLES },
    healthy: '1 for both.',
    alert: '0 for `receive`: no mail is taken.',
  }),
  roleRestarts: counter('role_restarts_total', {
    help: 'Roles that ended without being asked to and were started again.',
    labels: { role: ROLES },
    healthy: '0.',
    alert: 'Any: the log says why (`relay.role_ended`, `relay.crashed`).',
  }),
  startTime: gauge('process_start_timestamp_seconds', {
    help: 'When this process started.',
    labels: { role: ROLES },
    healthy: 'The last deployment.',
  }),
  residentMemory: gauge('process_resident_memory_bytes', {
    help: 'Memory of this process, its session threads included.',
    labels: { role: ROLES },
    healthy: 'Levels off after some hours; about 1 KiB for each queued delivery on top.',
    alert: 'Growing for days with a queue that does not.',
  }),
  cpuSeconds: counter('process_cpu_seconds_total', {
    help: 'CPU time of this process, its session threads included.',
    labels: { role: ROLES },
    healthy: 'Below the number of cores.',
  }),
  eventLoopBusy: counter('event_loop_busy_seconds_total', {
    help: 'Time the main thread of this process was not idle; its rate is the share of its one core.',
    labels: { role: ROLES },
    healthy: 'Below 0.7.',
    alert: 'Above 0.9 for minutes: everything becomes slow, this process is the limit.',
  }),
  eventLoopDelay: gauge('event_loop_delay_seconds', {
    help: 'Longest time the main thread kept everything waiting, in the last minute or two.',
    labels: { role: ROLES },
    healthy: 'Below 0.1.',
    alert: 'Above 1: replies and timeouts are late.',
  }),
  configReloads: counter('config_reloads_total', {
    help: 'Configuration reloads, by result.',
    labels: { result: ['applied', 'refused'] },
    healthy: 'When somebody changed the configuration.',
    alert:
      '`refused`: the file that is there would not start; the old settings hold (`stsrelay config check`).',
  }),
  logLinesLost: gauge('log_lines_lost', {
    help: 'Log lines that could not be written since the start.',
    healthy: '0.',
    alert: 'Growing: whoever reads the log stands still.',
  }),
  buildInfo: gauge('build_info', {
    help: 'Always 1; the version in a label.',
    labels: { version: 'of the relay', node_version: 'of Node.js' },
    healthy: 'One version everywhere, but during an upgrade.',
  }),
};
