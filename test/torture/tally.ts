/**
 * The figures of a campaign, per round and added up per disturbance, as text.
 */
import { COUNTS, type Counts } from './ledger-facts.ts';

export interface RoundFacts extends Counts {
  readonly round: number;
  readonly disturbance: string;
  /** Deliveries under way when it happened, as far as the log tells. */
  readonly inFlight: number;
  /** Recipients still without an end. */
  readonly waiting: number;
  readonly largestMiB: number;
  readonly durationMs: number;
}

const COLUMNS = [...COUNTS, 'inFlight'] as const;
const HEADINGS: Readonly<Record<(typeof COLUMNS)[number], string>> = {
  sent: 'sent',
  acknowledged: 'acked',
  refused: 'refused',
  unsure: 'unsure',
  delivered: 'deliv',
  bounced: 'bounced',
  duplicates: 'twice',
  refusedYetDelivered: 'ref+del',
  inFlight: 'flying',
};
const WIDTH = 8;
const NAME_WIDTH = 32;

export const PROGRESS_HEADING = `${'round disturbance'.padEnd(NAME_WIDTH + 5)}${headings()}${'waiting'.padStart(WIDTH)}${'MiB'.padStart(6)}${'s'.padStart(6)}`;

export function progressLine(facts: RoundFacts): string {
  const name = `${String(facts.round).padStart(4)} ${facts.disturbance.padEnd(NAME_WIDTH)}`;
  const rest = [
    String(facts.waiting).padStart(WIDTH),
    String(facts.largestMiB).padStart(6),
    (facts.durationMs / 1000).toFixed(1).padStart(6),
  ];
  return name + figures(facts) + rest.join('');
}

/** One line per disturbance, in the order of how often they came, and the sums. */
export function tallyTable(rounds: readonly RoundFacts[]): readonly string[] {
  const groups = Map.groupBy(rounds, ({ disturbance }) => disturbance);
  const rows = [...groups].sort(([, a], [, b]) => b.length - a.length);
  const line = (name: string, of: readonly RoundFacts[]) => {
    const longest = Math.max(0, ...of.map(({ durationMs }) => durationMs)) / 1000;
    const count = String(of.length).padStart(4);
    return `${count} ${name.padEnd(NAME_WIDTH)}${figures(sum(of))}${longest.toFixed(1).padStart(8)}`;
  };
  return [
    `${'   x disturbance'.padEnd(NAME_WIDTH + 5)}${headings()}${'longest'.padStart(WIDTH)}`,
    ...rows.map(([name, of]) => line(name, of)),
    line('all', rounds),
  ];
}

export function sum(rounds: readonly RoundFacts[]): Record<(typeof COLUMNS)[number], number> {
  const total = (name: (typeof COLUMNS)[number]) => rounds.reduce((all, one) => all + one[name], 0);
  return Object.fromEntries(COLUMNS.map((name) => [name, total(name)])) as ReturnType<typeof sum>;
}

function figures(facts: Record<(typeof COLUMNS)[number], number>): string {
  return COLUMNS.map((name) => String(facts[name]).padStart(WIDTH)).join('');
}

function headings(): string {
  return COLUMNS.map((name) => HEADINGS[name].padStart(WIDTH)).join('');
}
