/**
 * The other side of Postfix's `smtpd_sasl_type = dovecot`: a password check on a loopback port that
 * speaks Dovecot's authentication protocol, as far as PLAIN and LOGIN need it. Knows one user.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

export interface SaslOptions {
  readonly user: string;
  readonly password: string;
  readonly mechanisms: readonly ('PLAIN' | 'LOGIN')[];
}

export interface SaslServer extends AsyncDisposable {
  /** For `smtpd_sasl_path`. */
  readonly path: string;
}

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** Start one on a free port. */
export async function startSasl(options: SaslOptions): Promise<SaslServer> {
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    serve(socket, options);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    path: `inet:127.0.0.1:${(listener.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => listener.close(() => resolve()));
    },
  };
}

function serve(socket: Socket, { user, password, mechanisms }: SaslOptions): void {
  const say = (...words: string[]) => socket.write(`${words.join('\t')}\n`);
  say('VERSION', '1', '1');
  for (const mechanism of mechanisms) say('MECH', mechanism, 'plaintext');
  say('SPID', '1');
  say('CUID', '1');
  say('COOKIE', '00112233445566778899aabbccddeeff');
  say('DONE');
  /** Of LOGIN, by request: the user's name, once it is there. */
  const names = new Map<string, string>();
  const judge = (id: string, isRight: boolean) => say(isRight ? 'OK' : 'FAIL', id, `user=${user}`);
  let heard = '';
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1');
    const lines = heard.split('\n');
    heard = lines.pop() ?? '';
    for (const line of lines) {
      const [command, id = '', what, ...more] = line.split('\t');
      const response = more.find((word) => word.startsWith('resp='))?.slice('resp='.length);
      if (command === 'AUTH' && what === 'PLAIN') {
        judge(id, response === base64(`\0${user}\0${password}`));
      } else if (command === 'AUTH') {
        say('CONT', id, base64('Username:'));
      } else if (command === 'CONT' && !names.has(id)) {
        names.set(id, what ?? '');
        say('CONT', id, base64('Password:'));
      } else if (command === 'CONT') {
        judge(id, names.get(id) === base64(user) && what === base64(password));
      }
    }
  });
}
