/**
 * `stsrelay version`.
 */
import { VERSION } from '../version.ts';
import { type CliCommand, EXIT } from './command.ts';
import { print, printJson } from './terminal.ts';

export const version: CliCommand = {
  usage: 'version',
  summary: 'print the version',
  run({ json }) {
    if (json) printJson({ version: VERSION, node: process.version });
    else print(`stsrelay ${VERSION} (Node.js ${process.version})`);
    return EXIT.done;
  },
};
