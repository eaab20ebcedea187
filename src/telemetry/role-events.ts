/**
 * What happens between the processes of one relay. One function per event: log line and metric
 * together; the supervisor has no metrics, the owner of the spool counts for it.
 */
import type { ROLES } from './families/process.ts';
import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

export type RoleName = (typeof ROLES)[number];

/** Of the owner of the spool. */
export function ownerEvents(log: Log, metrics: Metrics) {
  return {
    /** From now on each role that should be there has its sample, whether it is or not. */
    opened(hasListeners: boolean): void {
      metrics.roleUp.set({ role: 'deliver' }, 1);
      metrics.roleUp.set({ role: 'receive' }, hasListeners ? 1 : 0);
    },
    receiverLinked(pid: number): void {
      metrics.roleUp.set({ role: 'receive' }, 1);
      log.write('info', 'relay.receiver_linked', { pid });
    },
    receiverGone(pid: number, reason: string): void {
      metrics.roleUp.set({ role: 'receive' }, 0);
      log.write('warn', 'relay.receiver_gone', { pid, reason });
    },
    /** New settings, or the first ones, could not be put into force there. */
    receiverRefused(problem: string): void {
      log.write('error', 'relay.receiver_refused', { error: problem });
    },
    /** The supervisor started a role again. */
    roleRestarted(role: RoleName, count = 1): void {
      metrics.roleRestarts.inc({ role }, count);
    },
  };
}
export type OwnerEvents = ReturnType<typeof ownerEvents>;

/** Of the receiving role. */
export function receiverEvents(log: Log) {
  return {
    queueLinked(): void {
      log.write('info', 'intake.queue_linked', { pid: process.pid });
    },
    /** Clients are told 451 until it is back; `intake.refusing` says so when the first one comes. */
    queueGone(reason: string): void {
      log.write('warn', 'intake.queue_gone', { reason });
    },
  };
}

/** Of the supervisor. */
export function supervisorEvents(log: Log) {
  return {
    roleStarted(role: RoleName, pid: number | undefined): void {
      log.write('info', 'relay.role_started', { role, pid });
    },
    roleEnded(
      role: RoleName,
      facts: { pid: number | undefined; reason: string; restartInMs: number },
    ): void {
      log.write('error', 'relay.role_ended', { role, ...facts });
    },
    /** `stsrelay status` cannot be told how the roles are. */
    rolesUntold({ message }: Error): void {
      log.write('warn', 'relay.warning', { warning: `no roles.sock: ${message}` });
    },
  };
}

/** Of whoever systemd waits for: it will end this relay, which works. */
export function systemdUntold(log: Log | undefined, why: string): void {
  log?.write('warn', 'relay.warning', {
    warning: `systemd could not be told of the start: ${why}`,
  });
}
