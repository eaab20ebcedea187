/**
 * The pretend internet: DNS, policy hosts, MX hosts and a CA on loopback, from one description
 * per domain. Each has a random 127.x.y.0/24 of its own, one port all its MX hosts share (the
 * relay's `outbound.port`) and one all its policy hosts share (`security.mtaSts.httpsPort`),
 * so any number of them run side by side.
 *
 * Addresses: .2 policy hosts, .3 nobody (connections are refused), .10 to .250 MX hosts, .254
 * holds the two ports while this lives.
 */
import { createHash, randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import type { TlsaData } from 'dns-packet';
import { type CertificateKind, createCa, type IssuedCertificate, type TestCa } from './ca.ts';
import { type DnsServer, startDnsServer } from './dns-server.ts';
import { randomPort, tryListen } from './free-port.ts';
import { MxHost } from './mx-host.ts';
import type { MxBehaviour, ReceivedMessage } from './mx-script.ts';
import { type PolicyAnswer, type PolicyHost, startPolicyHost } from './policy-host.ts';
import { type TempDir, tempDir } from './temp-dir.ts';

const FIRST_MX = 10;
const LAST_MX = 250;

export interface StsDescription {
  /** Default `20260101T000000`. */
  readonly id?: string;
  /** Default `enforce`. */
  readonly mode?: 'enforce' | 'testing' | 'none';
  /** Default: the names of the domain's MX hosts. */
  readonly mx?: readonly string[];
  /** Seconds; default a week. */
  readonly maxAge?: number;
}

export interface MxDescription extends Omit<MxBehaviour, 'certificate'> {
  readonly host: string;
  /** Default 10, 20, 30 … in the order given. */
  readonly preference?: number;
  /** Default `good`; null: no TLS at all. */
  readonly certificate?: CertificateKind | IssuedCertificate | null;
  /** Nobody listens: connections are refused. */
  readonly down?: boolean;
  /** The MX record is there, the host's address is not. */
  readonly noAddress?: boolean;
  /** TLSA records for it: `3 1 1` of its key, of another key, or these. */
  readonly tlsa?: 'match' | 'mismatch' | readonly TlsaData[];
}

export interface DomainDescription {
  /** Default: one good host `mx.<domain>`. Empty: no MX records. */
  readonly mx?: readonly MxDescription[];
  /** Publish this policy; nothing when absent. */
  readonly sts?: StsDescription;
  /** Instead of the TXT record that `sts` makes; null: none. More strings: more records. */
  readonly stsTxt?: string | readonly string[] | null;
  /** How the policy host answers, over what `sts` makes. */
  readonly policy?: PolicyAnswer;
  /** `rua=` of a TLSRPT record. */
  readonly tlsRptRua?: string;
  /** `MX 0 .` */
  readonly nullMx?: boolean;
  /** TTL of all its records, in seconds; default 300. */
  readonly ttl?: number;
  /** DNSSEC: its answers carry the AD bit. */
  readonly secure?: boolean;
}

export interface PretendDomain {
  readonly name: string;
  /** In the order given. */
  readonly mx: readonly MxHost[];
  readonly policyHostName: string;
  /** All messages its MX hosts accepted for it. */
  readonly messages: readonly ReceivedMessage[];
  /** Publish a (new) policy: TXT record and policy text. */
  publishSts(sts: StsDescription, override?: PolicyAnswer): Promise<void>;
  /** Take TXT record and policy away. */
  withdrawSts(): void;
  /** Change how the policy host answers; over the policy published last. */
  changePolicyAnswer(override: PolicyAnswer): Promise<void>;
}

export class PretendInternet implements AsyncDisposable {
  readonly ca: TestCa;
  readonly dns: DnsServer;
  readonly policyHost: PolicyHost;
  readonly mxPort: number;
  readonly httpsPort: number;
  /** The first three octets, e.g. `127.31.7`. */
  readonly network: string;
  readonly #claims: readonly Server[];
  readonly #dir: TempDir = tempDir();
  readonly #hosts = new Map<string, MxHost>();
  #nextMx = FIRST_MX;
  #closed = false;

  /** @NOTE call startPretendInternet instead. */
  constructor(parts: Claimed & { ca: TestCa; dns: DnsServer; policyHost: PolicyHost }) {
    this.ca = parts.ca;
    this.dns = parts.dns;
    this.policyHost = parts.policyHost;
    this.network = parts.network;
    this.mxPort = parts.mxPort;
    this.httpsPort = parts.httpsPort;
    this.#claims = parts.claims;
    writeFileSync(this.caFile, this.ca.certPem);
  }

  /** PEM file of the root that signs all good certificates. */
  get caFile(): string {
    return this.#dir.file('ca.pem');
  }

  /** An address of this network where every connection is refused. */
  get deadAddress(): string {
    return `${this.network}.3`;
  }

  /**
   * The part of the relay's settings that makes it use this internet and nothing else. The
   * shape is that of stsrelay.yaml.
   */
  relaySettings() {
    return {
      dns: { servers: [this.dns.endpoint] },
      outbound: {
        port: this.mxPort,
        trustedCaFiles: [this.caFile],
        systemRoots: false,
        allowPrivateAddresses: true,
        ipFamilies: ['ipv4' as const],
      },
      security: { mtaSts: { httpsPort: this.httpsPort } },
    };
  }

  /** The MX host of this name, made when it is not there yet, with address records. */
  async mxHost(description: MxDescription, domain: DomainDescription = {}): Promise<MxHost> {
    const known = this.#hosts.get(description.host);
    if (known !== undefined) return known;
    if (this.#nextMx > LAST_MX) throw new Error('no address left; let domains share MX hosts');
    const address = `${this.network}.${this.#nextMx}`;
    this.#nextMx += 1;
    const { host: name, preference: _, certificate: asked = 'good', ...rest } = description;
    const { down, noAddress, tlsa, ...behaviour } = rest;
    const certificate =
      typeof asked === 'string' ? await this.ca.issueKind(asked, name, address) : asked;
    const host = new MxHost({
      name,
      address,
      port: this.mxPort,
      ...behaviour,
      ...(certificate === null ? {} : { certificate }),
    });
    this.#hosts.set(name, host);
    if (down !== true) await host.start();
    const options = { ttl: domain.ttl ?? 300, ad: domain.secure ?? false };
    this.dns.set(name, 'A', noAddress === true ? [] : [address], options);
    this.dns.set(name, 'AAAA', [], options);
    const records = tlsaRecords(tlsa, certificate);
    if (records !== undefined) {
      this.dns.set(`_${this.mxPort}._tcp.${name}`, 'TLSA', records, options);
    }
    return host;
  }

  /** Create a domain: DNS records, MX hosts, certificates, policy host. */
  async domain(name: string, description: DomainDescription = {}): Promise<PretendDomain> {
    const described = description.mx ?? [{ host: `mx.${name}` }];
    const mx: MxHost[] = [];
    for (const one of described) mx.push(await this.mxHost(one, description));
    const options = { ttl: description.ttl ?? 300, ad: description.secure ?? false };
    const records = described.map((one, i) => ({
      preference: one.preference ?? (i + 1) * 10,
      exchange: one.host,
    }));
    if (description.nullMx === true) {
      this.dns.set(name, 'MX', [{ preference: 0, exchange: '.' }], options);
    } else this.dns.set(name, 'MX', records, options);
    if (description.tlsRptRua !== undefined) {
      const text = `v=TLSRPTv1; rua=${description.tlsRptRua}`;
      this.dns.set(`_smtp._tls.${name}`, 'TXT', [text], options);
    }
    const domain = this.#handle({ name, mx, ttl: options.ttl });
    if (description.sts !== undefined) await domain.publishSts(description.sts, description.policy);
    else if (description.policy !== undefined) await domain.changePolicyAnswer(description.policy);
    if (description.stsTxt !== undefined) this.#setStsTxt(name, description.stsTxt, options.ttl);
    return domain;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([
      this.dns.close(),
      this.policyHost.close(),
      ...[...this.#hosts.values()].map((host) => host.close()),
      ...this.#claims.map((claim) => new Promise((resolve) => claim.close(resolve))),
    ]);
    this.#dir.remove();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #handle(parts: { name: string; mx: readonly MxHost[]; ttl: number }): PretendDomain {
    const { name, mx, ttl } = parts;
    const policyHostName = `mta-sts.${name}`;
    let published: PolicyAnswer = {};
    const serve = async (answer: PolicyAnswer): Promise<void> => {
      await this.policyHost.serve(policyHostName, answer);
      this.dns.set(policyHostName, 'A', [this.policyHost.address], { ttl });
      this.dns.set(policyHostName, 'AAAA', [], { ttl });
    };
    return {
      name,
      mx,
      policyHostName,
      get messages() {
        return mx.flatMap((host) =>
          host.messages.filter((message) =>
            message.recipients.some(({ address }) => domainOf(address) === name.toLowerCase()),
          ),
        );
      },
      publishSts: async (sts, override = {}) => {
        published = { body: policyText(sts, mx) };
        await serve({ ...published, ...override });
        this.#setStsTxt(name, `v=STSv1; id=${sts.id ?? '20260101T000000'};`, ttl);
      },
      withdrawSts: () => {
        this.dns.remove(`_mta-sts.${name}`);
        this.dns.remove(policyHostName);
        this.policyHost.forget(policyHostName);
      },
      changePolicyAnswer: (override) => serve({ ...published, ...override }),
    };
  }

  #setStsTxt(domain: string, texts: string | readonly string[] | null, ttl: number): void {
    const name = `_mta-sts.${domain}`;
    if (texts === null) this.dns.remove(name);
    else this.dns.set(name, 'TXT', typeof texts === 'string' ? [texts] : texts, { ttl });
  }
}

function domainOf(mailbox: string): string {
  return mailbox.slice(mailbox.lastIndexOf('@') + 1).toLowerCase();
}

/** The policy as a policy host serves it (RFC 8461 §3.2). */
export function policyText(sts: StsDescription, mx: readonly { readonly name: string }[]): string {
  const patterns = sts.mx ?? mx.map((host) => host.name);
  return [
    'version: STSv1',
    `mode: ${sts.mode ?? 'enforce'}`,
    ...patterns.map((pattern) => `mx: ${pattern}`),
    `max_age: ${sts.maxAge ?? 604_800}`,
    '',
  ].join('\r\n');
}

function tlsaRecords(
  tlsa: MxDescription['tlsa'],
  certificate: IssuedCertificate | null,
): readonly TlsaData[] | undefined {
  if (tlsa === undefined) return undefined;
  if (typeof tlsa !== 'string') return tlsa;
  const key = tlsa === 'match' && certificate !== null ? certificate.spki : 'another key';
  const digest = createHash('sha256').update(key).digest();
  return [{ usage: 3, selector: 1, matchingType: 1, certificate: digest }];
}

interface Claimed {
  readonly network: string;
  readonly mxPort: number;
  readonly httpsPort: number;
  readonly claims: readonly Server[];
}

/** A random network and two ports nobody uses there, held by listeners on its .254. */
async function claimNetwork(): Promise<Claimed> {
  for (let i = 0; i < 50; i += 1) {
    const network = `127.${randomInt(1, 255)}.${randomInt(0, 256)}`;
    const mxPort = randomPort();
    const httpsPort = randomPort();
    const claims: Server[] = [];
    for (const port of [mxPort, httpsPort]) {
      const claim = await tryListen(`${network}.254`, port);
      if (claim !== undefined) claims.push(claim);
    }
    if (claims.length === 2) return { network, mxPort, httpsPort, claims };
    for (const claim of claims) claim.close();
  }
  throw new Error('found no loopback network with two free ports');
}

/** Start an empty one: DNS and policy host listen, no domain exists. `caName`: of its root. */
export async function startPretendInternet(caName?: string): Promise<PretendInternet> {
  const claimed = await claimNetwork();
  const ca = await createCa(caName);
  const dns = await startDnsServer();
  const policyHost = await startPolicyHost({
    ca,
    address: `${claimed.network}.2`,
    port: claimed.httpsPort,
  });
  return new PretendInternet({ ...claimed, ca, dns, policyHost });
}
