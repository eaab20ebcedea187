/**
 * The owner's end of the link: a unix socket that one receiving role at a time is connected to.
 * Its messages go into the queue (message-intake.ts); what else there is to say are
 * requests, which it answers, and news that it tells.
 *
 * Who connects has to introduce itself: a role of another protocol version, or one that
 * belongs to another relay process, is sent away with the reason.
 */
import { chmod, lstat, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '../platform/clock.ts';
import type { Submit } from '../queue/submit-port.ts';
import { LinkConnection, readValue } from './connection.ts';
import { FRAME, type Frame, FrameError } from './frame.ts';
import { MessageIntake } from './message-intake.ts';
import { NoAnswerError, Peer } from './peer.ts';

/** How a receiving role introduces itself. */
export interface Hello {
  readonly protocol: number;
  readonly pid: number;
  /** Process id of its supervisor; 0 without one. */
  readonly supervisor: number;
}

/** Changes with every change of the wire format or of a value that crosses the link. */
export const LINK_PROTOCOL = 2;

export interface LinkHostParts {
  /** Short enough for a socket; a file left behind is removed, so dataDir must be locked. */
  readonly path: string;
  readonly submit: Submit;
  readonly clock: Clock;
  /** Process id of our own supervisor; 0 without one. */
  readonly supervisor: number;
  /** A receiving role is there. */
  readonly up: (pid: number) => void;
  readonly down: (pid: number, reason: string) => void;
  /** It told something. */
  readonly told: (news: unknown) => void;
}

const HELLO_MS = 10_000;
/** Connections that have not introduced themselves yet. */
const MOST_CONNECTIONS = 8;

export class LinkHost {
  readonly #parts: LinkHostParts;
  readonly #server: Server;
  #peer: Peer | undefined;
  #gone: () => void = () => {};

  private constructor(parts: LinkHostParts) {
    this.#parts = parts;
    this.#server = createServer((socket) => this.#greet(socket));
    this.#server.maxConnections = MOST_CONNECTIONS;
    this.#server.on('error', () => {}); // of accept: the other side tries again
  }

  /** Listen, mode 0600. Rejects with the system's error. */
  static async open(parts: LinkHostParts): Promise<LinkHost> {
    const found = await lstat(parts.path).catch(() => undefined);
    if (found && !found.isSocket()) throw new Error(`${parts.path} is in the way: it is no socket`);
    await rm(parts.path, { force: true });
    const host = new LinkHost(parts);
    await new Promise<void>((listening, failed) => {
      host.#server.once('error', failed).listen(parts.path, listening);
    });
    await chmod(parts.path, 0o600);
    return host;
  }

  get isLinked(): boolean {
    return this.#peer !== undefined;
  }

  /** Ask the receiving role. Rejects with NoAnswerError. */
  async request(value: unknown, timeoutMs: number): Promise<unknown> {
    if (!this.#peer) throw new NoAnswerError('no receiving role is connected');
    return this.#peer.request(value, timeoutMs);
  }

  /** Resolves when the receiving role is gone; at once when there is none. */
  async untilGone(): Promise<void> {
    if (!this.#peer) return;
    await new Promise<void>((gone) => {
      this.#gone = gone;
    });
  }

  /** Take nothing new; resolves when what is under way has its answer. */
  async drain(): Promise<void> {
    await this.#peer?.messages.drain();
  }

  /** End the link and remove the socket. */
  async close(): Promise<void> {
    this.#server.close();
    this.#peer?.link.close('the delivering role ends');
    await rm(this.#parts.path, { force: true });
  }

  /** A connection: its first frame has to be a hello. */
  #greet(socket: Socket): void {
    const { clock } = this.#parts;
    let peer: Peer | undefined;
    const link = new LinkConnection(socket, {
      frame: (frame) => {
        if (peer) peer.take(frame);
        else peer = this.#introduce(link, helloOf(frame));
      },
      ended: (reason) => {
        cancel();
        if (peer) this.#ended(peer, reason);
      },
    });
    const cancel = clock.after(HELLO_MS, () => {
      if (!peer) link.close('no hello');
    });
  }

  #introduce(link: LinkConnection, hello: Hello): Peer | undefined {
    const { submit, clock, supervisor, told, up } = this.#parts;
    const refusal = this.#refuse(hello, supervisor);
    if (refusal !== undefined) {
      link.close(refusal);
      return undefined;
    }
    const messages = new MessageIntake(submit, link);
    this.#peer = new Peer({ link, messages, clock, told, pid: hello.pid });
    up(hello.pid);
    return this.#peer;
  }

  #refuse({ protocol, supervisor }: Hello, mine: number): string | undefined {
    if (protocol !== LINK_PROTOCOL) {
      return `it speaks version ${protocol} of the link, the delivering role ${LINK_PROTOCOL}: start both from one version of the program`;
    }
    const other = this.#peer
      ? `process ${this.#peer.pid} is the receiving role already`
      : undefined;
    if (supervisor === mine) return other;
    if (mine !== 0)
      return `${other ?? 'it has a receiving role of its own'}, of \`stsrelay start\`, process ${mine}`;
    return `process ${process.pid} delivers here on its own, not under \`stsrelay start\``;
  }

  #ended(peer: Peer, reason: string): void {
    if (this.#peer === peer) this.#peer = undefined;
    peer.ended(reason);
    this.#parts.down(peer.pid, reason);
    this.#gone();
  }
}

/** Throws FrameError. */
function helloOf(frame: Frame): Hello {
  if (frame.type !== FRAME.hello) throw new FrameError('something else than a hello');
  const { protocol, pid, supervisor } = (readValue(frame) ?? {}) as Partial<Hello>;
  const isHello = [protocol, pid, supervisor].every(Number.isSafeInteger);
  if (!isHello) throw new FrameError('a hello that is none');
  return { protocol, pid, supervisor } as Hello;
}
