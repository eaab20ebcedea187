/**
 * The zone data of the test DNS server: records by name and type, set and removed by tests
 * while the server runs, and how a recursive resolver would answer from them.
 */
import type { Answer, MxData, SoaData, SrvData, TlsaData } from 'dns-packet';

export interface RecordData {
  readonly A: string;
  readonly AAAA: string;
  readonly CNAME: string;
  readonly NS: string;
  readonly PTR: string;
  readonly MX: MxData;
  readonly SOA: SoaData;
  readonly SRV: SrvData;
  readonly TLSA: TlsaData;
  /** A string is cut into character-strings of 255 octets; an array is the character-strings. */
  readonly TXT: string | Buffer | readonly (string | Buffer)[];
}
export type RecordType = keyof RecordData;

export interface SetOptions {
  /** Default 300. */
  readonly ttl?: number;
  /** Answers with these records carry the AD bit. */
  readonly ad?: boolean;
}

interface RecordSet {
  readonly answers: readonly Answer[];
  readonly ad: boolean;
}

export interface ZoneAnswer {
  readonly rcode: 'NOERROR' | 'NXDOMAIN';
  readonly answers: readonly Answer[];
  readonly ad: boolean;
}

const MAX_CNAMES = 16;
const MAX_CHARACTER_STRING = 255;

export class DnsZone {
  readonly #names = new Map<string, Map<string, RecordSet>>();

  /** Replace the records of a name and type. None at all: the name exists, the type does not. */
  set<T extends RecordType>(
    name: string,
    type: T,
    records: readonly RecordData[T][],
    options: SetOptions = {},
  ): void {
    const key = canonical(name);
    const types = this.#names.get(key) ?? new Map<string, RecordSet>();
    const answers = records.map(
      (record) =>
        ({
          name: key,
          type,
          class: 'IN',
          ttl: options.ttl ?? 300,
          data: wireData(type, record),
        }) as Answer,
    );
    types.set(type, { answers, ad: options.ad ?? false });
    this.#names.set(key, types);
  }

  /** Remove one type of a name, or the whole name. */
  remove(name: string, type?: RecordType): void {
    const key = canonical(name);
    const types = this.#names.get(key);
    if (type === undefined || types === undefined) {
      this.#names.delete(key);
      return;
    }
    types.delete(type);
    if (types.size === 0) this.#names.delete(key);
  }

  /** Answer as a recursive resolver does: CNAMEs are followed and come with the answer. */
  resolve(name: string, type: string): ZoneAnswer {
    const chain: Answer[] = [];
    let ad = true;
    let current = canonical(name);
    for (let i = 0; i <= MAX_CNAMES; i += 1) {
      const types = this.#names.get(current);
      const direct = types?.get(type);
      if (direct !== undefined) {
        return {
          rcode: 'NOERROR',
          answers: [...chain, ...direct.answers],
          ad: ad && direct.ad,
        };
      }
      const cname = types?.get('CNAME');
      const link = cname?.answers[0];
      if (cname === undefined || link === undefined) {
        const rcode = this.#exists(current) ? 'NOERROR' : 'NXDOMAIN';
        return { rcode, answers: chain, ad: false };
      }
      chain.push(link);
      ad &&= cname.ad;
      current = canonical((link as { data: string }).data);
    }
    return { rcode: 'NOERROR', answers: chain, ad: false };
  }

  /** RFC 8020 §2: a name with anything below it exists. */
  #exists(name: string): boolean {
    if (this.#names.has(name)) return true;
    for (const other of this.#names.keys()) if (other.endsWith(`.${name}`)) return true;
    return false;
  }
}

/** Lower case, without the final dot. */
export function canonical(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

function wireData(type: RecordType, record: RecordData[RecordType]): unknown {
  if (type !== 'TXT') return record;
  const text = record as RecordData['TXT'];
  if (typeof text !== 'string' && !Buffer.isBuffer(text)) return [...text];
  const octets = Buffer.from(text);
  const strings: Buffer[] = [];
  for (let at = 0; at < octets.length; at += MAX_CHARACTER_STRING) {
    strings.push(octets.subarray(at, at + MAX_CHARACTER_STRING));
  }
  return strings.length === 0 ? [Buffer.alloc(0)] : strings;
}
