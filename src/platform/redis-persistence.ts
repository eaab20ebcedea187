/**
 * Keeps a private Redis at work on a full disk. One that cannot append to its file refuses every
 * write (MISCONF), and with that the queue would stand still until somebody makes room, though
 * the spool has everything that Redis knows. So its append-only file is turned off at the first
 * error and on again, written anew, when there is room. A Redis that dies in between starts from what
 * was last on disk, and the queue is put right from the spool as after any loss.
 */
import { statfs } from 'node:fs/promises';
import { connect } from 'node:net';

/** Free disk that an append-only file is begun with. */
export const ROOM_OCTETS = 16 * 1024 * 1024;
const LOOK_EVERY_MS = 1000;
/** When there was room, and something else is wrong with the disk. */
const TRY_AGAIN_MS = 60_000;
const ANSWER_MS = 2000;
const MOST_OCTETS = 64 * 1024;

export interface PersistenceEvents {
  /** Nothing is written below `directory` until there is room again. */
  persistenceOff(directory: string, reason: string): void;
  persistenceOn(directory: string): void;
}

export class RedisPersistence {
  readonly #parts: {
    readonly directory: string;
    readonly socketPath: string;
    readonly events: PersistenceEvents;
  };
  #isOff = false;
  #tryAgainAtMs = 0;
  #looking = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: { directory: string; socketPath: string; events: PersistenceEvents }) {
    this.#parts = parts;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), LOOK_EVERY_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Look now. Never rejects. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const state = persistenceOf(await askRedis(this.#parts.socketPath, 'INFO persistence'));
    if (state === 'failing') await this.#turnOff();
    else if (state === 'off') await this.#turnOnWithRoom();
    else if (state === 'on') this.#noteOn();
    this.#looking = false;
  }

  async #turnOff(): Promise<void> {
    const { directory, socketPath } = this.#parts;
    if (!(await this.#configure(socketPath, 'no'))) return;
    const isFull = !(await hasRoom(directory));
    if (!isFull) this.#tryAgainAtMs = performance.now() + TRY_AGAIN_MS;
    this.#noteOff(isFull ? 'the disk is full' : 'it cannot be written');
  }

  async #turnOnWithRoom(): Promise<void> {
    const { directory, socketPath } = this.#parts;
    if (performance.now() < this.#tryAgainAtMs) return;
    if (!(await hasRoom(directory))) this.#noteOff('the disk is full');
    else if (await this.#configure(socketPath, 'yes')) this.#noteOn();
  }

  async #configure(socketPath: string, appendonly: 'yes' | 'no'): Promise<boolean> {
    return (await askRedis(socketPath, `CONFIG SET appendonly ${appendonly}`)).startsWith('+OK');
  }

  #noteOff(reason: string): void {
    if (!this.#isOff) this.#parts.events.persistenceOff(this.#parts.directory, reason);
    this.#isOff = true;
  }

  #noteOn(): void {
    if (this.#isOff) this.#parts.events.persistenceOn(this.#parts.directory);
    this.#isOff = false;
  }
}

/** Whether there is room for an append-only file. */
export async function hasRoom(directory: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(directory).catch(() => ({ bavail: 0, bsize: 0 }));
  return bavail * bsize >= ROOM_OCTETS;
}

function persistenceOf(info: string): 'on' | 'off' | 'failing' | 'unknown' {
  if (/^aof_enabled:0\r$/m.test(info)) return 'off';
  if (!/^aof_enabled:1\r$/m.test(info)) return 'unknown';
  return /^aof_last_write_status:err\r$/m.test(info) ? 'failing' : 'on';
}

/** What Redis says to a command without spaces in its arguments; empty when it does not answer. */
export async function askRedis(socketPath: string, command: string): Promise<string> {
  const socket = connect(socketPath);
  const answer = await new Promise<string>((resolve) => {
    let text = '';
    socket.on('error', () => {}); // `close` follows
    socket.once('close', () => resolve(text));
    socket.setTimeout(ANSWER_MS, () => socket.destroy());
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      if (text.length > MOST_OCTETS) socket.destroy();
    });
    socket.once('connect', () => socket.write(`${command}\r\nQUIT\r\n`));
  });
  socket.destroy();
  return answer;
}
