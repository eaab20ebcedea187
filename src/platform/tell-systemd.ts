/**
 * Tells systemd that a unit with `Type=notify` is ready (sd_notify(3)), so that `systemctl start` returns
 * when mail is taken, and fails when the relay could not start.
 *
 * The message is a datagram on a unix socket, which Node.js cannot send: `systemd-notify`, which comes with
 * systemd, does. Without NOTIFY_SOCKET nobody waits for it, and nothing is done.
 */
import { execFile } from 'node:child_process';

/** More than a busy machine takes to run a small program. */
const TIMEOUT_MS = 10_000;

/** Say that all is open. `failed` is told why systemd could not be told; it kills the unit in the end. */
export function tellSystemdReady(
  failed: (why: string) => void,
  environment: NodeJS.ProcessEnv = process.env,
): void {
  const socket = environment['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return;
  const options = { env: { ...environment }, timeout: TIMEOUT_MS };
  execFile('systemd-notify', ['--ready'], options, (error, _stdout, stderr) => {
    if (error) failed(`systemd-notify: ${stderr.trim() || error.message}`);
  });
}
