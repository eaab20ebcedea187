/**
 * Opens one listener of the front door (RFC 5321, RFC 6409): a port with its TLS mode and its
 * demand for AUTH, and what may be changed about it while it is open.
 *
 * TLS modes: `starttls` (RFC 3207), `implicit` (RFC 8314 §3.3), `none`. TLS 1.2 and up only
 * (RFC 8996 §4). Offered: PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, DSN, and
 * STARTTLS, AUTH and REQUIRETLS where they can be used; nothing the queue does not honour.
 *
 * A port that cannot be opened is an error of `openListener`. Later errors end a session at
 * most and are reported; the listener stays open.
 */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { SMTPServerOptions } from 'smtp-server';
import { type AccessSettings, compileAccess } from './access.ts';
import type { SessionParts } from './client-dialog.ts';
import { compileNetworks } from './networks.ts';
import { SmtpDoor } from './smtp-door.ts';
import type { PemPair } from './tls-material.ts';
import type { IntakeRules } from './transaction.ts';

export interface ListenerSettings {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly tls: 'none' | 'starttls' | 'implicit';
  readonly auth: 'none' | 'optional' | 'required';
  /** Networks of the proxies that alone may connect, with a PROXY header; undefined: clients connect themselves. */
  readonly proxyProtocol?: readonly string[] | undefined;
}

/** The part of the settings that decides what is taken from whom. */
export interface RuleSettings {
  readonly hostname: string;
  readonly postmaster: string;
  readonly access: AccessSettings;
  readonly limits: {
    readonly messageSize: number;
    readonly recipientsPerMessage: number;
    readonly receivedHops: number;
  };
}

export interface ListenerParts extends Omit<SessionParts, 'auth' | 'rules'> {
  readonly listener: ListenerSettings;
  readonly rules: IntakeRules;
  /** Certificate and key; needed unless the listener's `tls` is none. */
  readonly pem: PemPair | undefined;
}

export interface Listener {
  readonly address: string;
  readonly port: number;
  /** Connections open now. */
  connections(): number;
  /** Another certificate for handshakes from now on. */
  updateTls(pem: PemPair): void;
  /** Other rules for the commands from now on. */
  update(rules: IntakeRules): void;
  /**
   * Refuse new connections, send idle clients away with 421 and let messages in transit finish
   * for at most `graceMs`. Resolves when every connection is gone.
   */
  close(graceMs: number): Promise<void>;
}

const SOCKET_TIMEOUT_MS = 5 * 60_000; // RFC 5321 §4.5.3.2.7
const MAX_LINE_OCTETS = 12 * 1024; // RFC 4954 §4: 12,288 for a line of an AUTH exchange

/** Rules as sessions want them. Throws on a network that is none; the settings have been checked. */
export function compileRules(settings: RuleSettings): IntakeRules {
  const { hostname, postmaster, limits } = settings;
  return { hostname, postmaster, access: compileAccess(settings.access), ...limits };
}

/** Open the port. Rejects with the system's error when it cannot be had. */
export async function openListener(parts: ListenerParts): Promise<Listener> {
  const { listener, events } = parts;
  if (listener.tls !== 'none' && !parts.pem) throw new TypeError('a TLS listener without a key');
  let { rules } = parts;
  const door = new SmtpDoor(doorOptions(parts), {
    ...parts,
    auth: listener.auth,
    rules: () => rules,
    proxies: listener.proxyProtocol && compileNetworks(listener.proxyProtocol),
  });
  let isOpen = false;
  door.on('error', (error) => {
    if (isOpen) reportError(error, events);
  });
  door.server.listen({ host: listener.address, port: listener.port });
  await once(door.server, 'listening');
  isOpen = true;
  const { address, port } = door.server.address() as AddressInfo;
  const { tls, auth, proxyProtocol } = listener;
  events.listening({ address, port, tls, auth, proxyProtocol });
  return {
    address,
    port,
    connections: () => door.sessionCount,
    updateTls: ({ key, cert }) => door.updateSecureContext({ key, cert }),
    update(changed) {
      rules = changed;
      door.options.name = changed.hostname;
      door.options.size = changed.messageSize;
    },
    close: (graceMs) => door.stop(graceMs),
  };
}

function doorOptions({ listener, rules, pem }: ListenerParts): SMTPServerOptions {
  const disabledCommands = ['WIZ', 'SHELL', 'KILL', 'XCLIENT', 'XFORWARD'];
  if (listener.tls !== 'starttls') disabledCommands.push('STARTTLS');
  if (listener.auth === 'none') disabledCommands.push('AUTH');
  return {
    name: rules.hostname,
    heloResponse: '%s',
    size: rules.messageSize,
    secure: listener.tls === 'implicit',
    minVersion: 'TLSv1.2',
    ...(pem ? { key: pem.key, cert: pem.cert } : {}),
    disabledCommands,
    authMethods: ['PLAIN', 'LOGIN'],
    authOptional: true, // who has to authenticate is decided at MAIL
    hideDSN: false,
    hideENHANCEDSTATUSCODES: false,
    hideREQUIRETLS: false, // shown, and taken, over TLS alone (RFC 8689 §2)
    disableReverseLookup: true,
    logger: false,
    socketTimeout: SOCKET_TIMEOUT_MS,
    maxCommandLength: MAX_LINE_OCTETS,
  };
}

/** An error of a connection: handshakes that fail are everyday, and counted apart. */
function reportError(error: Error, events: SessionParts['events']): void {
  const { remoteAddress, meta } = error as Error & {
    remoteAddress?: string;
    meta?: { stage?: string; remoteAddress?: string };
  };
  const client = remoteAddress ?? meta?.remoteAddress;
  if (meta?.stage === 'connect') {
    events.refused({ reason: 'tls-failed', client: client ?? '', detail: error.message });
  } else events.sessionError({ client, error: error.message });
}
