/**
 * The settings of a relay under torture: patience in seconds where a real one has minutes, so
 * that a campaign gets through everything that takes patience.
 */
import { freePort } from '../support/free-port.ts';
import type { PretendInternet } from '../support/pretend-internet.ts';

/** An MX host that answers the final dot later than this has answered too late. */
const DATA_DONE = '3s';
const SCHEDULE = ['150ms', '300ms', '600ms', '1s'];
/** Few enough for a flood to get there. */
const QUEUED_MESSAGES = 500;
const CONNECTIONS_PER_CLIENT = 50;

export async function relaySettings(internet: PretendInternet, dataDir: string) {
  const theirs = internet.relaySettings();
  const [smtpPort, httpPort] = [await freePort(), await freePort()];
  return {
    hostname: 'relay.example.net',
    dataDir,
    listeners: [{ address: '127.0.0.1', port: smtpPort, tls: 'starttls', auth: 'optional' }],
    http: { address: '127.0.0.1', port: httpPort },
    limits: {
      minFreeDisk: '1MiB',
      queuedMessages: QUEUED_MESSAGES,
      connectionsPerClient: CONNECTIONS_PER_CLIENT,
    },
    log: { level: 'info', format: 'json' },
    dns: theirs.dns,
    outbound: {
      ...theirs.outbound,
      timeouts: {
        connect: '3s',
        greeting: '3s',
        helo: '3s',
        mail: '3s',
        rcpt: '3s',
        dataInit: '3s',
        dataBlock: '3s',
        dataDone: DATA_DONE,
        tls: '3s',
      },
    },
    security: { mtaSts: { ...theirs.security.mtaSts, fetchTimeout: '3s' } },
    retry: retrySettings(SCHEDULE),
  };
}
export type RelaySettings = Awaited<ReturnType<typeof relaySettings>>;

/** The same schedule for every cause. */
export function retrySettings(schedule: readonly string[]) {
  return {
    schedule,
    classes: { greylisted: { schedule }, tlsPolicy: { schedule } },
  };
}
