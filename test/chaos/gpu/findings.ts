import { computeQuantile } from '../../measure/statistics.ts';
import type { Entry, Ledger } from '../ledger.ts';
import type { UpstreamCalls } from '../upstream.ts';
import type { ChatCounts } from './chats.ts';
import type { EngineCall } from './engine-call.ts';
import type { InjectedGpuFaults, WorkerFault } from './fault-injection.ts';

/** Everything observed about workers in a run. */
export interface GpuEvidence {
  readonly calls: readonly EngineCall[];
  readonly faults: InjectedGpuFaults;
  readonly chats: ChatCounts;
  readonly leakedLeases: number;
}

/** Time from a fault to the recovery, in milliseconds. */
export interface Recovery {
  readonly count: number;
  readonly p50: number | null;
  readonly p99: number | null;
}

/** The conclusions about GPU workers. Calls and tokens are those of jobs, without chat. */
export interface GpuFindings {
  readonly workers: { readonly killed: number; readonly moved: number; readonly hung: number };
  readonly dispatchersFrozen: number;
  readonly calls: Readonly<Record<EngineCall['end'] | 'total', number>>;
  /** Complete answers of workers that were not committed. */
  readonly uncommittedAnswers: number;
  readonly tokens: {
    readonly generated: number;
    readonly wastedGenerated: number;
    /** Prompt tokens that were computed, not found in a cache. */
    readonly computed: number;
    readonly wastedComputed: number;
  };
  /** From a worker's death to the next claim and to the end of each of its jobs. */
  readonly workerDeath: { readonly claim: Recovery; readonly end: Recovery };
  /** From the death of a job's holder to the end of the job. */
  readonly holderDeath: { readonly end: Recovery };
  readonly leakedLeases: number;
  readonly chats: Omit<ChatCounts, 'firstTokenMs'> & { readonly firstTokenMs: Recovery };
}

/**
 * Derives the findings about workers.
 * @param accepted job numbers by id
 */
export function judgeGpu(
  { calls, faults, chats, leakedLeases }: GpuEvidence,
  ledger: Pick<Ledger, 'entries' | 'killedAt'>,
  accepted: ReadonlyMap<string, number>,
): GpuFindings {
  const ofJobs = calls.filter(({ job }) => job !== undefined);
  const sum = (of: readonly EngineCall[], field: 'generatedTokens' | 'computedTokens') =>
    of.reduce((total, call) => total + call[field], 0);
  const countEnded = (end: EngineCall['end']) => ofJobs.filter((call) => call.end === end).length;
  const usages = [...ledger.entries.values()].flatMap(({ usage }) => usage ?? []);
  const [generated, computed] = [sum(ofJobs, 'generatedTokens'), sum(ofJobs, 'computedTokens')];
  const committed = usages.reduce(
    (total, { inputTokens, cachedTokens, outputTokens }) => ({
      generated: total.generated + outputTokens,
      computed: total.computed + inputTokens - cachedTokens,
    }),
    { generated: 0, computed: 0 },
  );
  const deaths = findWorkerDeaths(ofJobs, faults.workers, ledger.entries, accepted);
  const { firstTokenMs, ...counts } = chats;
  return {
    workers: {
      killed: faults.workers.filter(({ kind }) => kind === 'killed').length,
      moved: faults.moved,
      hung: faults.workers.filter(({ kind }) => kind === 'hung').length,
    },
    dispatchersFrozen: faults.dispatchers.length,
    calls: { total: ofJobs.length, whole: countEnded('whole'), closed: countEnded('closed'), dead: countEnded('dead') },
    uncommittedAnswers: countEnded('whole') - usages.length,
    tokens: {
      generated,
      wastedGenerated: generated - committed.generated,
      computed,
      wastedComputed: computed - committed.computed,
    },
    workerDeath: {
      claim: summarizeRecovery(deaths.flatMap(({ at, entry }) => measureMsUntil(at, findNextClaim(entry, at)))),
      end: summarizeRecovery(deaths.flatMap(({ at, entry }) => measureMsUntil(at, entry.endedAt))),
    },
    holderDeath: {
      end: summarizeRecovery([...ledger.entries.values()].flatMap((entry) => measureHolderRecoveriesMs(entry, ledger))),
    },
    leakedLeases,
    chats: { ...counts, firstTokenMs: summarizeRecovery(firstTokenMs) },
  };
}

