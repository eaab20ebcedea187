/**
 * One SMTP session of a scripted MX host, from banner to close. Written straight down: read a
 * command, ask the script, else answer as RFC 5321 does, record everything. Strict about what
 * a client may do; what it did wrong is in `violations`.
 */
import { createHmac } from 'node:crypto';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type SecureContext, TLSSocket } from 'node:tls';
import {
  DEFAULT_KEYWORDS,
  type Ending,
  type MxBehaviour,
  type MxCommand,
  type MxSessionRecord,
  type Path,
  type ReceivedMessage,
  type ScriptedAnswer,
} from './mx-script.ts';
import { contentViolations, SmtpInput, unstuff } from './smtp-input.ts';

const CRLF = '\r\n';
/** Which EHLO keyword allows a parameter. */
const PARAM_NEEDS: Readonly<Record<string, string>> = {
  SIZE: 'SIZE',
  BODY: '8BITMIME',
  SMTPUTF8: 'SMTPUTF8',
  REQUIRETLS: 'REQUIRETLS',
  RET: 'DSN',
  ENVID: 'DSN',
  NOTIFY: 'DSN',
  ORCPT: 'DSN',
  AUTH: 'AUTH',
};

export interface MxSessionParts {
  readonly socket: Socket;
  readonly hostName: string;
  readonly record: MxSessionRecord;
  /** Read anew for each command: tests may change it during a session. */
  readonly behaviour: () => MxBehaviour;
  readonly secureContext: () => SecureContext | undefined;
  readonly changed: () => void;
  readonly received: (message: ReceivedMessage) => void;
}

/** Thrown to leave the session from anywhere; the socket has been dealt with. */
class SessionOver extends Error {}

export async function runMxSession(parts: MxSessionParts): Promise<void> {
  const session = new MxSession(parts);
  try {
    await session.run();
  } catch (error) {
    if (!(error instanceof SessionOver)) {
      parts.record.violations.push(`the MX host's script failed: ${String(error)}`);
    }
    if (!(error instanceof SessionOver)) parts.socket.destroy();
  }
}

class MxSession {
  readonly #parts: MxSessionParts;
  readonly #record: MxSessionRecord;
  readonly #raw: Socket;
  readonly #input: SmtpInput;
  #socket: Socket;
  #secure = false;
  #inContent = false;
  #extended = false;
  #mailFrom: Path | undefined;
  #recipients: Path[] = [];

  constructor(parts: MxSessionParts) {
    this.#parts = parts;
    this.#record = parts.record;
    this.#raw = parts.socket;
    this.#socket = parts.socket;
    this.#input = new SmtpInput((octets) => this.#count(octets.length));
  }

  async run(): Promise<void> {
    if (this.#behaviour.implicitTls === true) await this.#secureNow();
    else this.#input.attach(this.#socket);
    await this.#answer(this.#command('CONNECT', ''), `220 ${this.#parts.hostName} ESMTP`);
    for (;;) {
      const octets = await this.#input.readLine();
      if (octets === undefined) break;
      if (this.#input.readAhead > 0 && !this.#offers('PIPELINING')) {
        this.#violation('pipelined without PIPELINING');
      }
      const line = octets.toString('utf8');
      if (/[\r\n\0]/.test(line)) {
        this.#violation(`bare CR, LF or NUL in command: ${JSON.stringify(line)}`);
        await this.#reply('500 5.5.2 bare CR, LF or NUL');
        continue;
      }
      const [, verb = '', argument = ''] = /^(\S*) ?(.*)$/s.exec(line) ?? [];
      await this.#obey({ verb: verb.toUpperCase(), argument, line, overTls: this.#secure });
    }
  }

  get #behaviour(): MxBehaviour {
    return this.#parts.behaviour();
  }

