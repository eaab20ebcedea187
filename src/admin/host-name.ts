/**
 * By which names a server on this machine may be called. A page of anybody's can make a browser that runs here ask this
 * server, by a name of theirs that DNS bends to 127.0.0.1 (DNS rebinding): for the browser what is answered belongs to
 * that page. The browser says the name in Host (RFC 9110 §7.2), and no script can change that; so who comes
 * over loopback has to call it by a name that DNS does not decide about, or that is known to be this machine's.
 *
 * What comes in on another address is not looked at: it is asked for by names that are not known here (of a Kubernetes
 * service, of a scrape's target), and is not this machine's browser's own. Nor is TLS: there the certificate binds names.
 */
import { isIP } from 'node:net';
import { hostname as systemHostname } from 'node:os';
import { isLoopback } from '../config/checks.ts';
import { parseAddress } from '../intake/client-key.ts';
import { quoted } from '../protocol/quote.ts';
import type { HttpApp } from './http-app.ts';

/** Refuse (421, RFC 9110 §15.5.20) what comes over loopback for a name of DNS that is not `hostname` or the system's own. */
export function refuseBentNames(app: HttpApp, hostname: () => string | undefined): void {
  app.addHook('onRequest', async ({ headers: { host }, socket, protocol }, reply) => {
    if (protocol === 'https' || !isOverLoopback(socket.localAddress)) return undefined;
    if (!hasNameOfDns(host) || isCalled(host, [hostname(), systemHostname()])) return undefined;
    const called = quoted(nameOf(host));
    const error = `over loopback this relay is not called ${called}: ask for it by localhost, its address or its hostname`;
    return reply.code(421).send({ error });
  });
}

/** Whether somebody's DNS may say where the name in the field Host leads: not of addresses, localhost (RFC 6761 §6.3), names without dots. */
export function hasNameOfDns(host: string | undefined): boolean {
  const name = nameOf(host);
  return isIP(name) === 0 && name.includes('.') && !name.endsWith('.localhost');
}

function isCalled(host: string | undefined, names: readonly (string | undefined)[]): boolean {
  return names.some((name) => name !== undefined && name.toLowerCase() === nameOf(host));
}

/** In lower case, without port, brackets and the dot of the root. */
function nameOf(host = ''): string {
  const name = host.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1');
  return name.toLowerCase().replace(/\.$/, '');
}

function isOverLoopback(address: string | undefined): boolean {
  return address !== undefined && isLoopback(parseAddress(address)?.toString() ?? address);
}
