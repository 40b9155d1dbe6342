import { quantile } from '../../measure/statistics.ts';
import type { Entry, Ledger } from '../ledger.ts';
import type { UpstreamCalls } from '../upstream.ts';
import type { GpuAccidents, WorkerAccident } from './accidents.ts';
import type { ChatCounts } from './chats.ts';
import type { EngineCall } from './engine-call.ts';

/** What was seen of workers. */
export interface GpuEvidence {
  readonly calls: readonly EngineCall[];
  readonly accidents: GpuAccidents;
  readonly chats: ChatCounts;
  readonly leakedLeases: number;
}

/** From an accident to its end, in milliseconds. */
export interface Recovery {
  readonly count: number;
  readonly p50: number | null;
  readonly p99: number | null;
}

/** What became of the work of GPU workers. Calls and tokens are those of jobs, chat's left out. */
export interface GpuFindings {
  readonly workers: { readonly killed: number; readonly moved: number; readonly hung: number };
  readonly dispatchersFrozen: number;
  readonly calls: Readonly<Record<EngineCall['end'] | 'total', number>>;
  /** Answers that a worker sent to their end, and that were not committed. */
  readonly uncommittedAnswers: number;
  readonly tokens: {
    readonly generated: number;
    readonly generatedInVain: number;
    /** Of prompts: computed, not found in a cache. */
    readonly computed: number;
    readonly computedInVain: number;
  };
  /** From a worker's death to the next claim of each job that it was at, and to its end. */
  readonly workerDeath: { readonly claim: Recovery; readonly end: Recovery };
  /** From the death of a holder of jobs to the end of each. */
  readonly holderDeath: { readonly end: Recovery };
  readonly leakedLeases: number;
  readonly chats: Omit<ChatCounts, 'firstTokenMs'> & { readonly firstTokenMs: Recovery };
}

/**
 * Draws the conclusions.
 * @param accepted job numbers by id
 */
export function judgeGpu(
  { calls, accidents, chats, leakedLeases }: GpuEvidence,
  ledger: Pick<Ledger, 'entries' | 'killedAt'>,
  accepted: ReadonlyMap<string, number>,
): GpuFindings {
  const ofJobs = calls.filter(({ job }) => job !== undefined);
  const sum = (of: readonly EngineCall[], field: 'generatedTokens' | 'computedTokens') =>
    of.reduce((total, call) => total + call[field], 0);
  const ended = (end: EngineCall['end']) => ofJobs.filter((call) => call.end === end).length;
  const usages = [...ledger.entries.values()].flatMap(({ usage }) => usage ?? []);
  const [generated, computed] = [sum(ofJobs, 'generatedTokens'), sum(ofJobs, 'computedTokens')];
  const committed = usages.reduce(
    (total, { inputTokens, cachedTokens, outputTokens }) => ({
      generated: total.generated + outputTokens,
      computed: total.computed + inputTokens - cachedTokens,
    }),
    { generated: 0, computed: 0 },
  );
  const deaths = deathsOfWorkers(ofJobs, accidents.workers, ledger.entries, accepted);
  const { firstTokenMs, ...counts } = chats;
  return {
    workers: {
      killed: accidents.workers.filter(({ what }) => what === 'killed').length,
      moved: accidents.moved,
      hung: accidents.workers.filter(({ what }) => what === 'hung').length,
    },
    dispatchersFrozen: accidents.dispatchers.length,
    calls: { total: ofJobs.length, whole: ended('whole'), closed: ended('closed'), dead: ended('dead') },
    uncommittedAnswers: ended('whole') - usages.length,
    tokens: {
      generated,
      generatedInVain: generated - committed.generated,
      computed,
      computedInVain: computed - committed.computed,
    },
    workerDeath: {
      claim: recovery(deaths.flatMap(({ at, entry }) => msUntil(at, nextClaim(entry, at)))),
      end: recovery(deaths.flatMap(({ at, entry }) => msUntil(at, entry.endedAt))),
    },
    holderDeath: { end: recovery([...ledger.entries.values()].flatMap((entry) => holderDeaths(entry, ledger))) },
    leakedLeases,
    chats: { ...counts, firstTokenMs: recovery(firstTokenMs) },
  };
}

