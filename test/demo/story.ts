/**
 * What the relay's log says about the mail to each domain, told in sentences: one story a domain,
 * which grows with every line of the log. Nothing is known here but the log. Pure.
 */
import type { LogLine } from '../support/relay-process.ts';

/** How a message stands; `noted` is something seen on the way. */
export type StepKind = 'taken' | 'noted' | 'delivered' | 'held' | 'bounced';

export interface Step {
  readonly kind: StepKind;
  /** In two or three words. */
  readonly brief: string;
  /** The whole sentence. */
  readonly text: string;
  readonly id?: string;
}

export class Stories {
  readonly #steps = new Map<string, Step[]>();
  /** Hosts that were passed over, by message: told when another one took it. */
  readonly #passedOver = new Map<string, string[]>();

  constructor(domains: readonly string[]) {
    for (const domain of domains) this.#steps.set(domain, []);
  }

  of(domain: string): readonly Step[] {
    return this.#steps.get(domain) ?? [];
  }

  /** How the last message to it stands. */
  last(domain: string): Step | undefined {
    return this.of(domain).findLast(({ kind }) => kind !== 'noted');
  }

  /** How many answers there were about a domain. */
  answers(domain: string): number {
    return this.of(domain).filter(({ kind }) => kind !== 'noted' && kind !== 'taken').length;
  }

  /** The relay took a message; the step that made, if the log has not told more of it by now. */
  taken(domain: string, id: string): Step | undefined {
    if (this.of(domain).some((step) => step.id === id)) return undefined;
    const step: Step = { kind: 'taken', brief: 'queued', text: `queued as ${id}`, id };
    this.#steps.get(domain)?.push(step);
    return step;
  }

  /** Another line of the log; the steps it made. */
  take(line: LogLine): readonly { readonly domain: string; readonly step: Step }[] {
    const { event, id = '', mx, reason } = line;
    if (event === 'delivery.session_failed') {
      this.#passedOver.set(id, [...(this.#passedOver.get(id) ?? []), `${mx}: ${reason}`]);
    }
    const domain = String(line['destination'] ?? line['domain']);
    const steps = this.#steps.get(domain);
    if (steps === undefined) return [];
    const made = this.#stepsOf(line, id);
    steps.push(...made);
    return made.map((step) => ({ domain, step }));
  }

  #stepsOf(line: LogLine, id: string): readonly Step[] {
    const passed = this.#passedOver.get(id) ?? [];
    switch (line.event) {
      case 'delivery.delivered':
        this.#passedOver.delete(id);
        return [
          ...passed.map((text) => note('next MX host', `passed over ${text}`)),
          { ...delivered(line), id },
        ];
      case 'delivery.deferred':
        this.#passedOver.delete(id);
        return [{ ...held(line), id }];
      case 'outcome.bounced':
        return [{ kind: 'bounced', brief: 'bounced', text: `bounced: ${line['reason']}`, id }];
      default:
        return noted(line);
    }
  }
}

/** What was wrong, and where. */
function withHost(mx: unknown, reason: unknown): string {
  return `${reason}`.includes(`${mx}`) ? `${reason}` : `${mx}: ${reason}`;
}

/** Without what stands in parentheses. */
function inShort(text: unknown): string {
  return `${text}`.replace(/ \(.*/, '');
}

function delivered(line: LogLine): Step {
  const { mx, tlsVersion, verdict } = line;
  const [, reached] = String(line['tls']).split(':');
  const over = `delivered to ${mx} over ${tlsVersion}`;
  if (reached === 'verified') {
    return {
      kind: 'delivered',
      brief: `delivered, verified ${tlsVersion}`,
      text: `${over}, verified: its certificate is valid and names it, as the policy asks`,
    };
  }
  if (reached === 'encrypted') {
    const why = verdict === undefined ? '' : ` (${inShort(verdict)})`;
    return {
      kind: 'delivered',
      brief: `delivered, encrypted ${tlsVersion}`,
      text: `${over}: encrypted, nobody knows with whom${why}`,
    };
  }
  return {
    kind: 'delivered',
    brief: 'delivered in clear text',
    text: `delivered to ${mx} in clear text: it has nothing better`,
  };
}

function held(line: LogLine): Step {
  const seconds = (Date.parse(String(line['nextAttempt'])) - Date.parse(String(line.time))) / 1000;
  const minutes = Math.round(seconds / 60);
  const next = seconds < 90 ? `${Math.round(seconds)} s` : `${minutes} min`;
  return {
    kind: 'held',
    brief: `waits: ${line['cause']}, tried again in ${next}`,
    text: `waits: ${withHost(line['mx'], line['reason'])}; tried again in ${next}`,
  };
}

function noted(line: LogLine): readonly Step[] {
  switch (line.event) {
    case 'policy.fetched':
      return [note(`policy fetched`, `policy fetched: ${line['mode']}, id ${line['id']}`)];
    case 'policy.record_gone':
      return [
        note(
          'record gone',
          `its MTA-STS record is gone; the policy kept from before stays in force`,
        ),
      ];
    case 'policy.downgrade_suspected':
      return [
        note(
          `downgrade noticed`,
          `downgrade noticed: ${line['signal']} (${inShort(line['detail'])})`,
        ),
      ];
    case 'report.failure_counted':
      return line['mode'] === 'testing'
        ? [note('counted', `counted for its TLS report: ${line['resultType']}`)]
        : [];
    default:
      return [];
  }
}

function note(brief: string, text: string): Step {
  return { kind: 'noted', brief, text };
}
