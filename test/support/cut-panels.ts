/**
 * Cuts single panels out of the drawn dashboards (draw-dashboards.ts), for texts that show one graph:
 * `node test/support/cut-panels.ts`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cutPanel } from './board-picture.ts';
import { readBoards } from './dashboards.ts';

const PICTURES = new URL('../../docs/pictures/', import.meta.url);

/** Picture: dashboard and the title of the panel. */
const CUTS: Readonly<Record<string, readonly [board: string, title: string]>> = {
  'graph-flow': ['mail-flow', 'What comes in, and what becomes of it?'],
  'graph-deferred': ['mail-flow', 'Why is mail deferred?'],
  'graph-tls': ['tls-and-policy', 'What TLS was asked for, and what was reached?'],
};

for (const [picture, [name, title]] of Object.entries(CUTS)) {
  const board = readBoards().find(({ file }) => file === `${name}.json`);
  if (!board) throw new Error(`no dashboard ${name}`);
  const drawn = readFileSync(new URL(`${name}.svg`, PICTURES), 'utf8');
  writeFileSync(new URL(`${picture}.svg`, PICTURES), cutPanel(drawn, board.panels, title));
}