/** Whether every promise about workers was kept. */
export function isGpuClean({ leakedLeases, chats, uncommittedAnswers, tokens }: GpuFindings): boolean {
  const impossible = [uncommittedAnswers, tokens.generatedInVain, tokens.computedInVain].some((count) => count < 0);
  return leakedLeases + chats.wrong + chats.silent === 0 && !impossible;
}

/** What workers were asked, in the terms of an upstream. */
export function asUpstream(calls: readonly EngineCall[]): UpstreamCalls {
  const byJob = Map.groupBy(calls, ({ job }) => job);
  const counted = (of: readonly EngineCall[] = [], end: EngineCall['end']) =>
    of.filter((each) => each.end === end).length;
  return {
    calls: () => calls.length,
    counts: () => ({ whole: counted(calls, 'whole'), closed: counted(calls, 'closed'), dead: counted(calls, 'dead') }),
    of(job) {
      const own = byJob.get(job) ?? [];
      return { begun: own.length, cut: own.length - counted(own, 'whole') };
    },
  };
}

/** How many attempts of a job an accident spoiled: of its holder, or of a worker that it had asked. */
export function spoiledAttempts(
  { claims, endedAt }: Entry,
  calls: readonly EngineCall[],
  { workers, dispatchers }: GpuAccidents,
  { killedAt }: Pick<Ledger, 'killedAt'>,
): number {
  return claims.filter(({ by, at }, index) => {
    const next = claims[index + 1];
    const until = next?.at ?? endedAt ?? Number.POSITIVE_INFINITY;
    // A claim may be carried out when its sender is dead: what it claims next, it has lived to.
    if (next?.by !== by && (killedAt(by) ?? until) < until) return true;
    if (dispatchers.some((each) => each.requestId === by && each.at < until && each.until > at)) return true;
    return calls.some((call) => call.begunAt >= at && call.begunAt < until && isSpoiled(call, at, workers));
  }).length;
}

/**
 * A worker that hung notes what it was asked meanwhile, and sends what is left to who has long gone, when it goes on.
 * @param claimedAt the earliest that it can have been asked
 */
function isSpoiled(
  { end, start, endedAt = Number.POSITIVE_INFINITY }: EngineCall,
  claimedAt: number,
  accidents: readonly WorkerAccident[],
): boolean {
  if (end === 'dead') return true;
  return accidents.some(
    (each) => each.what === 'hung' && each.start === start && each.at <= endedAt && each.until >= claimedAt,
  );
}

/** Jobs that workers were at when they died, with the time. */
function deathsOfWorkers(
  calls: readonly EngineCall[],
  accidents: readonly WorkerAccident[],
  entries: Ledger['entries'],
  accepted: ReadonlyMap<string, number>,
): { readonly at: number; readonly entry: Entry }[] {
  const diedAt = new Map(accidents.filter(({ what }) => what === 'killed').map(({ start, at }) => [start, at]));
  const byJob = new Map([...accepted].map(([id, job]) => [job, entries.get(id)]));
  return calls.flatMap(({ start, end, begunAt, job = -1 }) => {
    const [at, entry] = [diedAt.get(start), byJob.get(job)];
    if (end !== 'dead' || at === undefined || entry === undefined) return [];
    // Else it was a late call of a job that had ended, or one of its number whose caller never heard of it.
    const isRunning = entry.claims.some((claim) => claim.at <= begunAt) && (entry.endedAt ?? at) >= at;
    return isRunning ? [{ at, entry }] : [];
  });
}

function nextClaim({ claims }: Entry, after: number): number | undefined {
  return claims.find(({ at }) => at >= after)?.at;
}

function holderDeaths({ claims, endedAt }: Entry, { killedAt }: Pick<Ledger, 'killedAt'>): number[] {
  return claims.flatMap(({ by, at }, index) => {
    const killed = killedAt(by);
    const until = claims[index + 1]?.at ?? endedAt;
    return killed === undefined || killed < at || until === undefined || killed > until ? [] : msUntil(killed, endedAt);
  });
}

function msUntil(from: number, until: number | undefined): number[] {
  return until === undefined ? [] : [until - from];
}

function recovery(values: readonly number[]): Recovery {
  if (values.length === 0) return { count: 0, p50: null, p99: null };
  return { count: values.length, p50: Math.round(quantile(values, 0.5)), p99: Math.round(quantile(values, 0.99)) };
}
