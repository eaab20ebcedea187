/**
 * Where the tour is shown. On a terminal the board is drawn in place while mail is under way, and
 * stays as a whole when it is over; anywhere else there are plain lines, in order, and nothing is
 * ever drawn over. Colours as the terminal and NO_COLOR want them.
 */
import { styleText } from 'node:util';
import { createLogUpdate } from 'log-update';
import {
  type BoardRow,
  briefBoard,
  commandLines,
  fullBoard,
  jsonLines,
  labelled,
  type Paint,
  paragraph,
  plainStep,
} from './layout.ts';
import type { Step } from './story.ts';

const FALLBACK_COLUMNS = 100;
const FRAME_MS = 80;
const REMARK = '    ';
const SPINNER = [...'⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'];

export class Screen {
  readonly #stdout = process.stdout;
  readonly #drawn = createLogUpdate(process.stdout);
  #isClosed = false;

  get isTerminal(): boolean {
    return this.#stdout.isTTY;
  }
  get columns(): number {
    return this.#stdout.columns || FALLBACK_COLUMNS;
  }
  readonly paint: Paint = (colour, text) => styleText(colour, text, { stream: this.#stdout });

  /** Lines as they are; nothing after `close`. */
  lines(lines: readonly string[]): void {
    if (!this.#isClosed) this.#stdout.write(lines.map((line) => `${line}\n`).join(''));
  }
  heading(text: string): void {
    this.lines(['', this.paint('bold', text), this.paint('dim', '─'.repeat(text.length))]);
  }
  say(text: string): void {
    this.lines(paragraph(text, this.columns));
  }
  /** Said below something, about it. */
  remark(text: string): void {
    const lines = paragraph(text, this.columns - REMARK.length);
    this.lines(lines.map((line) => REMARK + this.paint('dim', line)));
  }
  labelled(rows: readonly (readonly [label: string, text: string])[]): void {
    this.lines(labelled(rows, { columns: this.columns, paint: this.paint }));
  }
  /** A command line, before it is run. */
  command(words: readonly string[]): void {
    const [first = '', ...rest] = commandLines(words, this.columns);
    const prompt = `${this.paint('cyan', '$')} ${this.paint('bold', first)}`;
    this.lines(['', prompt, ...rest.map((line) => this.paint('bold', line))]);
  }
  json(value: unknown): void {
    this.lines(jsonLines(value, this.columns));
  }

  /** Say on a terminal what is waited for, until it is there. */
  async waiting<T>(text: string, work: Promise<T>): Promise<T> {
    if (!this.isTerminal) return work;
    return this.#animated((spinner) => `\n${this.paint('cyan', spinner)} ${text}`, work);
  }

  /** Show a board that changes until `work` is done. */
  async board<T>(rows: () => readonly BoardRow[], work: (view: BoardView) => Promise<T>) {
    if (!this.isTerminal) {
      const nameWidth = Math.max(...rows().map(({ domain }) => domain.length));
      const told = rows().filter(({ words }) => words !== '');
      this.lines(told.map(({ domain, words }) => `  ${domain.padEnd(nameWidth)}  ${words}`));
      return work({
        changed: (domain, step) => this.lines([plainStep(domain, step, nameWidth)]),
      });
    }
    return this.#drawnBoard(rows, work);
  }

  /** Nothing is shown any more; what is drawn stays. */
  close(): void {
    if (!this.#isClosed && this.isTerminal) this.#drawn.done();
    this.#isClosed = true;
  }

  async #drawnBoard<T>(rows: () => readonly BoardRow[], work: (view: BoardView) => Promise<T>) {
    const brief = (spinner: string) =>
      briefBoard(rows(), { columns: this.columns, paint: this.paint, spinner }).join('\n');
    try {
      // Drawn often enough without being told of changes.
      return await this.#animated(brief, work({ changed: () => {} }));
    } finally {
      this.lines(fullBoard(rows(), { columns: this.columns, paint: this.paint }));
    }
  }

  /** Draw again and again until `work` is done; then it is gone. */
  async #animated<T>(draw: (spinner: string) => string, work: Promise<T>): Promise<T> {
    let frame = 0;
    const drawNext = () => {
      if (!this.#isClosed) this.#drawn(draw(SPINNER[frame++ % SPINNER.length] ?? ''));
    };
    const timer = setInterval(drawNext, FRAME_MS);
    drawNext();
    try {
      return await work;
    } finally {
      clearInterval(timer);
      if (!this.#isClosed) {
        this.#drawn.clear();
        this.#drawn.done();
      }
    }
  }
}

export interface BoardView {
  /** A step was added to the story of a domain. */
  changed(domain: string, step: Step): void;
}
