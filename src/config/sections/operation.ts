/**
 * Settings of running the relay: identity, signing, TLS reports, HTTP and the log.
 */
import { z } from 'zod';
import { normalPlace } from '../../protocol/tlsrpt/exclusion.ts';
import {
  choice,
  domain,
  duration,
  flag,
  ipAddress,
  list,
  notation,
  optionalDomain,
  optionalMailbox,
  optionalPlainMailbox,
  path,
  port,
  selector,
  text,
} from '../kinds.ts';
import { formatTimeOfDay, parseTimeOfDay } from '../units.ts';

export const hostname = optionalDomain()
  .prefault('')
  .describe("Name of the relay in EHLO, Received and Reporting-MTA; empty: the system's FQDN.");

export const dataDir = text(
  'a path',
  (value) => value !== '' && value.length <= 4096 && !value.includes('\0'),
)
  .prefault('./data')
  .describe(
    'Where spool, state and the control socket live (mode 0700); locked while a relay uses it.',
  );

export const node = text('up to 64 letters, digits, ".", "_" or "-", or ""', (value) =>
  /^[A-Za-z0-9._-]{0,64}$/.test(value),
)
  .prefault('')
  .describe('Name among several relays on one Redis; empty: an id made once under `dataDir`.');

export const postmaster = optionalMailbox()
  .prefault('')
  .describe('Where mail for <postmaster> and postmaster@`hostname` goes; empty: it is refused.');

const signature = z.strictObject({
  domain: domain().describe('The signing domain (`d=`).'),
  selector: selector().describe('The selector (`s=`).'),
  keyFile: path().describe(
    'The private key, RSA of 1024 bits or more, PEM; re-read when it changes.',
  ),
});

export const dkim = z
  .array(signature)
  .max(10_000)
  .prefault([])
  .describe(
    'Keys that mail is signed with (RFC 6376) when the domain of its From field is exactly `domain`: relayed mail, DSNs and TLS reports.',
  );

export const tlsRpt = z
  .strictObject({
    enabled: flag()
      .prefault(true)
      .describe('Count TLS sessions, and send the reports that recipient domains ask for.'),
    organization: text('text', (value) => value.length <= 200)
      .prefault('')
      .describe('`organization-name` of the reports; empty: `hostname`.'),
    contact: optionalPlainMailbox()
      .prefault('')
      .describe(
        '`contact-info` of the reports; empty: postmaster@`hostname`, and none leaves by mail.',
      ),
    from: optionalPlainMailbox()
      .prefault('')
      .describe('From and reverse-path of report mail; needs a `dkim` key for its domain.'),
    sendAfter: notation({
      expected: 'a time of day such as 00:10 (UTC)',
      parse: (value) => {
        const afterMidnightMs = parseTimeOfDay(value);
        return afterMidnightMs === undefined ? undefined : { value: afterMidnightMs };
      },
      format: formatTimeOfDay,
    })
      .prefault('00:10')
      .describe('Earliest time (UTC) the reports of the day before go out.'),
    sendWindow: duration('0s', '20h')
      .prefault('4h')
      .describe('Each report goes at a random time in this window (RFC 8460 §4.1).'),
    keep: duration('1d', '3650d')
      .prefault('30d')
      .describe('How long reports, and the counts they are made of, are kept.'),
    exclude: list(
      text(
        'a policy domain, an address, or a mailto: or https: URI',
        (value) => value.length <= 500 && normalPlace(value) !== undefined,
      ),
    )
      .prefault([])
      .describe('Policy domains or rua addresses (or whole URIs) that never get a report.'),
  })
  .prefault({})
  .describe('TLS reports (RFC 8460).');

export const http = z
  .strictObject({
    address: ipAddress().prefault('127.0.0.1').describe('Address to listen on.'),
    port: port(0).prefault(9125).describe('Port to listen on.'),
    tokenFile: path()
      .prefault('')
      .describe(
        'File with the token of the API, 16 characters or more; re-read when it changes. Empty: the API is on the control socket alone.',
      ),
    tls: flag()
      .prefault(false)
      .describe("HTTPS, with the listeners' certificate; off loopback the API needs it."),
  })
  .prefault({})
  .describe('Metrics, health and the API over HTTP.');

export const log = z
  .strictObject({
    level: choice(['debug', 'info', 'warn', 'error'])
      .prefault('info')
      .describe('The least important events to write.'),
    format: choice(['json', 'pretty'])
      .prefault('json')
      .describe(
        'One JSON object per line (text for people where stdout is a terminal), or `pretty`: text always.',
      ),
  })
  .prefault({})
  .describe('The log on stdout.');
