/**
 * The path of the control socket. The kernel takes few octets for it, and a data directory may be
 * deep: what is shorter from the working directory is named from there.
 */
import { relative } from 'node:path';

/** sun_path of unix(7), its final NUL among them. */
const MAX_SOCKET_PATH = 108;

/** The way to a socket that fits its address: from the working directory where that is shorter. */
export function shortPath(socketPath: string): string {
  const fromHere = relative(process.cwd(), socketPath);
  const shorter = fromHere.length < socketPath.length ? fromHere : socketPath;
  if (Buffer.byteLength(shorter) < MAX_SOCKET_PATH) return shorter;
  throw new Error(
    `${socketPath} is too long for a socket (at most ${MAX_SOCKET_PATH - 1} octets): choose a shorter dataDir`,
  );
}
