/**
 * Counts client connections, all together and per client, over all listeners.
 *
 * A connection over a limit still gets its `421`: behind implicit TLS that costs a handshake.
 * So only a few may be on the way to theirs; connections beyond those are dropped without a
 * word. What comes from a proxy counts for the client it says it is for, and not for the proxy.
 */
import { clientKey } from './client-key.ts';

export interface ConnectionLimits {
  readonly connections: number;
  readonly connectionsPerClient: number;
}

type Verdict = 'admitted' | 'refused' | 'dropped';

/** A connection's place; `release` gives it back, once however often it is called. */
export interface Ticket {
  readonly verdict: Verdict;
  release(): void;
}

/** A connection of a proxy, before and after it said for whom. */
export interface ProxiedTicket extends Ticket {
  /** It is for a client at this address: count it for that one, too. What it was is kept, or gets worse. */
  nameClient(clientAddress: string): void;
}

/** Connections over a limit that may be on the way to their 421 at the same time. */
const MAX_REFUSED_TOTAL = 100;
const MAX_REFUSED_PER_CLIENT = 10;

export class ConnectionCount {
  readonly #perClient = new Map<string, number>();
  readonly #changed: (open: number) => void;
  #limits: ConnectionLimits;
  #open = 0;

  /** `changed` is told the number of open connections whenever it changes. */
  constructor(limits: ConnectionLimits, changed: (open: number) => void) {
    this.#limits = limits;
    this.#changed = changed;
  }

  get open(): number {
    return this.#open;
  }

  /** Other limits from now on; connections that are open stay. */
  update(limits: ConnectionLimits): void {
    this.#limits = limits;
  }

  /** Count a connection that was just accepted. */
  admit(clientAddress: string): Ticket {
    const client = clientKey(clientAddress);
    const verdict = worse(this.#judgeTotal(), this.#judgeClient(client));
    if (verdict === 'dropped') return { verdict, release: () => {} };
    this.#count(client, 1);
    let held = true;
    const release = () => {
      if (held) this.#count(client, -1);
      held = false;
    };
    return { verdict, release };
  }

  /** Count a connection of a proxy among all; for its client when that is known. */
  admitProxied(): ProxiedTicket {
    let verdict = this.#judgeTotal();
    if (verdict === 'dropped') return { verdict, release: () => {}, nameClient: () => {} };
    let client: string | undefined;
    this.#count(client, 1);
    let held = true;
    return {
      get verdict() {
        return verdict;
      },
      release: () => {
        if (held) this.#count(client, -1);
        held = false;
      },
      nameClient: (clientAddress) => {
        if (!held || client !== undefined) return;
        client = clientKey(clientAddress);
        verdict = worse(verdict, this.#judgeClient(client));
        this.#countClient(client, 1);
      },
    };
  }

  #judgeTotal(): Verdict {
    return judge(this.#open - this.#limits.connections, MAX_REFUSED_TOTAL);
  }

  #judgeClient(client: string): Verdict {
    const open = this.#perClient.get(client) ?? 0;
    return judge(open - this.#limits.connectionsPerClient, MAX_REFUSED_PER_CLIENT);
  }

  #count(client: string | undefined, by: 1 | -1): void {
    this.#open += by;
    if (client !== undefined) this.#countClient(client, by);
    this.#changed(this.#open);
  }

  #countClient(client: string, by: 1 | -1): void {
    const count = (this.#perClient.get(client) ?? 0) + by;
    if (count > 0) this.#perClient.set(client, count);
    else this.#perClient.delete(client);
  }
}

/** `over`: connections there are, less those there may be. */
function judge(over: number, maxRefused: number): Verdict {
  if (over < 0) return 'admitted';
  return over >= maxRefused ? 'dropped' : 'refused';
}

function worse(one: Verdict, other: Verdict): Verdict {
  if (one === 'dropped' || other === 'dropped') return 'dropped';
  return one === 'refused' ? one : other;
}
