/**
 * The configuration, from where it stands to settings: find the file, read it, put the
 * environment's values in, check everything, complete what depends on the system.
 *
 * Never throws on what it reads: it returns settings and warnings, or all problems at once,
 * each with file, line, key, what was found and what was expected.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { applyEnvironment, type Environment, type EnvironmentOverrides } from './environment.ts';
import { byPlace, formatProblem, type Place, type Problem, type Warning } from './problems.ts';
import type { Settings, SettingsInput } from './settings.ts';
import { formatPath, type KeyPath } from './structure.ts';
import { findSystemDoubts } from './system-doubts.ts';
import { systemHostname } from './system-hostname.ts';
import { validate } from './validate.ts';
import { type ConfigText, MAX_FILE_BYTES, NOWHERE, readConfigText } from './yaml-file.ts';

export interface LoadOptions {
  /** The file named with `--config`; else the usual places are searched. */
  readonly configFile?: string | undefined;
  /** Environment variables; those of the process when absent. */
  readonly environment?: Environment;
  /** Where ./stsrelay.yaml is looked for; the working directory when absent. */
  readonly directory?: string;
  /** Milliseconds since the epoch, to tell which exceptions are over; now when absent. */
  readonly nowMs?: number;
}

export type LoadResult =
  | {
      readonly ok: true;
      readonly settings: Settings;
      /** The file that was read; undefined when there is none and the defaults hold. */
      readonly file: string | undefined;
      readonly warnings: readonly Warning[];
    }
  | {
      readonly ok: false;
      readonly file: string | undefined;
      readonly problems: readonly Problem[];
      /** Where a relay may be running all the same; undefined when the file does not say. */
      readonly dataDir: string | undefined;
      readonly warnings: readonly Warning[];
    };

const SYSTEM_FILE = '/etc/stsrelay/stsrelay.yaml';
const NO_FILE: ConfigText = { values: {}, problems: [], ...NOWHERE };

/** Load the configuration (product contract §4). */
export function loadSettings(options: LoadOptions = {}): LoadResult {
  const environment = options.environment ?? process.env;
  const file = findFile(options, environment);
  const read = file === undefined ? NO_FILE : readFile(file);
  const overrides = applyEnvironment(read.values, environment);
  const sources = { file, read, overrides };
  const placeOfWarning = (path: KeyPath) => placeOf(path, sources, read.lineWhereSaid);
  const validation = validate(overrides.values, {
    nowMs: options.nowMs ?? Date.now(),
    placeOf: (path) => placeOf(path, sources),
    placeOfWarning,
  });
  // Without the file's values, complaints and warnings about what is missing there would be noise.
  const isBroken = read.problems.length > 0;
  const fromValues = validation.problems.filter(({ source }) => !isBroken || source !== file);
  const problems = [...read.problems, ...overrides.problems, ...fromValues].sort(byPlace);
  const { settings, sections } = validation;
  const warnings = isBroken ? [] : validation.warnings;
  if (problems.length > 0 || settings === undefined) {
    const isKnown = !isBroken || overrides.variableOf(['dataDir']) !== undefined;
    const dataDir = isKnown ? sections.dataDir : undefined;
    return { ok: false, file, problems, dataDir, warnings: [...warnings].sort(byPlace) };
  }
  const complete = deepFreeze(completed(settings));
  const doubts = findSystemDoubts(complete).map(({ path, text }) => {
    return { ...placeOfWarning(path), text };
  });
  return { ok: true, settings: complete, file, warnings: [...warnings, ...doubts].sort(byPlace) };
}

/** Settings from values in the program itself (tests, mostly); throws with every problem in the message. */
export function settingsFrom(input: SettingsInput): Settings {
  const placeOfKey = (path: KeyPath) => ({ source: 'settings', key: formatPath(path) });
  const places = { placeOf: placeOfKey, placeOfWarning: placeOfKey };
  const { settings, problems } = validate(input, { nowMs: Date.now(), ...places });
  if (settings === undefined) throw new Error(problems.map(formatProblem).join('\n'));
  return deepFreeze(completed(settings));
}

function findFile({ configFile, directory = '.' }: LoadOptions, environment: Environment) {
  const named = configFile ?? environment['STSRELAY_CONFIG'];
  if (named !== undefined && named !== '') return named;
  return [join(directory, 'stsrelay.yaml'), SYSTEM_FILE].find((file) => existsSync(file));
}

function readFile(file: string): ConfigText {
  const problem = (found: string, expected: string): ConfigText => ({
    ...NO_FILE,
    problems: [{ source: file, key: '', found, expected }],
  });
  let descriptor: number | undefined;
  try {
    // Opening a FIFO without O_NONBLOCK would wait for somebody to write to it.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = fstatSync(descriptor);
    if (!facts.isFile()) return problem('no regular file', 'a YAML file');
    if (facts.size > MAX_FILE_BYTES) {
      return problem(`${facts.size} octets`, `at most ${MAX_FILE_BYTES} octets`);
    }
    return readConfigText(file, readFileSync(descriptor, 'utf8'));
  } catch (error) {
    return problem((error as NodeJS.ErrnoException).code ?? String(error), 'a readable file');
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

interface Sources {
  readonly file: string | undefined;
  readonly read: ConfigText;
  readonly overrides: EnvironmentOverrides;
}

function placeOf(path: KeyPath, { file, read, overrides }: Sources, lineOf = read.lineOf): Place {
  const key = formatPath(path);
  const variable = overrides.variableOf(path);
  if (variable !== undefined) return { source: variable, key };
  const line = lineOf(path);
  return { source: file ?? 'defaults', key, ...(line === undefined ? {} : { line }) };
}

/** Fill in what depends on the system or on another setting. */
function completed(settings: Settings): Settings {
  const hostname = settings.hostname === '' ? systemHostname() : settings.hostname;
  const heloName = settings.outbound.heloName === '' ? hostname : settings.outbound.heloName;
  return { ...settings, hostname, outbound: { ...settings.outbound, heloName } };
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const child of Object.values(value)) deepFreeze(child);
  return Object.freeze(value);
}
