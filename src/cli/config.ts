/**
 * `stsrelay config check | show | schema`: is the configuration valid, what is in effect, what
 * may be in it.
 */
import { stringify } from 'yaml';
import { loadSettings } from '../config/load.ts';
import { maskSecrets } from '../config/mask.ts';
import { formatWarning } from '../config/problems.ts';
import { toInput, toJsonSchema } from '../config/settings.ts';
import { type CliCommand, EXIT } from './command.ts';
import { problemsError, requireSettings } from './configuration.ts';
import { print, printError, printJson } from './terminal.ts';

const NO_FILE = 'no configuration file; the defaults hold';

export const configCheck: CliCommand = {
  usage: 'check',
  summary: 'validate the configuration; all problems at once, and warnings',
  run({ configFile, json }) {
    const loaded = loadSettings({ configFile });
    if (!json)
      for (const warning of loaded.warnings) printError(`warning: ${formatWarning(warning)}`);
    if (!loaded.ok) {
      const { message, facts, exitCode } = problemsError(loaded);
      if (json) printJson({ ok: false, ...facts, warnings: loaded.warnings });
      else printError(message);
      return exitCode;
    }
    const { file, warnings } = loaded;
    if (json) printJson({ ok: true, file: file ?? null, problems: [], warnings });
    else print(file === undefined ? NO_FILE : `${file} is valid`);
    return EXIT.done;
  },
};

export const configShow: CliCommand = {
  usage: 'show',
  summary: 'print the configuration in effect, defaults and environment included, secrets masked',
  run(invocation) {
    const { settings, file } = requireSettings(invocation);
    const shown = maskSecrets(toInput(settings));
    if (invocation.json) printJson(shown);
    else {
      const head = `# ${file ?? NO_FILE}`;
      print(`${head}\n${stringify(shown, { aliasDuplicateObjects: false }).trimEnd()}`);
    }
    return EXIT.done;
  },
};

export const configSchema: CliCommand = {
  usage: 'schema',
  summary: 'print a JSON Schema of the configuration file, for editors',
  notes: `
With the YAML language server, in the first line of the file:
  # yaml-language-server: $schema=./stsrelay.schema.json`,
  run() {
    printJson(toJsonSchema());
    return EXIT.done;
  },
};
