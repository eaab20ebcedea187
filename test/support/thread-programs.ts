/**
 * Programs for session threads that do what a real one must never do. They are read from `data:`
 * addresses, so that a test says what its thread does beside it.
 */
/** The real one. */
export const realThread = new URL('../../src/delivery/threads/session-thread.ts', import.meta.url);

/** A thread that says nothing of its own; `code` has `port`, `threadId`, and `say(...messages)`. */
export function threadProgram(code: string): URL {
  return asModule(`
    import { parentPort as port, threadId } from 'node:worker_threads';
    const say = (...messages) => port.postMessage(messages);
    ${code}`);
}

/** The real one, and `code` for each message that `message` is, before it is heard. */
export function realProgram(code: string): URL {
  return asModule(`
    import { parentPort as port } from 'node:worker_threads';
    port.on('message', (messages) => {
      for (const message of messages) { ${code} }
    });
    await import(${JSON.stringify(realThread.href)});`);
}

function asModule(code: string): URL {
  return new URL(`data:text/javascript,${encodeURIComponent(code)}`);
}
