/**
 * One question to the configured servers: in order, in rounds, until one answers or the
 * deadline is over. A server that said no (SERVFAIL, REFUSED, nonsense) is not asked again;
 * one that said nothing is, with more patience each round.
 * Never throws; when nobody answered, the result says what became of each server.
 */
import { randomInt } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { withDeadline } from '../deadline.ts';
import type { Answer, Question, RecordKind, Unanswered } from './answer.ts';
import { answersQuery, encodeQuery, type Judgement, judgeResponse } from './message.ts';
import { formatServer, type ServerAddress } from './servers.ts';
import { type ExchangeResult, exchangeTcp, exchangeUdp } from './transport.ts';

/** One try at one server, for metrics and for `stsrelay check`. */
export interface QueryFacts {
  readonly server: string;
  readonly name: string;
  readonly type: RecordKind;
  /** `answer`, or why there was none. */
  readonly outcome: string;
  readonly durationMs: number;
}

export interface AskOptions {
  /** In the order they are asked. */
  readonly servers: readonly ServerAddress[];
  readonly clock: Clock;
  /** Patience with one server in the first round, the second, ...; the last one repeats. */
  readonly tryMs: readonly number[];
  readonly onQuery: (facts: QueryFacts) => void;
}

/** An answer and who gave it. */
export type Told<K extends RecordKind> = Answer<K> & { readonly server: ServerAddress };

/** Ask until somebody answers; `deadline` ends it. */
export async function askServers<K extends RecordKind>(
  question: Question<K>,
  options: AskOptions,
  deadline: AbortSignal,
): Promise<Told<K> | Unanswered> {
  const failures = new Map<ServerAddress, Unanswered>();
  let silent = options.servers;
  for (let round = 0; silent.length > 0; round++) {
    const waitMs = options.tryMs[round] ?? options.tryMs.at(-1) ?? 0;
    const stillSilent: ServerAddress[] = [];
    for (const server of silent) {
      if (deadline.aborted) return nobodyAnswered(failures, deadline);
      const startedMs = options.clock.now();
      const said = await withDeadline({ ...options, waitMs }, deadline, async (signal) => {
        const result = await askServer(question, server, signal);
        if (result.kind === 'failed' && signal.aborted) stillSilent.push(server);
        return result;
      });
      const outcome = said.kind === 'failed' ? said.reason : said.kind;
      const durationMs = options.clock.now() - startedMs;
      options.onQuery({ server: formatServer(server), ...question, outcome, durationMs });
      if (said.kind === 'answer') return { ...said, server };
      failures.set(server, said);
    }
    silent = stillSilent;
  }
  return nobodyAnswered(failures, deadline);
}

function nobodyAnswered(
  failures: ReadonlyMap<ServerAddress, Unanswered>,
  deadline: AbortSignal,
): Unanswered {
  const texts = [...failures].map(
    ([server, { reason }]) => `${reason} from ${formatServer(server)}`,
  );
  const bogus = [...failures.values()].some((one) => one.bogus) ? { bogus: true as const } : {};
  return { kind: 'failed', reason: texts.join(', ') || reasonOf(deadline.reason), ...bogus };
}

/** One server, and once more without EDNS where it answers FORMERR to it, as RFC 6891 §7 has it. */
async function askServer<K extends RecordKind>(
  question: Question<K>,
  server: ServerAddress,
  signal: AbortSignal,
): Promise<Answer<K> | Unanswered> {
  const said = await askOnce(question, { server, edns: true, signal });
  if (said.kind !== 'failed' || said.reason !== 'FORMERR') return said;
  return askOnce(question, { server, edns: false, signal });
}

interface Try {
  readonly server: ServerAddress;
  readonly edns: boolean;
  readonly signal: AbortSignal;
}

/** UDP, then TCP where the answer was truncated or somebody seems to be guessing ids. */
async function askOnce<K extends RecordKind>(
  question: Question<K>,
  { server, edns, signal }: Try,
): Promise<Answer<K> | Unanswered> {
  // RFC 5452 §9.2: an id nobody can guess, for each query anew.
  const query = encodeQuery(question, { id: randomInt(0x10000), edns });
  const judge = (bytes: Buffer) => judgeResponse(bytes, query, question);
  const accepts = (bytes: Buffer) => answersQuery(bytes, query);
  const exchange = { server, query, accepts, signal };
  const overUdp = judged(await exchangeUdp(exchange), judge);
  if (overUdp.kind === 'answer' || overUdp.kind === 'failed') return overUdp;
  const overTcp = judged(await exchangeTcp(exchange), judge);
  if (overTcp.kind === 'answer' || overTcp.kind === 'failed') return overTcp;
  return { kind: 'failed', reason: 'truncated answer over TCP' };
}

function judged<K extends RecordKind>(
  result: ExchangeResult,
  judge: (bytes: Buffer) => Judgement<K>,
): Judgement<K> | Exclude<ExchangeResult, { kind: 'message' }> {
  return result.kind === 'message' ? judge(result.bytes) : result;
}

/** What an aborted signal or a caught error says. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
