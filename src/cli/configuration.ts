/**
 * The configuration as commands need it: loaded, or a CliError that shows every problem.
 */
import { type LoadResult, loadSettings } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';
import { CliError, EXIT, type Invocation } from './command.ts';

type Loaded = Extract<LoadResult, { ok: true }>;
type Refused = Extract<LoadResult, { ok: false }>;

/** The configuration in force. Throws CliError with all problems when there are some. */
export function requireSettings({ configFile }: Invocation): Loaded {
  const loaded = loadSettings({ configFile });
  if (loaded.ok) return loaded;
  throw problemsError(loaded);
}

/**
 * Where the running relay keeps its data: also when the configuration has become invalid since
 * it was started, as long as the file still says where.
 */
export function requireDataDir({ configFile }: Invocation): string {
  const loaded = loadSettings({ configFile });
  if (loaded.ok) return loaded.settings.dataDir;
  if (loaded.dataDir !== undefined) return loaded.dataDir;
  throw problemsError(loaded);
}

export function problemsError({ file, problems }: Refused): CliError {
  const lines = problems.map(formatProblem);
  const head = `the configuration has ${lines.length === 1 ? 'a problem' : `${lines.length} problems`}:`;
  return new CliError(EXIT.wrong, [head, ...lines].join('\n'), { file: file ?? null, problems });
}
