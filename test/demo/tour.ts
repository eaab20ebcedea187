/**
 * The tour, act by act. Everything it shows of the relay comes from the relay: its log, its command
 * line, its /metrics.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogLine } from '../support/relay-process.ts';
import { describe, invite } from './around.ts';
import { type CommandLine, typed } from './command-line.ts';
import type { BoardRow } from './layout.ts';
import { shownMetrics } from './metrics-shown.ts';
import { POSTURES } from './postures.ts';
import type { Screen } from './screen.ts';
import type { Stage } from './stage.ts';
import { Stories } from './story.ts';

export interface TourParts {
  readonly screen: Screen;
  readonly stage: Stage;
  readonly commands: CommandLine;
  readonly signal: AbortSignal;
}

interface Board {
  readonly domains: readonly string[];
  readonly rows: () => readonly BoardRow[];
}

/** What goes on while a board is shown. */
interface Mail {
  /** Hand over a message. */
  send(domain: string): Promise<void>;
  /** Until there were so many answers about each domain. */
  follow(wanted: (domain: string) => number): Promise<void>;
}

const DOMAINS = POSTURES.map(({ domain }) => domain);
/** What an administrator lets pass, and why. */
const EXCEPTION = [
  ...['expired.example', '--tls', 'encrypt', '--for', '2h', '--owner', 'ops@company.example'],
  ...['--reason', 'their certificate expired, ticket 123'],
];
/** On a terminal messages are handed in one after the other, slowly enough to be followed. */
const PACE_MS = 250;
const ATTACKED = 'attacked.example';
const REPORTED = 'testing.example';

export class Tour {
  readonly #parts: TourParts;
  #stories = new Stories(DOMAINS);
  #linesTaken = 0;

  constructor(parts: TourParts) {
    this.#parts = parts;
  }

  /** All acts. Rejects when the relay ends, or does not do its part within some minutes. */
  async run(): Promise<void> {
    describe(this.#parts.screen, this.#parts.stage);
    await this.#eightMessages();
    await this.#whyOneWaits();
    await this.#administrator();
    await this.#metrics();
    await this.#report();
  }

  /** Everything as it was at the beginning, to be played with; until the end. */
  async stayUp(): Promise<never> {
    const { screen, stage } = this.#parts;
    screen.heading('Once more from the beginning');
    screen.say('The exception goes, the domains are as they were, and each gets another message.');
    await stage.attack.rewind();
    await this.#show(['override', 'remove', 'expired.example']);
    this.#stories = new Stories(DOMAINS);
    await this.#board(this.#all, async ({ send, follow }) => {
      for (const domain of DOMAINS) await send(domain);
      await follow(() => 1);
    });
    await invite(screen, stage);
    return Promise.withResolvers<never>().promise;
  }

  async #eightMessages(): Promise<void> {
    const { screen, stage } = this.#parts;
    screen.heading('Eight messages to eight domains');
    await this.#board(this.#all, async ({ send, follow }) => {
      const all = follow((domain) => (domain === ATTACKED ? 2 : 1));
      all.catch(() => {}); // it is waited for below, unless something else goes wrong
      for (const domain of DOMAINS) {
        await send(domain);
        await this.#pause();
      }
      await follow((domain) => (domain === ATTACKED ? 1 : 0));
      stage.attack.begin();
      await send(ATTACKED);
      await all;
    });
  }

  async #whyOneWaits(): Promise<void> {
    const { screen } = this.#parts;
    screen.heading('Why does a message wait, and until when?');
    await this.#show(['queue', 'list']);
    const id = this.#stories.last('expired.example')?.id;
    if (id !== undefined) await this.#show(['queue', 'show', id]);
  }

  async #administrator(): Promise<void> {
    const { screen, stage } = this.#parts;
    screen.heading('What an administrator can do');
    screen.say(
      'An exception for the partner whose certificate expired: encrypted is enough, for two hours, and everybody can see why.',
    );
    await this.#show(['override', 'add', ...EXCEPTION]);
    await this.#show(['queue', 'retry', '--domain', 'expired.example']);
    await this.#followOne('expired.example');
    screen.lines(['']);
    screen.say(
      'Meanwhile the attacker is gone from the hosts of attacked.example, though not from its DNS, and outside.example has mended its MX record.',
    );
    stage.attack.endAtTheHosts();
    await stage.attack.mendOutside();
    await this.#show(['queue', 'retry', '--state', 'delayed']);
    await this.#followOne('outside.example', 'attacked.example');
    await this.#show(['queue', 'list']);
  }

  async #metrics(): Promise<void> {
    const { screen, stage } = this.#parts;
    screen.heading('What Prometheus sees');
    screen.command(['curl', '-s', `http://127.0.0.1:${stage.relay.httpPort}/metrics`]);
    screen.say('Six lines of it:');
    for (const { line, sentence } of shownMetrics(await stage.relay.metrics())) {
      screen.lines([line]);
      screen.remark(sentence);
    }
  }

  async #report(): Promise<void> {
    const { screen, commands } = this.#parts;
    screen.heading('The TLS reports that go out after midnight UTC');
    screen.say(
      'Each domain that publishes a TLSRPT record gets its own, by mail with a DKIM signature. What today comes to so far:',
    );
    await this.#show(['tlsrpt', 'show', '--day', 'today']);
    const args = ['tlsrpt', 'show', REPORTED, '--day', 'today', '--json'];
    screen.command(typed(args));
    screen.json(await commands.read(args));
  }

  async #show(args: readonly string[]): Promise<void> {
    this.#parts.screen.command(typed(args));
    await this.#parts.commands.show(args);
  }

  /** Until there is one answer more for each of these than was shown; only what is new is told. */
  async #followOne(...domains: readonly string[]): Promise<void> {
    const told = new Map(domains.map((domain) => [domain, this.#stories.of(domain).length]));
    const answers = new Map(domains.map((domain) => [domain, this.#stories.answers(domain)]));
    const rows = () =>
      domains.map((domain) => {
        const steps = this.#stories.of(domain).slice(told.get(domain));
        return { domain, words: '', steps, last: steps.findLast(({ kind }) => kind !== 'noted') };
      });
    const work = ({ follow }: Mail) => follow((domain) => (answers.get(domain) ?? 0) + 1);
    await this.#board({ domains, rows }, work);
  }

  /** A board of these domains while `work` goes on. */
  async #board({ domains, rows }: Board, work: (mail: Mail) => Promise<void>): Promise<void> {
    const { screen, stage } = this.#parts;
    await screen.board(rows, ({ changed }) => {
      const look = (lines: readonly LogLine[]) => {
        for (const line of lines.slice(this.#linesTaken)) {
          for (const { domain, step } of this.#stories.take(line)) changed(domain, step);
        }
        this.#linesTaken = lines.length;
      };
      return work({
        send: async (domain) => {
          const step = this.#stories.taken(domain, await stage.send(domain));
          if (step) changed(domain, step);
        },
        follow: (wanted) =>
          stage.watch('the answers about all messages', (lines) => {
            look(lines);
            return domains.every((domain) => this.#stories.answers(domain) >= wanted(domain));
          }),
      });
    });
  }

  /** All of them, with everything that is known. */
  get #all(): Board {
    const rows = () =>
      POSTURES.map(({ domain, words }) => ({
        ...{ domain, words },
        steps: this.#stories.of(domain),
        last: this.#stories.last(domain),
      }));
    return { domains: DOMAINS, rows };
  }

  async #pause(): Promise<void> {
    const { screen, signal } = this.#parts;
    if (screen.isTerminal) await sleep(PACE_MS, undefined, { signal });
  }
}
