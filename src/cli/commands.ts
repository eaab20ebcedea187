/**
 * Every command of the command line.
 */
import { audit } from './audit.ts';
import { check } from './check.ts';
import type { CliCommand } from './command.ts';
import { configCheck, configSchema, configShow } from './config.ts';
import { domainList, domainPause, domainResume } from './domain.ts';
import { overrideAdd, overrideList, overrideRemove } from './override.ts';
import { policyForget, policyList, policyRefresh, policyShow } from './policy.ts';
import { queueList, queueShow, queueSummary } from './queue.ts';
import { queueBounce, queueDrop, queueHold, queueRelease, queueRetry } from './queue-actions.ts';
import { queueHolds } from './queue-holds.ts';
import { reload } from './reload.ts';
import { retryPreview } from './retry.ts';
import { spoolCheck, spoolExport } from './spool.ts';
import { start } from './start.ts';
import { status } from './status.ts';
import { tlsReportList, tlsReportSend, tlsReportShow } from './tlsrpt.ts';
import { userAdd, userList, userRemove } from './user.ts';
import { version } from './version.ts';

/** Commands behind one word: `stsrelay policy list`. */
export interface CommandGroup {
  readonly name: string;
  readonly summary: string;
  readonly commands: readonly CliCommand[];
}

export const COMMANDS: readonly CliCommand[] = [start, status, reload, check, audit, version];
export const GROUPS: readonly CommandGroup[] = [
  {
    name: 'config',
    summary: 'look at the configuration',
    commands: [configCheck, configShow, configSchema],
  },
  {
    name: 'domain',
    summary: 'stop and restart delivery to a destination',
    commands: [domainPause, domainResume, domainList],
  },
  {
    name: 'override',
    summary: 'exceptions from the TLS policy of single domains',
    commands: [overrideList, overrideAdd, overrideRemove],
  },
  {
    name: 'policy',
    summary: 'the MTA-STS policies that the running relay keeps',
    commands: [policyList, policyShow, policyRefresh, policyForget],
  },
  {
    name: 'queue',
    summary: 'what is queued and why it waits; try, hold, bounce it',
    commands: [
      ...[queueSummary, queueList, queueShow, queueHolds],
      ...[queueRetry, queueHold, queueRelease, queueBounce, queueDrop],
    ],
  },
  { name: 'retry', summary: 'when waiting mail is tried again', commands: [retryPreview] },
  {
    name: 'spool',
    summary: 'the queued mail of a relay that is not running',
    commands: [spoolCheck, spoolExport],
  },
  {
    name: 'tlsrpt',
    summary: 'the TLS reports of the days (RFC 8460)',
    commands: [tlsReportList, tlsReportShow, tlsReportSend],
  },
  { name: 'user', summary: 'who may log in', commands: [userAdd, userRemove, userList] },
];
