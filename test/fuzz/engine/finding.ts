/**
 * A promise that an input broke.
 */
export interface Finding {
  readonly target: string;
  /**
   * `thrown`: an error, or a broken promise; `slow`: it ended, too late; `hang`: it did not
   * end in time; `crash`: it ended the whole thread (an uncaught error, memory).
   */
  readonly kind: 'thrown' | 'slow' | 'hang' | 'crash';
  /** Findings with the same one have the same cause, most likely. */
  readonly signature: string;
  /** For people: the error with its stack, or what took how long. */
  readonly text: string;
  readonly input: Buffer;
}

/** The finding that an error is. */
export function findingOf(target: string, error: unknown, input: Buffer): Finding {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  const text = stack?.includes(message) ? stack : `${name}: ${message}\n${stack ?? ''}`;
  return { target, kind: 'thrown', signature: `${name} at ${placeIn(stack)}`, text, input };
}

/** Where it was thrown: in the sources, or at the check that failed. */
function placeIn(stack: string | undefined): string {
  const lines = (stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const ours = lines.find(
    (line) => /\/(?:src|test)\//.test(line) && !line.includes('node_modules'),
  );
  return /([\w.-]+:\d+):\d+\)?$/.exec(ours ?? lines[0] ?? '')?.[1] ?? 'an unknown place';
}
