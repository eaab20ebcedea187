/**
 * Which of our own addresses a connection goes out from (`outbound.sourceAddresses`).
 */
import { isIPv6 } from 'node:net';

/** The local address for a connection to `remote`: one of the same family, chosen at random; undefined: the kernel's choice. */
export function sourceAddresses(
  addresses: readonly string[],
): (remote: string) => string | undefined {
  return (remote) => {
    const fitting = addresses.filter((address) => isIPv6(address) === isIPv6(remote));
    return fitting[Math.floor(Math.random() * fitting.length)];
  };
}
