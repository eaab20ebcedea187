/**
 * The private keys of `dkim`, by signing domain. Each is read from its file when a message of its domain
 * comes, and looked at again every few seconds then: a changed file counts without a reload.
 *
 * A key that cannot be used any more (gone, half-written, not a key) is told once, and the one before
 * stays in use, as with the listeners' certificate. Where there was none before, the domain has no
 * key for now; that keeps no mail from going.
 */
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../platform/clock.ts';
import { createSecretFiles, type SecretRead } from '../platform/secret-file.ts';
import { MOST_KEY_OCTETS, parseSigningKey } from '../protocol/dkim/signing-key.ts';

/** An entry of `dkim`. */
export interface DkimSetting {
  readonly domain: string;
  readonly selector: string;
  readonly keyFile: string;
}

export interface SigningKey extends DkimSetting {
  readonly key: KeyObject;
}

export interface KeyEvents {
  /** A key cannot be used; `keeps`: the one that was read before stays in use. */
  keyFailed(facts: DkimSetting & { readonly reason: string; readonly keeps: boolean }): void;
  /** Another key is used from now on, or one again. */
  keyChanged(facts: DkimSetting): void;
}

/** How long a key is used without a look at its file. */
const LOOK_EVERY_MS = 5000;

export class KeyRing {
  readonly #clock: Clock;
  readonly #events: KeyEvents;
  readonly #read = createSecretFiles(parseSigningKey, MOST_KEY_OCTETS);
  #byDomain: ReadonlyMap<string, readonly WatchedKey[]> = new Map();

  constructor({ clock, events }: { readonly clock: Clock; readonly events: KeyEvents }) {
    this.#clock = clock;
    this.#events = events;
  }

  /** Entries to use from now on; what is known of those that stay is kept. */
  use(settings: readonly DkimSetting[]): void {
    const known = [...this.#byDomain.values()].flat();
    const parts = { read: this.#read, clock: this.#clock, events: this.#events };
    const byDomain = new Map<string, WatchedKey[]>();
    for (const setting of settings) {
      const key = known.find((one) => one.isOf(setting)) ?? new WatchedKey(setting, parts);
      byDomain.set(setting.domain, [...(byDomain.get(setting.domain) ?? []), key]);
    }
    this.#byDomain = byDomain;
  }

  get isEmpty(): boolean {
    return this.#byDomain.size === 0;
  }

  /** Whether there are entries for exactly this domain, in A-labels. */
  has(domain: string): boolean {
    return this.#byDomain.has(domain);
  }

  /** The keys of a domain that can be used now. */
  async keysOf(domain: string): Promise<readonly SigningKey[]> {
    const keys = this.#byDomain.get(domain) ?? [];
    return (await Promise.all(keys.map((key) => key.current()))).flatMap((key) => key ?? []);
  }
}

interface WatchParts {
  readonly read: (file: string) => Promise<SecretRead<KeyObject>>;
  readonly clock: Clock;
  readonly events: KeyEvents;
}

class WatchedKey {
  readonly #setting: DkimSetting;
  readonly #parts: WatchParts;
  #key: SigningKey | undefined;
  #failure: string | undefined;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  constructor({ domain, selector, keyFile }: DkimSetting, parts: WatchParts) {
    this.#setting = { domain, selector, keyFile };
    this.#parts = parts;
  }

  isOf({ domain, selector, keyFile }: DkimSetting): boolean {
    const own = this.#setting;
    return own.domain === domain && own.selector === selector && own.keyFile === keyFile;
  }

  async current(): Promise<SigningKey | undefined> {
    const age = this.#parts.clock.now() - this.#lookedAtMs;
    // A clock that was set back must not keep an old key in use.
    if (age < 0 || age >= LOOK_EVERY_MS) {
      this.#looking ??= this.#look();
      await this.#looking;
    }
    return this.#key;
  }

  async #look(): Promise<void> {
    const { read, clock, events } = this.#parts;
    const found = await read(this.#setting.keyFile);
    this.#looking = undefined;
    this.#lookedAtMs = clock.now();
    if (found.kind === 'failed') {
      const { reason } = found;
      if (reason === this.#failure) return;
      this.#failure = reason;
      events.keyFailed({ ...this.#setting, reason, keeps: this.#key !== undefined });
      return;
    }
    const hadFailed = this.#failure !== undefined;
    const isAnother = this.#key !== undefined && this.#key.key !== found.secret;
    this.#failure = undefined;
    this.#key = { ...this.#setting, key: found.secret };
    if (hadFailed || isAnother) events.keyChanged(this.#setting);
  }
}
