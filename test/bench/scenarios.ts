/**
 * The kinds of work that the relays are compared on. Each run hands a relay `messages` of them
 * over `sessions` connections and waits until the sink has them all.
 */

export interface Scenario {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** Size of a message in octets, header included. */
  readonly octets: number;
  /** The recipient domains publish an MTA-STS policy `enforce`, and the sink offers STARTTLS. */
  readonly tls: boolean;
  /** Messages on an inbound connection; 0: as many as there are. */
  readonly messagesPerInbound: 0 | 1;
  /** May an outgoing connection carry more than one message? */
  readonly reuse: boolean;
  /** Number of recipient domains. */
  readonly domains: number;
  /** Messages of a run when the caller does not say. */
  readonly messages: number;
  /** Settings of our relay that are not as it ships. */
  readonly relay?: object;
}

/** What scenarios have in common: 4 KiB over verified TLS, connections reused. */
export const COMMON = {
  octets: 4096,
  tls: true,
  messagesPerInbound: 0,
  reuse: true,
  domains: 1,
  messages: 5000,
} as const;

export const SCENARIOS: readonly Scenario[] = [
  {
    ...COMMON,
    name: 'tls',
    summary: '4 KiB over verified TLS, connections reused where the relay can',
  },
  { ...COMMON, name: 'clear', summary: '4 KiB in clear', tls: false },
  {
    ...COMMON,
    name: 'tls-50k',
    summary: '50 KiB over verified TLS',
    octets: 51_200,
    messages: 2000,
  },
  {
    ...COMMON,
    name: 'one',
    summary: '4 KiB over verified TLS, each message on an inbound connection of its own',
    messagesPerInbound: 1,
    messages: 3000,
  },
  {
    ...COMMON,
    name: 'many',
    summary: '4 KiB to 500 domains with policies, a new verified TLS connection for each message',
    reuse: false,
    domains: 500,
    messages: 3000,
  },
];

/** `d0.` to `dN.` of this domain have an MX host that nobody can connect to. */
export const AWAY_DOMAIN = 'away.test';
export const AWAY_DOMAINS = 100;

/** Sessions that hand mail over at the same time. */
export const SESSIONS = 20;

/** What the injector is told as the domain; with several, `d0.` to `dN.` stand before it. */
export function recipientDomain(scenario: Scenario): string {
  if (scenario.domains > 1) return 'many.test';
  return scenario.tls ? 'dest.test' : 'clear.test';
}
