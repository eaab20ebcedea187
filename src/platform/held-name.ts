/**
 * A name that one process on this machine holds at a time: an address of an abstract socket
 * (unix(7)). The system gives it to one, and takes it back when that one ends, however it ends:
 * unlike a file it cannot be left behind. It is seen within one network namespace. Linux alone has
 * such addresses: on other systems everybody gets the name.
 *
 * Other users may hold any name they know: it should be one that they cannot know beforehand.
 */
import { createServer } from 'node:net';

export interface HeldName {
  letGo(): Promise<void>;
}

/** Hold `name`; undefined while another one, in this process or elsewhere, holds it. */
export async function holdName(name: string): Promise<HeldName | undefined> {
  if (process.platform !== 'linux') return { letGo: async () => {} };
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(`\0${name}`, () => {
      resolve({ letGo: () => new Promise((done) => server.close(() => done())) });
    });
  });
}
