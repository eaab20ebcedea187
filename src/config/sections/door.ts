/**
 * Settings of the front door: who may connect, how, and how much they may hand over.
 */
import { z } from 'zod';
import {
  choice,
  domain,
  integer,
  ipAddress,
  list,
  network,
  path,
  port,
  rate,
  size,
} from '../kinds.ts';

const listener = z.strictObject({
  address: ipAddress().describe('Address to listen on; `0.0.0.0` or `::` for all.'),
  port: port(0).describe('Port to listen on.'),
  tls: choice(['none', 'starttls', 'implicit'])
    .prefault('starttls')
    .describe('Clear text only, STARTTLS offered, or TLS from the first octet (RFC 8314).'),
  auth: choice(['none', 'optional', 'required'])
    .prefault('optional')
    .describe('Whether AUTH is offered (over TLS only) and whether relaying needs it.'),
  proxyProtocol: list(network(), { min: 1 })
    .optional()
    .describe(
      'Only these proxies may connect, each with a valid PROXY v1 or v2 header, whose source is the client; LOCAL and UNKNOWN may not relay.',
    ),
});

export const listeners = z
  .array(listener)
  .min(1)
  .max(64)
  .prefault([{ address: '127.0.0.1', port: 2525, tls: 'starttls', auth: 'optional' }])
  .describe('Where mail comes in.');

export const tls = z
  .strictObject({
    certFile: path()
      .prefault('/etc/stsrelay/tls.crt')
      .describe('Certificate chain of the listeners, PEM; re-read when it changes.'),
    keyFile: path()
      .prefault('/etc/stsrelay/tls.key')
      .describe(
        'Its private key, PEM; re-read when it changes. Where neither file exists, a self-signed pair is made once under `dataDir`, with a warning.',
      ),
  })
  .prefault({})
  .describe("The listeners' certificate.");

export const access = z
  .strictObject({
    trustedNetworks: list(network())
      .prefault(['127.0.0.0/8', '::1/128'])
      .describe('Clients that may relay without AUTH.'),
    usersFile: path()
      .prefault('/etc/stsrelay/users.yaml')
      .describe(
        'Users with their password hashes and allowed senders, edited by `stsrelay user`; re-read when it changes. Where it does not exist, there are no users.',
      ),
    allowedSenderDomains: list(domain())
      .prefault([])
      .describe(
        'Domains that MAIL FROM may have (others: 553 5.7.1; the null reverse-path passes); empty: any.',
      ),
  })
  .prefault({})
  .describe('Who may relay.');

export const limits = z
  .strictObject({
    messageSize: size('1KiB', '1GiB')
      .prefault('50MiB')
      .describe('Largest message; beyond: 552 5.3.4.'),
    recipientsPerMessage: integer(1, 100_000)
      .prefault(1000)
      .describe('Recipients of one message; beyond: 452 4.5.3.'),
    connections: integer(1, 1_000_000)
      .prefault(1000)
      .describe('Client connections open at once; beyond: 421 4.7.0.'),
    connectionsPerClient: integer(1, 1_000_000)
      .prefault(50)
      .describe('Connections open at once from one client address; beyond: 421 4.7.0.'),
    messagesPerClient: rate()
      .prefault('')
      .describe(
        'Messages per authenticated user, else per client address; beyond: 450 4.7.1. "" for no limit.',
      ),
    queuedMessages: integer(1, 100_000_000)
      .prefault(500_000)
      .describe('Messages in the queue; beyond: 452 4.3.1.'),
    minFreeDisk: size('0B', '1024TiB')
      .prefault('1GiB')
      .describe('Free space to leave on the disk of the spool; below: 452 4.3.1.'),
    receivedHops: integer(1, 10_000)
      .prefault(100)
      .describe('Received fields of a message that goes in circles; beyond: 554 5.4.6.'),
  })
  .prefault({})
  .describe('How much clients may hand over.');
