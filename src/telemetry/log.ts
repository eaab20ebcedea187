/**
 * The log: one JSON line an event on stdout, by pino. Stages don't write here themselves:
 * they call the functions of the *-events.ts files beside this, which write the log line and
 * the metric together.
 */
import { isatty } from 'node:tty';
import { type DestinationStream, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { isMessageId } from '../mail/message-id.ts';
import { unhidden } from '../protocol/quote.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  /** Write one event; `event` is `stage.event`, e.g. `delivery.deferred`. */
  write(level: LogLevel, event: string, fields?: LogFields): void;
  setLevel(level: LogLevel): void;
  /** The last warnings and errors but for what administrators did, oldest first, for the status screen. */
  recentTroubles(): readonly Trouble[];
  /** Lines that could not be written. */
  lostLines(): number;
  /** From now on lines about messages carry `trace_id`, where `traceIdOf` knows one. */
  nameTraces?(traceIdOf: (id: string) => string | undefined): void;
}

export interface Trouble {
  readonly time: string;
  readonly event: string;
  readonly text: string;
}

const TROUBLES_KEPT = 10;
const KEPT_OCTETS = 4 * 1024 * 1024;
/** After a write that failed. */
const AGAIN_MS = 100;
/** Characters that are written at once without waiting for the end of the turn. */
const WRITE_LENGTH = 64 * 1024;

export interface LogOptions {
  readonly level: LogLevel;
  /** `json`: one object a line, but text for people where stdout is a terminal; `pretty`: text always. */
  readonly format?: 'json' | 'pretty';
  /** Where the lines go; stdout when absent. */
  readonly destination?: DestinationStream;
}

/**
 * A log that writes JSON lines: `{"level":"info","time":"2026-…Z","event":"intake.accepted",…}`.
 * Fields that are undefined are left out.
 */
export function createLog(options: LogOptions): Log {
  const lines = { lost: 0 };
  const destination: Destination =
    options.destination ?? stdout(options.format, (count) => (lines.lost += count));
  const logger = pino(
    {
      level: options.level,
      base: null,
      timestamp: timeField,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  const troubles: Trouble[] = [];
  let traceIdOf: ((id: string) => string | undefined) | undefined;
  const traced = (event: string, { id }: LogFields) => {
    // The id of a policy is no message's.
    const isMessage = typeof id === 'string' && isMessageId(id) && !event.startsWith('policy.');
    const traceId = isMessage ? traceIdOf?.(id) : undefined;
    return traceId === undefined ? undefined : { trace_id: traceId };
  };
  return {
    write(level, event, fields = {}) {
      logger[level]({ event, ...fields, ...(traceIdOf && traced(event, fields)) });
      if (level !== 'error' && level !== 'warn') return;
      destination.flush?.();
      if (isWanted(event, fields)) return;
      const text = troubleText(fields);
      troubles.push({ time: new Date().toISOString(), event, text });
      if (troubles.length > TROUBLES_KEPT) troubles.shift();
    },
    recentTroubles: () => troubles,
    lostLines: () => lines.lost,
    setLevel(level) {
      logger.level = level;
    },
    nameTraces(of) {
      traceIdOf = of;
    },
  };
}

interface Destination extends DestinationStream {
  /** Write now what waits for the end of the turn. */
  flush?(): void;
}

/** Many lines are written within the same millisecond. */
let lastMs = Number.NaN;
let lastField = '';

function timeField(): string {
  const now = Date.now();
  if (now !== lastMs) {
    lastMs = now;
    lastField = `,"time":"${new Date(now).toISOString()}"`;
  }
  return lastField;
}

/**
 * Lines of one turn of the event loop go out in one synchronous write; warnings, errors and the
 * end of the process do not wait for that. So only a kill can take lines, and only those of its
 * last moment. When the disk is full, or the reader of a pipe gone or not reading, lines are kept and
 * tried again; what is more than KEPT_OCTETS is lost. It never costs the relay.
 */
function stdout(format: LogOptions['format'], lost: (lines: number) => void): Destination {
  const plain = pino.destination({
    fd: 1,
    sync: true,
    maxLength: KEPT_OCTETS,
    // A reader that stands still: by itself it would wait for it, and everything else with it.
    retryEAGAIN: () => false,
  } as Parameters<typeof pino.destination>[0]);
  let isTryDue = false;
  plain.on('error', () => {
    // It keeps the lines.
    if (isTryDue) return;
    isTryDue = true;
    setTimeout(() => {
      isTryDue = false;
      plain.write('');
    }, AGAIN_MS).unref();
  });
  plain.on('drop', (text: string) => {
    lost(text.split('\n').length - 1);
    plain.write(''); // by itself it tries again only with what it keeps
  });
  const isTerminal = isatty(1);
  if (format !== 'pretty' && !isTerminal) return inTurns(plain);
  const colorize = isTerminal && !process.env['NO_COLOR'];
  const prettify = prettyFactory({
    colorize,
    messageKey: 'event',
    translateTime: 'HH:MM:ss',
    singleLine: true,
  });
  return { write: (line) => plain.write(unhidden(prettify(line))) };
}

function inTurns(plain: DestinationStream): Destination {
  let text = '';
  const flush = () => {
    if (text !== '') plain.write(text);
    text = '';
  };
  process.on('exit', flush);
  return {
    write(line) {
      if (text === '') setImmediate(flush);
      text += line;
      if (text.length > WRITE_LENGTH) flush();
    },
    flush,
  };
}

/** For the status screen: what it is about, and what it says. */
function troubleText(fields: LogFields): string {
  const about = ABOUT.map((name) => fields[name]).find((value) => value !== undefined);
  const what =
    WHAT.map((name) => fields[name]).find((value) => value !== undefined) ??
    listed(fields['problems']) ??
    (fields['expires'] === undefined ? undefined : `ends ${fields['expires']}`);
  return [about, what].filter((part) => part !== undefined).join(': ');
}

const ABOUT = ['recipient', 'domain', 'site', 'destination', 'client', 'file', 'id', 'job'];
const WHAT = ['error', 'reason', 'failure', 'warning', 'detail'];

/** Mail that an administrator gave up: no trouble of the relay, and many lines at once. */
function isWanted(event: string, { cause }: LogFields): boolean {
  return event === 'outcome.dropped' || cause === 'bounced-by-administrator';
}

function listed(texts: unknown): string | undefined {
  return Array.isArray(texts) ? texts.join('; ') : undefined;
}