/** Returns true if no slot leaked, every chat got its own answer or an error in time, and no count is impossible. */
export function isGpuClean({ leakedLeases, chats, uncommittedAnswers, tokens }: GpuFindings): boolean {
  // A negative count means that an answer was committed that no worker sent.
  const impossible = [uncommittedAnswers, tokens.wastedGenerated, tokens.wastedComputed].some((count) => count < 0);
  return leakedLeases + chats.wrong + chats.unanswered === 0 && !impossible;
}

/** Returns the calls to workers in the form of calls to an upstream. */
export function toUpstreamEvidence(calls: readonly EngineCall[]): UpstreamCalls {
  const byJob = Map.groupBy(calls, ({ job }) => job);
  const countEnded = (of: readonly EngineCall[] = [], end: EngineCall['end']) =>
    of.filter((each) => each.end === end).length;
  return {
    calls: () => calls.length,
    counts: () => ({
      whole: countEnded(calls, 'whole'),
      closed: countEnded(calls, 'closed'),
      dead: countEnded(calls, 'dead'),
    }),
    countStreams(job) {
      const own = byJob.get(job) ?? [];
      return { started: own.length, cut: own.length - countEnded(own, 'whole'), tokens: 0, cutTokens: 0 };
    },
  };
}

/** Counts the attempts of a job that a fault of its holder or of its worker spoiled. */
export function countSpoiled(
  { claims, endedAt }: Entry,
  calls: readonly EngineCall[],
  { workers, dispatchers }: InjectedGpuFaults,
  { killedAt }: Pick<Ledger, 'killedAt'>,
): number {
  return claims.filter(({ invocation, at }, index) => {
    const next = claims[index + 1];
    const until = next?.at ?? endedAt ?? Number.POSITIVE_INFINITY;
    // A claim may arrive after its sender has died. If the same invocation also made the next claim, it was alive.
    if (next?.invocation !== invocation && (killedAt(invocation) ?? until) < until) return true;
    if (dispatchers.some((each) => each.requestId === invocation && each.at < until && each.until > at)) return true;
    return calls.some((call) => call.startedAt >= at && call.startedAt < until && isSpoiled(call, at, workers));
  }).length;
}

/**
 * Returns true if the worker died during the call or hung between the claim and the end of the call. When a hung worker
 * resumes, it accepts the requests that arrived meanwhile and sends to clients that have disconnected.
 * @param claimedAt the earliest time of the request
 */
function isSpoiled(
  { end, start, endedAt = Number.POSITIVE_INFINITY }: EngineCall,
  claimedAt: number,
  faults: readonly WorkerFault[],
): boolean {
  if (end === 'dead') return true;
  return faults.some(
    (each) => each.kind === 'hung' && each.start === start && each.at <= endedAt && each.until >= claimedAt,
  );
}

/** Finds the jobs whose worker died during their call, and the time of its death. */
function findWorkerDeaths(
  calls: readonly EngineCall[],
  faults: readonly WorkerFault[],
  entries: Ledger['entries'],
  accepted: ReadonlyMap<string, number>,
): { readonly at: number; readonly entry: Entry }[] {
  const diedAt = new Map(faults.filter(({ kind }) => kind === 'killed').map(({ start, at }) => [start, at]));
  const byJob = new Map([...accepted].map(([id, job]) => [job, entries.get(id)]));
  return calls.flatMap(({ start, end, startedAt, job = -1 }) => {
    const [at, entry] = [diedAt.get(start), byJob.get(job)];
    if (end !== 'dead' || at === undefined || entry === undefined) return [];
    // Otherwise it was a late call for an ended job, or a call for a duplicate job whose caller got no response.
    const isRunning = entry.claims.some((claim) => claim.at <= startedAt) && (entry.endedAt ?? at) >= at;
    return isRunning ? [{ at, entry }] : [];
  });
}

function findNextClaim({ claims }: Entry, after: number): number | undefined {
  return claims.find(({ at }) => at >= after)?.at;
}

function measureHolderRecoveriesMs({ claims, endedAt }: Entry, { killedAt }: Pick<Ledger, 'killedAt'>): number[] {
  return claims.flatMap(({ invocation, at }, index) => {
    const killed = killedAt(invocation);
    const until = claims[index + 1]?.at ?? endedAt;
    return killed === undefined || killed < at || until === undefined || killed > until
      ? []
      : measureMsUntil(killed, endedAt);
  });
}

function measureMsUntil(from: number, until: number | undefined): number[] {
  return until === undefined ? [] : [until - from];
}

function summarizeRecovery(values: readonly number[]): Recovery {
  if (values.length === 0) return { count: 0, p50: null, p99: null };
  return {
    count: values.length,
    p50: Math.round(computeQuantile(values, 0.5)),
    p99: Math.round(computeQuantile(values, 0.99)),
  };
}
