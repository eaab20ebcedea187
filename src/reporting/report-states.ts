/**
 * What became of the reports of a day, on disk: a line for each change, the whole state of one domain's
 * report; the last one counts. What `put` returned for outlives a crash.
 *
 *   DAY.sent:  a ReportState a line (platform/line-file.ts)
 *
 * The days of the last week are kept in memory, older ones are read when somebody asks.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { MessageId } from '../mail/message-id.ts';
import { makeDirectory } from '../platform/durable-file.ts';
import { jsonOf, LineFile, readLines } from '../platform/line-file.ts';
import { type ReportState, reportStateForm } from './report-state.ts';

export interface ReportStatesEvents {
  /** Lines of a file could not be read. */
  damaged(file: string, lines: number): void;
}

type DayStates = Map<string, ReportState>;

/** Which report a mail carries. */
export interface MailedReport {
  readonly day: string;
  readonly state: ReportState;
}

export class ReportStates {
  readonly #directory: string;
  readonly #events: ReportStatesEvents;
  readonly #days = new Map<string, DayStates>();
  /** Day and domain of each mail. */
  readonly #mails = new Map<MessageId, readonly [day: string, domain: string]>();
  #open: { readonly day: string; readonly file: LineFile } | undefined;
  #working: Promise<unknown> = Promise.resolve();

  private constructor(directory: string, events: ReportStatesEvents) {
    this.#directory = directory;
    this.#events = events;
  }

  /** With the days from `since` on in memory. Rejects with the system's error. */
  static async open(
    directory: string,
    { since, events }: { readonly since: string; readonly events: ReportStatesEvents },
  ): Promise<ReportStates> {
    await makeDirectory(directory);
    const states = new ReportStates(directory, events);
    for (const day of await states.days()) {
      if (day < since) continue;
      const read = await states.#read(day);
      states.#days.set(day, read);
      for (const state of read.values()) states.#noteMails(day, state);
    }
    return states;
  }

  /** The days in memory, with what is known of their reports. */
  recent(): ReadonlyMap<string, ReadonlyMap<string, ReportState>> {
    return this.#days;
  }

  get(day: string, domain: string): ReportState | undefined {
    return this.#days.get(day)?.get(domain);
  }

  /** The report that a mail carries; undefined when it is none, or of long ago. */
  ofMail(id: MessageId): MailedReport | undefined {
    const [day = '', domain = ''] = this.#mails.get(id) ?? [];
    const state = this.get(day, domain);
    return state && { day, state };
  }

  /** All of a day. Rejects with the system's error. */
  async ofDay(day: string): Promise<ReadonlyMap<string, ReportState>> {
    return this.#days.get(day) ?? (await this.#read(day));
  }

  /** Holds in memory at once; durable when it returns. Rejects with the system's error. */
  put(day: string, state: ReportState): Promise<void> {
    const states = this.#days.get(day) ?? new Map<string, ReportState>();
    this.#days.set(day, states);
    states.set(state.domain, state);
    this.#noteMails(day, state);
    return this.#inTurn(async () => {
      if (this.#open?.day !== day) {
        await this.#letGo();
        this.#open = { day, file: await LineFile.open(this.#fileOf(day)) };
      }
      await this.#open.file.append([state]);
    });
  }

  /** The days that there are files of. */
  async days(): Promise<readonly string[]> {
    const names = await readdir(this.#directory);
    return names.flatMap((name) => /^(\d{4}-\d\d-\d\d)\.sent$/.exec(name)?.[1] ?? []).sort();
  }

  /** Forget the days before `oldest`, and have those before `since` on disk alone. */
  removeBefore(oldest: string, since: string): Promise<void> {
    for (const day of [...this.#days.keys()]) if (day < since) this.#days.delete(day);
    for (const [id, [day]] of [...this.#mails]) if (day < since) this.#mails.delete(id);
    return this.#inTurn(async () => {
      for (const day of await this.days()) {
        if (day >= oldest) continue;
        if (this.#open?.day === day) await this.#letGo();
        await rm(this.#fileOf(day), { force: true });
      }
    });
  }

  /** Never rejects. */
  async close(): Promise<void> {
    await this.#inTurn(() => this.#letGo()).catch(() => {});
  }

  #noteMails(day: string, { domain, targets }: ReportState): void {
    for (const { messageId } of targets) if (messageId) this.#mails.set(messageId, [day, domain]);
  }

  #inTurn<R>(work: () => Promise<R>): Promise<R> {
    const mine = this.#working.catch(() => {}).then(work);
    this.#working = mine;
    return mine;
  }

  async #letGo(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.file.close();
  }

  async #read(day: string): Promise<DayStates> {
    const states: DayStates = new Map();
    let damaged = 0;
    for (const line of await readLines(this.#fileOf(day))) {
      const { data } = reportStateForm.safeParse(jsonOf(line));
      if (data) states.set(data.domain, data);
      else damaged += 1;
    }
    if (damaged > 0) this.#events.damaged(this.#fileOf(day), damaged);
    return states;
  }

  #fileOf(day: string): string {
    return join(this.#directory, `${day}.sent`);
  }
}
