/**
 * An MX host that remembers nothing: the sessions of the scripted one (test/support), without
 * its records, so that tens of thousands of messages may come in one campaign.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { IssuedCertificate } from '../support/ca.ts';
import type { MxBehaviour, MxSessionRecord, Script } from '../support/mx-script.ts';
import { runMxSession } from '../support/mx-session.ts';

export interface MxListenerOptions {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly certificate: IssuedCertificate;
  readonly script: Script;
  /** STARTTLS is on offer; asked at each command. */
  readonly offersTls: () => boolean;
  /** Told of octets of message content that came in clear, when the session is over. */
  readonly onClearContent: (octets: number) => void;
  /** Told of what the client did against the rules. */
  readonly onMisconduct: (what: string) => void;
}

export class MxListener {
  readonly name: string;
  readonly #options: MxListenerOptions;
  readonly #context: SecureContext;
  readonly #sockets = new Set<Socket>();
  #listener: Server | undefined;
  #sessions = 0;

  constructor(options: MxListenerOptions) {
    const { certPem: cert, keyPem: key } = options.certificate;
    this.name = options.name;
    this.#options = options;
    this.#context = createSecureContext({ cert, key });
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async start(): Promise<void> {
    const { address: host, port } = this.#options;
    const listener = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen({ host, port, exclusive: true }, resolve);
    });
    this.#listener = listener;
  }

  async close(): Promise<void> {
    const listener = this.#listener;
    for (const socket of this.#sockets) socket.destroy();
    if (listener !== undefined)
      await new Promise<void>((resolve) => listener.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    this.#sessions += 1;
    const record = emptyRecord(this.#sessions, socket);
    socket.on('error', () => {});
    socket.setNoDelay(true);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      const { contentClear } = record.octets;
      if (contentClear > 0) this.#options.onClearContent(contentClear);
      for (const what of record.violations) this.#options.onMisconduct(what);
    });
    const { certificate, script } = this.#options;
    const behaviour = (): MxBehaviour => {
      const startTls = this.#options.offersTls() ? 'offered' : 'off';
      return { certificate, script, startTls };
    };
    void runMxSession({
      socket,
      hostName: this.name,
      record,
      behaviour,
      secureContext: () => this.#context,
      changed: () => forget(record),
      received: () => record.messages.splice(0, record.messages.length - 1),
    });
  }
}

/** What was said is of no interest. */
function forget({ commands, replies }: MxSessionRecord): void {
  commands.length = 0;
  replies.length = 0;
}

function emptyRecord(number: number, socket: Socket): MxSessionRecord {
  return {
    number,
    remoteAddress: socket.remoteAddress ?? '',
    remotePort: socket.remotePort ?? 0,
    helo: undefined,
    tls: undefined,
    tlsError: undefined,
    authenticatedAs: undefined,
    commands: [],
    replies: [],
    messages: [],
    violations: [],
    octets: { clear: 0, encrypted: 0, contentClear: 0, contentEncrypted: 0 },
    ended: false,
  };
}