  async #obey(command: MxCommand): Promise<void> {
    this.#record.commands.push(command);
    this.#parts.changed();
    switch (command.verb) {
      case 'EHLO':
      case 'HELO':
        return this.#hello(command);
      case 'STARTTLS':
        return this.#startTls(command);
      case 'AUTH':
        return this.#auth(command);
      case 'MAIL':
        return this.#mail(command);
      case 'RCPT':
        return this.#rcpt(command);
      case 'DATA':
        return this.#data(command);
      case 'RSET':
        await this.#answer(command, '250 2.0.0 Ok');
        this.#reset();
        return;
      case 'QUIT':
        await this.#answer(command, { reply: '221 2.0.0 Bye', ending: 'close' });
        return;
      case 'NOOP':
        await this.#answer(command, '250 2.0.0 Ok');
        return;
      default:
        await this.#answer(command, '500 5.5.2 Unknown command');
    }
  }

  async #hello(command: MxCommand): Promise<void> {
    if (command.argument === '') this.#violation(`${command.verb} without a name`);
    const lines = [this.#parts.hostName, ...this.#keywords()];
    const usual =
      command.verb === 'HELO'
        ? `250 ${this.#parts.hostName}`
        : lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}`).join(CRLF);
    if (!isPositive(await this.#answer(command, usual))) return;
    this.#record.helo = command.argument;
    this.#extended = command.verb === 'EHLO';
    this.#reset();
  }

  async #startTls(command: MxCommand): Promise<void> {
    const how = this.#startTlsMode();
    if (this.#secure) return void (await this.#answer(command, '503 5.5.1 TLS is on already'));
    if (how === 'off') return void (await this.#answer(command, '502 5.5.1 Not here'));
    if (how === 'refused') {
      return void (await this.#answer(command, '454 4.7.0 TLS not available now'));
    }
    if (how === 'reset') return void (await this.#answer(command, { ending: 'reset' }));
    // RFC 3207 §4.2: nothing may come behind STARTTLS before the reply to it.
    const ahead = this.#input.detach();
    if (ahead.length > 0) this.#violation(`${ahead.length} octets behind STARTTLS`);
    const { injectAfterStartTls: injected = '', injectApart = false } = this.#behaviour;
    const reply = await this.#answer(command, '220 2.0.0 Go ahead', injectApart ? '' : injected);
    if (!reply.startsWith('220')) return this.#input.attach(this.#socket);
    if (injectApart) await new Promise<void>((done) => this.#raw.write(injected, () => done()));
    if (how === 'hang' || how === 'garbage') {
      // Only once the ClientHello is there: sooner it would still count as clear text.
      if (how === 'garbage') this.#raw.once('data', () => this.#raw.write('no TLS\r\n'.repeat(20)));
      this.#raw.resume();
      return this.#hang();
    }
    await this.#secureNow();
    this.#record.helo = undefined;
    this.#extended = false;
    this.#reset();
  }

  async #secureNow(): Promise<void> {
    const secureContext = this.#parts.secureContext();
    if (secureContext === undefined) throw new Error('no certificate to start TLS with');
    const secure = new TLSSocket(this.#raw, { isServer: true, secureContext });
    secure.on('error', (error: NodeJS.ErrnoException) => {
      this.#record.tlsError ??= error.message;
      this.#parts.changed();
    });
    this.#socket = secure;
    const done = await new Promise<boolean>((resolve) => {
      secure.once('secure', () => resolve(true));
      secure.once('close', () => resolve(false));
    });
    if (!done) {
      this.#record.tlsError ??= 'the connection ended during the handshake';
      throw new SessionOver();
    }
    this.#secure = true;
    this.#record.tls = {
      version: secure.getProtocol(),
      cipher: secure.getCipher().name,
      serverName: (secure as { servername?: string | false }).servername || undefined,
      resumed: secure.isSessionReused(),
    };
    this.#parts.changed();
    this.#input.attach(secure);
  }

  async #auth(command: MxCommand): Promise<void> {
    const auth = this.#behaviour.auth;
    if (auth === undefined) return void (await this.#answer(command, '502 5.5.1 Not here'));
    if (this.#record.authenticatedAs !== undefined) this.#violation('AUTH twice');
    const [mechanism = '', initial] = command.argument.split(' ');
    const mechanisms = auth.mechanisms ?? ['PLAIN'];
    if (!mechanisms.some((known) => known === mechanism.toUpperCase())) {
      return void (await this.#answer(command, '504 5.5.4 No such mechanism'));
    }
    const isRight = await this.#hasProof(mechanism.toUpperCase(), initial, auth);
    const reply = await this.#answer(
      command,
      isRight ? '235 2.7.0 Welcome' : '535 5.7.8 Wrong user or password',
    );
    if (isPositive(reply)) this.#record.authenticatedAs = auth.user;
  }

  async #hasProof(
    mechanism: string,
    initial: string | undefined,
    { user, password }: { readonly user: string; readonly password: string },
  ): Promise<boolean> {
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    const ask = async (challenge: string) => {
      await this.#reply(`334 ${base64(challenge)}`);
      return (await this.#input.readLine())?.toString('latin1') ?? '';
    };
    if (mechanism === 'LOGIN') {
      const name = initial ?? (await ask('Username:'));
      return (await ask('Password:')) === base64(password) && name === base64(user);
    }
    if (mechanism === 'CRAM-MD5') {
      const challenge = `<1.2@${this.#parts.hostName}>`;
      const digest = createHmac('md5', password).update(challenge).digest('hex');
      return (await ask(challenge)) === base64(`${user} ${digest}`);
    }
    return (initial ?? (await ask(''))) === base64(`\0${user}\0${password}`);
  }

  async #mail(command: MxCommand): Promise<void> {
    const path = this.#path(command, /^FROM:<([^<>\s]*|"[^"]*"@[^<>\s]+)>(?: (.*))?$/i);
    const bad = this.#paramRefusal(path);
    let usual = '250 2.1.0 Ok';
    if (this.#record.helo === undefined) usual = '503 5.5.1 EHLO first';
    else if (this.#behaviour.auth !== undefined && this.#record.authenticatedAs === undefined) {
      usual = '530 5.7.0 Authentication required';
    } else if (this.#mailFrom !== undefined) usual = '503 5.5.1 One MAIL at a time';
    else if (path === undefined) usual = '501 5.5.4 Bad MAIL';
    else if (bad !== undefined) usual = bad;
    if (isPositive(await this.#answer(command, usual))) this.#mailFrom = path;
  }

  async #rcpt(command: MxCommand): Promise<void> {
    const path = this.#path(command, /^TO:<([^<>\s]+|"[^"]*"@[^<>\s]+)>(?: (.*))?$/i);
    let usual = '250 2.1.5 Ok';
    if (this.#mailFrom === undefined) usual = '503 5.5.1 MAIL first';
    else if (path === undefined) usual = '501 5.5.4 Bad RCPT';
    else usual = this.#paramRefusal(path) ?? usual;
    const reply = await this.#answer(command, usual);
    if (isPositive(reply) && path !== undefined) this.#recipients.push(path);
  }

  async #data(command: MxCommand): Promise<void> {
    const ready = this.#mailFrom !== undefined && this.#recipients.length > 0;
    const reply = await this.#answer(
      command,
      ready ? '354 End with a lone dot' : '503 5.5.1 RCPT first',
    );
    if (!reply.startsWith('354')) return;
    const during = this.#behaviour.duringContent;
    this.#inContent = true;
    const { complete, wire } = await this.#input.readContent((octets) =>
      during !== undefined && octets >= during.afterOctets ? 'stop' : 'go-on',
    );
    this.#inContent = false;
    if (!complete) {
      if (during === undefined) throw new SessionOver();
      if (during.ending !== 'hang') return this.#end(during.ending);
      this.#input.detach(); // what is not read fills the client's window
      return this.#hang();
    }
    for (const violation of contentViolations(wire)) this.#violation(violation);
    const message: ReceivedMessage = {
      mailFrom: this.#mailFrom ?? { address: '', params: [] },
      recipients: this.#recipients,
      data: unstuff(wire),
      helo: this.#record.helo ?? '',
      tls: this.#record.tls,
      session: this.#record,
      reply: undefined,
    };
    this.#reset();
    this.#record.messages.push(message);
    this.#parts.received(message);
    const queued = `250 2.0.0 Ok: queued as T${this.#record.number}-${this.#record.messages.length}`;
    await this.#answer(this.#command('.', ''), queued, '', (sent) => {
      message.reply = sent;
    });
  }

  /** Ask the script, else take the usual answer; send it. Returns the reply sent, or `''`. */
  async #answer(
    command: MxCommand,
    usual: string | ScriptedAnswer,
    behind = '',
    sending: (reply: string) => void = () => {},
  ): Promise<string> {
    const scripted = await this.#behaviour.script?.(this.#record, command);
    const plain = typeof usual === 'string' ? { reply: usual } : usual;
    let answer: ScriptedAnswer = plain;
    if (typeof scripted === 'string') answer = { reply: scripted };
    else if (scripted !== undefined) {
      answer = scripted.ending === undefined ? { ...plain, ...scripted } : scripted;
    }
    if (answer.delayMs !== undefined) await this.#pause(answer.delayMs);
    if (answer.reply !== undefined) {
      sending(answer.reply);
      await this.#reply(answer.reply, behind);
    }
    if (answer.ending !== undefined) await this.#end(answer.ending);
    return answer.reply ?? '';
  }

  async #reply(reply: string, behind = ''): Promise<void> {
    if (this.#socket.destroyed) throw new SessionOver();
    this.#record.replies.push(reply);
    const text = reply.endsWith(CRLF) ? reply : reply + CRLF;
    this.#socket.write(text + behind);
    this.#parts.changed();
  }

  async #end(how: Ending): Promise<never> {
    if (how === 'hang') return this.#hang();
    // Via the raw socket: a TLS socket has no reset of its own.
    if (how === 'reset') this.#raw.resetAndDestroy();
    else this.#socket.end();
    throw new SessionOver();
  }

  /** Say nothing more; the session ends when the client, or the test, closes the connection. */
  async #hang(): Promise<never> {
    if (!this.#raw.destroyed) {
      await new Promise<void>((resolve) => this.#raw.once('close', () => resolve()));
    }
    throw new SessionOver();
  }

  async #pause(ms: number): Promise<void> {
    const stop = new AbortController();
    const onClose = () => stop.abort();
    this.#raw.once('close', onClose);
    try {
      await sleep(ms, undefined, { signal: stop.signal });
    } catch {
      throw new SessionOver();
    } finally {
      this.#raw.off('close', onClose);
    }
  }

  #path(command: MxCommand, pattern: RegExp): Path | undefined {
    const match = pattern.exec(command.argument);
    if (match === null) {
      this.#violation(`bad ${command.verb}: ${command.line}`);
      return undefined;
    }
    return { address: match[1] ?? '', params: match[2]?.split(' ') ?? [] };
  }

  /** The refusal of a parameter that was not offered; undefined when all were. */
  #paramRefusal(path: Path | undefined): string | undefined {
    for (const param of path?.params ?? []) {
      const name = param.split('=')[0]?.toUpperCase() ?? '';
      const keyword = PARAM_NEEDS[name];
      if (this.#extended && keyword !== undefined && this.#offers(keyword)) continue;
      this.#violation(`parameter not offered: ${param}`);
      return `555 5.5.4 Parameter not offered: ${name}`;
    }
    return undefined;
  }

  #keywords(): string[] {
    const behaviour = this.#behaviour;
    const list = [...(behaviour.keywords ?? DEFAULT_KEYWORDS)];
    if (this.#secure) {
      if (behaviour.keywordsOverTls !== undefined)
        list.splice(0, list.length, ...behaviour.keywordsOverTls);
    } else if (!['off', 'hidden'].includes(this.#startTlsMode())) list.push('STARTTLS');
    if (behaviour.auth !== undefined && this.#secure) {
      list.push(`AUTH ${(behaviour.auth.mechanisms ?? ['PLAIN']).join(' ')}`);
    }
    return list;
  }

  #offers(keyword: string): boolean {
    return this.#keywords().some((line) => line.split(' ')[0]?.toUpperCase() === keyword);
  }

  #startTlsMode() {
    const behaviour = this.#behaviour;
    return behaviour.startTls ?? (behaviour.certificate === undefined ? 'off' : 'offered');
  }

  #command(verb: string, argument: string): MxCommand {
    return { verb, argument, line: verb, overTls: this.#secure };
  }

  #count(octets: number): void {
    const counts = this.#record.octets;
    if (this.#secure) counts.encrypted += octets;
    else counts.clear += octets;
    if (!this.#inContent) return;
    if (this.#secure) counts.contentEncrypted += octets;
    else counts.contentClear += octets;
  }

  #violation(what: string): void {
    this.#record.violations.push(what);
    this.#parts.changed();
  }

  #reset(): void {
    this.#mailFrom = undefined;
    this.#recipients = [];
  }
}

function isPositive(reply: string): boolean {
  return reply.startsWith('2');
}
