#!/usr/bin/env node
/**
 * The process entry: arguments in, exit code out. A Node.js that is too old is told so before anything is loaded
 * that it would not understand: npm only warns of it.
 */
const LEAST = [22, 19] as const;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < LEAST[0] || (major === LEAST[0] && minor < LEAST[1])) {
  const found = `this is ${process.versions.node} (${process.execPath})`;
  process.stderr.write(`stsrelay: Node.js ${LEAST.join('.')} or newer is needed, ${found}\n`);
  process.exit(2);
}
const { runCli } = await import('./cli/run.ts');

process.exit(await runCli(process.argv.slice(2)));
