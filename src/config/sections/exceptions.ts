/**
 * What an administrator decides for single domains: exceptions from their TLS policy, and smart
 * hosts.
 */
import { z } from 'zod';
import { parseDomain } from '../../protocol/domain.ts';
import { isNextHop } from '../addresses.ts';
import { choice, domain, notation, path, text } from '../kinds.ts';
import { formatExpiry, parseExpiry } from '../units.ts';

/** What is asked of a session's TLS, by an administrator. */
const TLS_LEVELS = ['none', 'opportunistic', 'encrypt', 'verify'] as const;

const override = z.strictObject({
  domain: domain().describe('The recipient domain.'),
  tls: choice(TLS_LEVELS).describe(
    'What is asked of its TLS instead of what the domain publishes.',
  ),
  owner: text('text', (value) => value.length <= 500)
    .prefault('')
    .describe('Who answers for it.'),
  reason: text('text', (value) => value.length <= 500)
    .prefault('')
    .describe('Why it is there.'),
  expires: notation({
    expected: 'a day such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z',
    parse: (value) => {
      const at = parseExpiry(value);
      return at === undefined ? undefined : { value: at };
    },
    format: formatExpiry,
  })
    .optional()
    .describe('When it ends: at the end of that day (UTC), or at that time.'),
});

export const overrides = z
  .array(override)
  .max(10_000)
  .prefault([])
  .describe('Exceptions for one domain each.');

const routeDomain = notation({
  expected: 'a domain name, or "*" for all domains',
  parse: (value) => {
    const name: string | undefined = value === '*' ? value : parseDomain(value);
    return name === undefined ? undefined : { value: name };
  },
  format: (value) => value,
});

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is being refused
const HAS_CONTROL = /[\u0000-\u001f\u007f]/;

const route = z.strictObject({
  domain: routeDomain.describe(
    'The recipient domain; "*" for all that have no route of their own.',
  ),
  nextHop: text('"host:port" or "mx:domain"', isNextHop).describe(
    "Where its mail goes: that host, or that domain's MX hosts.",
  ),
  tls: choice(TLS_LEVELS)
    .prefault('opportunistic')
    .describe('What is asked of the TLS; MTA-STS of the next hop binds besides (RFC 8461 §3.4).'),
  wrapper: choice(['starttls', 'implicit'])
    .prefault('starttls')
    .describe('STARTTLS, or TLS from the first octet (port 465 where `nextHop` names none).'),
  user: text('text', (value) => value.length <= 255 && !HAS_CONTROL.test(value))
    .prefault('')
    .describe(
      'User for AUTH (PLAIN, LOGIN or CRAM-MD5), which is made over TLS alone: with it `opportunistic` means `encrypt`.',
    ),
  passwordFile: path()
    .prefault('')
    .describe('File with the password for AUTH on one line; read again when it changes.'),
});

export const routes = z.array(route).max(10_000).prefault([]).describe('Smart hosts.');
