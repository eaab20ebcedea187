#!/usr/bin/env node
/**
 * The process entry: arguments in, exit code out.
 */
import { runCli } from './cli/run.ts';

process.exit(await runCli(process.argv.slice(2)));
