/**
 * The walk of a delivery (delivery/deliver.ts) without a message. Every address of every candidate
 * is probed on its own, several at a time, in the modes a delivery would try; then the engine's
 * walk goes over what was found, in order, and ends where a delivery would end.
 */
import { deliver, type WalkSteps } from '../delivery/deliver.ts';
import type { Consignment, SessionPlan, SessionProbe } from '../delivery/session.ts';
import { newMessageId } from '../mail/message-id.ts';
import type { MxCandidate, Route } from '../mail/route.ts';
import type { SessionResult } from '../mail/session-result.ts';
import type { CandidateVerdict } from '../mail/tls-requirement.ts';
import { classify } from '../outcome/classify.ts';
import type { BindByDane } from '../policy/dane-policy.ts';
import type { CandidateAddresses } from '../routing/addresses.ts';
import { atMost } from './at-most.ts';
import type { AddressFacts } from './types.ts';

export interface ProbeParts {
  readonly requirementFor: (candidate: MxCandidate) => CandidateVerdict;
  readonly bindByDane?: BindByDane | undefined;
  /** Already looked up. */
  readonly addressesOf: (candidate: MxCandidate) => CandidateAddresses;
  /** Absent: nobody is connected to, and every session counts as one that would be tried. */
  readonly probe?: (plan: SessionPlan, signal: AbortSignal) => Promise<SessionProbe>;
}

export interface ProbedHosts {
  /** What was found at each address; empty without `probe`. */
  readonly addresses: ReadonlyMap<MxCandidate, readonly AddressFacts[]>;
  /** The sessions a delivery would have had. */
  readonly walk: readonly SessionResult[];
}

/** Connections at a time. */
const MOST_AT_ONCE = 8;
/** Of one candidate, as in a delivery. */
const MOST_ADDRESSES = 4;

/** Stands where a message would; there is none, and nothing ever opens it. */
const NO_MESSAGE: Consignment = {
  envelope: {
    id: newMessageId(0),
    reversePath: '',
    recipients: [{ address: '' }],
    receivedAtMs: 0,
    eightBitMime: false,
    smtpUtf8: false,
  },
  sizeBytes: 0,
  recipients: [0],
  openBody: () => Promise.reject(new Error('a check has no message')),
};

/** Probe the candidates of `route`; ends with `signal`. */
export async function probeHosts(
  route: Route,
  parts: ProbeParts,
  signal: AbortSignal,
): Promise<ProbedHosts> {
  const probeOnce = rememberProbes(parts.probe, signal);
  const steps: WalkSteps = {
    requirementFor: parts.requirementFor,
    bindByDane: parts.bindByDane,
    addressesOf: async (candidate) => parts.addressesOf(candidate),
    runSession: async (plan) => (await probeOnce(plan)).result,
    triesNextHost: (failure) => classify(failure).tryNextHost,
    onResult: () => {},
  };
  const addresses = new Map<MxCandidate, readonly AddressFacts[]>();
  if (parts.probe) {
    const each = route.candidates.map(async (candidate) => {
      addresses.set(
        candidate,
        await probeCandidate(route, candidate, { steps, probeOnce, signal }),
      );
    });
    await Promise.all(each);
  }
  // Without a deadline: what was not reached in time is known to be so.
  const walk = await deliver(route, NO_MESSAGE, { steps, signal: new AbortController().signal });
  return { addresses, walk };
}

interface Remembered {
  readonly probe: SessionProbe | undefined;
  readonly result: SessionResult;
}
type ProbeOnce = (plan: SessionPlan) => Promise<Remembered>;

/** The same plan is probed once, and a few plans at a time; never after the end of `signal`. */
function rememberProbes(probe: ProbeParts['probe'], signal: AbortSignal): ProbeOnce {
  const gate = atMost(MOST_AT_ONCE);
  const known = new Map<string, Promise<Remembered>>();
  return (plan) => {
    const key = keyOf(plan);
    const remembered =
      known.get(key) ??
      (probe
        ? gate(() => probe(plan, signal)).then((one) => ({ probe: one, result: asResult(one) }))
        : Promise.resolve({ probe: undefined, result: wouldBeTried(plan) }));
    known.set(key, remembered);
    return remembered;
  };
}

function keyOf({ candidate, address, mode }: SessionPlan): string {
  return [candidate.host ?? '', candidate.port, address, mode].join(' ');
}

/** A session over which a message could go counts as one that took it. */
function asResult({ facts, failure }: SessionProbe): SessionResult {
  return failure ? { kind: 'ended-early', facts, failure } : taken(facts);
}

function wouldBeTried({ candidate, address, requirement }: SessionPlan): SessionResult {
  return taken({ candidate, address, localAddress: undefined, requirement, tls: undefined });
}

function taken(facts: SessionResult['facts']): SessionResult {
  const reply = { code: 250, enhanced: undefined, text: 'no message was sent' };
  const recipients = new Map([[0, { kind: 'accepted', reply, dsnOffered: false } as const]]);
  return { kind: 'transacted', facts, recipients };
}

/** Each address of one candidate, as if it were the only one. */
async function probeCandidate(
  route: Route,
  candidate: MxCandidate,
  context: { steps: WalkSteps; probeOnce: ProbeOnce; signal: AbortSignal },
): Promise<readonly AddressFacts[]> {
  const { steps, probeOnce, signal } = context;
  const found = await steps.addressesOf(candidate, signal);
  if (found.kind === 'failed') return [];
  const one = { ...route, candidates: [candidate] };
  // A host outside the policy gets no mail; what else is wrong with it is worth knowing now.
  const { requirement } = steps.requirementFor(candidate);
  const probing = found.addresses.slice(0, MOST_ADDRESSES).map(async (address) => {
    const made: { plan: SessionPlan; remembered: Remembered }[] = [];
    const [result] = await deliver(one, NO_MESSAGE, {
      signal,
      steps: {
        ...steps,
        requirementFor: () => ({ kind: 'allowed', requirement }),
        addressesOf: async () => ({ ...found, addresses: [address] }),
        runSession: async (plan) => {
          const remembered = await probeOnce(plan);
          made.push({ plan, remembered });
          return remembered.result;
        },
      },
    });
    return result && made.length > 0 ? [addressFacts(address, result, made)] : [];
  });
  return (await Promise.all(probing)).flat();
}

function addressFacts(
  address: string,
  { facts, ...end }: SessionResult,
  made: readonly { plan: SessionPlan; remembered: Remembered }[],
): AddressFacts {
  const { tls, clearTextBecause } = facts;
  const certificate = made.findLast(({ remembered }) => remembered.probe?.certificate)?.remembered
    .probe?.certificate;
  return {
    address,
    mode: made.at(-1)?.plan.mode ?? 'full',
    ...(tls ? { tls } : {}),
    ...(certificate ? { certificate } : {}),
    ...(clearTextBecause ? { clearTextBecause } : {}),
    ...('failure' in end ? { failure: end.failure } : {}),
  };
}
