/**
 * The eight domains of the demo: what each publishes, what its hosts do, and what the tour does to
 * two of them while it runs. All of it is loopback; what becomes of their mail is the relay's doing.
 */
import type {
  DomainDescription,
  PretendDomain,
  PretendInternet,
} from '../support/pretend-internet.ts';

export interface Posture {
  readonly domain: string;
  /** What it is like, in a few words. */
  readonly words: string;
  readonly description: DomainDescription;
}

/** Where the messages come from, and their bounces go. */
export const SENDER_DOMAIN = 'company.example';

const rua = (domain: string) => `mailto:tls-reports@${domain}`;
/** What changes while the tour runs is asked for each time. */
const UNCACHED = { ttl: 0 };

export const POSTURES: readonly Posture[] = [
  {
    domain: 'good.example',
    words: 'MTA-STS enforce; everything is in order',
    description: { sts: {} },
  },
  {
    domain: 'expired.example',
    words: 'MTA-STS enforce; the certificate of its MX host expired yesterday',
    description: {
      sts: {},
      mx: [{ host: 'mx.expired.example', certificate: 'expired' }],
    },
  },
  {
    domain: 'second-mx.example',
    words: 'MTA-STS enforce; the first of two MX hosts shows a certificate for another name',
    description: {
      sts: {},
      mx: [
        { host: 'mx1.second-mx.example', certificate: 'wrong-host' },
        { host: 'mx2.second-mx.example' },
      ],
    },
  },
  {
    domain: 'outside.example',
    words: 'MTA-STS enforce; DNS names an MX host that the policy does not list',
    description: {
      ...UNCACHED,
      sts: { mx: ['mx.outside.example'] },
      mx: [{ host: 'mx.somewhere-else.example' }],
    },
  },
  {
    domain: 'attacked.example',
    words: 'MTA-STS enforce; later somebody on the path strips STARTTLS and hides the policy',
    description: { ...UNCACHED, sts: {} },
  },
  {
    domain: 'testing.example',
    words: 'MTA-STS testing; the certificate is signed by nobody we trust',
    description: {
      sts: { mode: 'testing' },
      mx: [{ host: 'mx.testing.example', certificate: 'self-signed' }],
    },
  },
  {
    domain: 'no-policy.example',
    words: 'publishes no policy; offers TLS, with a certificate of its own making',
    description: { mx: [{ host: 'mx.no-policy.example', certificate: 'self-signed' }] },
  },
  {
    domain: 'plain.example',
    words: 'publishes no policy; has no TLS at all',
    description: { mx: [{ host: 'mx.plain.example', certificate: null }] },
  },
];

/** The domains, there to be written to. */
export async function settle(
  internet: PretendInternet,
): Promise<ReadonlyMap<string, PretendDomain>> {
  await internet.domain(SENDER_DOMAIN);
  const domains = new Map<string, PretendDomain>();
  for (const { domain, description } of POSTURES) {
    const asks = description.sts === undefined ? {} : { tlsRptRua: rua(domain) };
    domains.set(domain, await internet.domain(domain, { ...asks, ...description }));
  }
  return domains;
}

/** What somebody between the relay and attacked.example can do. */
export class Attack {
  readonly #internet: PretendInternet;
  readonly #target: PretendDomain;

  constructor(internet: PretendInternet, target: PretendDomain) {
    this.#internet = internet;
    this.#target = target;
  }

  /** The TXT record and the policy host are gone, connections are cut, and new ones have no STARTTLS. */
  begin(): void {
    this.#target.withdrawSts();
    for (const host of this.#target.mx) {
      host.change({ startTls: 'off' });
      host.cut();
    }
  }

  /** STARTTLS is back. The record stays away: the policy of before has to do. */
  endAtTheHosts(): void {
    for (const host of this.#target.mx) host.change({ startTls: 'offered' });
  }

  /** outside.example puts the host into DNS that its policy lists. */
  async mendOutside(): Promise<void> {
    const host = await this.#internet.mxHost({ host: 'mx.outside.example' }, UNCACHED);
    this.#nameOutside(host.name);
  }

  /** Everything is as it was before anything was changed. */
  async rewind(): Promise<void> {
    this.endAtTheHosts();
    await this.#target.publishSts({});
    this.#nameOutside('mx.somewhere-else.example');
  }

  #nameOutside(exchange: string): void {
    this.#internet.dns.set('outside.example', 'MX', [{ preference: 10, exchange }], UNCACHED);
  }
}
