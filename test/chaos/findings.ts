import type { Faults } from '../../local/faults/faults.ts';
import { computeQuantile } from '../measure/statistics.ts';
import type { InjectedFaults } from './fault-injection.ts';
import type { ResponseCheck, TableState } from './final-state.ts';
import { describeGpu } from './gpu/describe-findings.ts';
import {
  countSpoiled,
  type GpuEvidence,
  type GpuFindings,
  isGpuClean,
  judgeGpu,
  toUpstreamEvidence,
} from './gpu/findings.ts';
import {
  countKindViolations,
  describeKinds,
  judgeKinds,
  type KindEvidence,
  type KindFindings,
} from './kind-findings.ts';
import { mustComplete } from './kinds.ts';
import type { Ledger } from './ledger.ts';
import type { ChaosOptions } from './options.ts';
import type { Produced } from './producers.ts';
import type { Replies } from './replies.ts';
import type { UpstreamCalls } from './upstream.ts';

/** Everything observed in a run. */
export interface Evidence {
  readonly options: ChaosOptions;
  readonly seconds: number;
  readonly produced: Produced;
  readonly ledger: Ledger;
  readonly injected: InjectedFaults;
  readonly upstream: UpstreamCalls;
  readonly replies: Pick<Replies, 'answers' | 'received'>;
  readonly faults: ReturnType<Faults['counts']> | undefined;
  readonly table: TableState;
  readonly responses: ResponseCheck;
  readonly kinds: KindEvidence;
  /** Number of invocations that Lambda refused because they belonged to a recursive loop. */
  readonly stoppedChains: number;
  /** Present only if GPU workers ran the jobs instead of the upstream. */
  readonly gpu?: GpuEvidence | undefined;
}

/** The conclusions about all jobs. */
export interface Findings {
  readonly options: Omit<ChaosOptions, 'onProgress'>;
  readonly seconds: number;
  readonly jobsPerSecond: number;
  readonly accepted: { readonly begun: number; readonly total: number; readonly http: number; readonly queue: number };
  readonly completed: number;
  /** Accepted jobs that ended without completing, by status and error code. */
  readonly failed: Readonly<Record<string, number>>;
  /** Jobs that were accepted or created, and are not in the table. */
  readonly lost: number;
  /** Jobs that were accepted or created, and had not ended when the run stopped waiting. */
  readonly pending: number;
  /** Jobs with more than one terminal write, a change after their end, or two different answers. */
  readonly committedTwice: number;
  /** Answers committed by another invocation than the last one to claim the job. */
  readonly committedByOthers: number;
  /** Jobs that did not complete although fewer than three of their attempts were killed or cut. */
  readonly failedByThrottling: number;
  /** Accepted jobs that expired. */
  readonly expired: number;
  readonly kinds: KindFindings;
  /** Invocations that Lambda refused because they belonged to a recursive loop. */
  readonly stoppedChains: number;
  /** Tokens of the upstream for jobs that had to complete. Absent if GPU workers ran the jobs. */
  readonly tokens?: TokenCounts;
  /** Jobs whose end differs between ledger and table. */
  readonly disagreements: number;
  readonly responses: ResponseCheck;
  /** Ended jobs with incomplete completion steps. */
  readonly incompleteSteps: number;
  /** Messages that SQS lost before they became jobs, and that were sent again. */
  readonly forgottenByQueue: number;
  /** Jobs whose HTTP caller got no response and repeated the request. */
  readonly unclaimedJobs: number;
  readonly httpRefusals: number;
  readonly replies: { readonly received: number; readonly jobs: number };
  readonly modelCalls: { readonly total: number; readonly begun: number; readonly wasted: number };
  readonly upstream: Readonly<Record<string, number>>;
  readonly claims: number;
  readonly releases: number;
  readonly holdersKilled: number;
  readonly holdersFrozen: number;
  readonly holdersGone: number;
  readonly kills: InjectedFaults['kills'];
  readonly queueRestarts: number;
  readonly brownouts: InjectedFaults['brownouts'];
  readonly recoveryMs: { readonly count: number; readonly p50: number | null; readonly p99: number | null };
  readonly faults: Evidence['faults'];
  readonly gpu?: GpuFindings;
}

interface TokenCounts {
  readonly sent: number;
  /** Tokens of streams that the upstream itself cut. */
  readonly cut: number;
  /** The others that are in no committed answer. */
  readonly wasted: number;
}

/** A job may fail only after this many attempts. */
const MAX_ATTEMPTS = 3;
/** The largest share of tokens that may be wasted if no process is killed. */
const MAX_WASTED = 0.02;

/** Derives the findings from the evidence. */
export function judgeEvidence(evidence: Evidence): Findings {
  const { options, seconds, produced, ledger, injected, replies, table, responses, faults, gpu } = evidence;
  const upstream = gpu === undefined ? evidence.upstream : toUpstreamEvidence(gpu.calls);
  const spoiled = countSpoiledAttempts(evidence);
  const { onProgress: _, ...plainOptions } = options;
  const entries = [...ledger.entries.values()];
  const findEnd = (id: string) => ledger.entries.get(id)?.end;
  const ids = [...produced.accepted.keys()];
  const findStatus = (id: string) => table.statuses.get(id);
  const isOpen = (id: string) => ['queued', 'in_progress'].includes(findStatus(id) ?? '');
  // Including those whose caller got no response.
  const createdIds = [...new Set([...ids, ...ledger.entries.keys()])];
  const kindOf = (id: string) => evidence.kinds.questions.kind(produced.accepted.get(id) ?? -1);
  const failedIds = ids.filter((id) => findEnd(id) !== undefined && findEnd(id)?.status !== 'completed');
  const sum = (field: 'releases' | 'killed' | 'frozen' | 'abandoned' | 'committedByOthers') =>
    entries.reduce((total, entry) => total + entry[field], 0);
  const jobs = new Set(produced.accepted.values());
  const begun = [...jobs].reduce((total, job) => total + upstream.countStreams(job).started, 0);
  const completed = ids.filter((id) => findEnd(id)?.status === 'completed').length;
  const recoveries = ledger.recoveriesMs;
  return {
    options: plainOptions,
    seconds,
    jobsPerSecond: completed / seconds,
    accepted: { begun: produced.started, total: ids.length, http: produced.http, queue: produced.queue },
    completed,
    failed: countByName(failedIds.map((id) => `${findEnd(id)?.status} ${findEnd(id)?.errorCode ?? ''}`.trim())),
    lost: createdIds.filter((id) => findStatus(id) === undefined).length,
    pending: createdIds.filter(isOpen).length,
    committedTwice:
      entries.filter(({ ends, changedAfterEnd }) => ends > 1 || changedAfterEnd > 0).length +
      [...replies.answers.values()].filter(({ size }) => size > 1).length,
    committedByOthers: sum('committedByOthers'),
    failedByThrottling: failedIds.filter((id) => mustComplete(kindOf(id)) && spoiled(id) < MAX_ATTEMPTS).length,
    expired: ids.filter((id) => findEnd(id)?.status === 'expired').length,
    kinds: judgeKinds({ ...evidence, ...evidence.kinds, upstream: gpu === undefined ? upstream : undefined }),
    stoppedChains: evidence.stoppedChains,
    disagreements: entries.filter(({ id, end }) => end !== undefined && end.status !== findStatus(id)).length,
    responses,
    incompleteSteps: table.incompleteSteps,
    forgottenByQueue: produced.forgotten,
    unclaimedJobs: entries.filter(({ id }) => !produced.accepted.has(id)).length,
    httpRefusals: produced.httpRefusals,
    replies: { received: replies.received(), jobs: replies.answers.size },
    modelCalls: { total: upstream.calls(), begun, wasted: begun - completed },
    upstream: upstream.counts(),
    claims: entries.reduce((total, { claims }) => total + claims.length, 0),
    releases: sum('releases'),
    holdersKilled: sum('killed'),
    holdersFrozen: sum('frozen'),
    holdersGone: sum('abandoned'),
    kills: injected.kills,
    queueRestarts: injected.restarts.length,
    brownouts: injected.brownouts,
    recoveryMs: {
      count: recoveries.length,
      p50: recoveries.length === 0 ? null : Math.round(computeQuantile(recoveries, 0.5)),
      p99: recoveries.length === 0 ? null : Math.round(computeQuantile(recoveries, 0.99)),
    },
    faults,
    ...(gpu === undefined ? { tokens: countTokens(evidence) } : {}),
    ...(gpu === undefined ? {} : { gpu: judgeGpu(gpu, ledger, produced.accepted) }),
  };
}

/** Counts the tokens of jobs that had to complete, including jobs whose caller got no response. */
function countTokens({ produced, ledger, upstream, kinds }: Evidence): TokenCounts {
  const counted = { sent: 0, cut: 0, wasted: 0 };
  const counts = (job: number | undefined) => job === undefined || mustComplete(kinds.questions.kind(job));
  for (const job of new Set([...produced.accepted.values()].filter(counts))) {
    const { tokens, cutTokens } = upstream.countStreams(job);
    counted.sent += tokens;
    counted.cut += cutTokens;
  }
  const committed = [...ledger.entries.values()]
    .filter(({ id }) => counts(produced.accepted.get(id)))
    .reduce((sum, { usage }) => sum + (usage?.outputTokens ?? 0), 0);
  return { ...counted, wasted: counted.sent - counted.cut - committed };
}

/** Returns a function that counts the killed or cut attempts of a job. */
function countSpoiledAttempts({ produced, ledger, upstream, gpu }: Evidence): (id: string) => number {
  const findJob = (id: string) => produced.accepted.get(id) ?? -1;
  if (gpu === undefined) return (id) => (ledger.entries.get(id)?.killed ?? 0) + upstream.countStreams(findJob(id)).cut;
  const calls = Map.groupBy(gpu.calls, ({ job }) => job);
  return (id) => {
    const entry = ledger.entries.get(id);
    return entry === undefined ? 0 : countSpoiled(entry, calls.get(findJob(id)) ?? [], gpu.faults, ledger);
  };
}

/** Returns true if no job was lost, committed twice or failed without cause, and every other check passed. */
export function isClean(findings: Findings): boolean {
  const { lost, pending, committedTwice, committedByOthers, failedByThrottling, disagreements, responses } = findings;
  const { expired, kinds, stoppedChains, incompleteSteps, accepted, options, tokens, gpu } = findings;
  const twice = committedTwice + committedByOthers;
  const failures = failedByThrottling + expired + stoppedChains + incompleteSteps + countKindViolations(kinds);
  const violations = lost + pending + twice + failures + disagreements + responses.wrong;
  const wastes = options.killEverySeconds === 0 && tokens !== undefined && tokens.wasted > MAX_WASTED * tokens.sent;
  const handledAll = accepted.total + kinds.poison.messages === accepted.begun;
  return violations === 0 && handledAll && !wastes && (gpu === undefined || isGpuClean(gpu));
}

/** Formats the findings as lines of text. */
export function describeFindings(findings: Findings): string {
  const { accepted, failed, kills, recoveryMs, modelCalls, tokens, options, faults, gpu } = findings;
  const formatCounts = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ') || 'none';
  const formatSeconds = (ms: number | null) => (ms === null ? '–' : `${(ms / 1000).toFixed(1)} s`);
  const lines: [string, string | number][] = [
    ['seed', options.seed],
    ['accepted', `${accepted.total} of ${accepted.begun} (${accepted.http} by HTTP, ${accepted.queue} by the queue)`],
    ['completed', `${findings.completed} in ${findings.seconds.toFixed(0)} s, ${findings.jobsPerSecond.toFixed(1)}/s`],
    ['failed', formatCounts(failed)],
    ['lost', findings.lost],
    ['still pending', findings.pending],
    ['committed twice', findings.committedTwice],
    ['committed by a fenced attempt', findings.committedByOthers],
    ['failed by throttling alone', findings.failedByThrottling],
    ['expired', findings.expired],
    ['recursive loops stopped', findings.stoppedChains],
    ...describeKinds(findings.kinds),
    ['ledger and table disagree', findings.disagreements],
    ['wrong responses', `${findings.responses.wrong} of ${findings.responses.checked} checked`],
    ['messages lost by SQS, sent again', findings.forgottenByQueue],
    ['failed HTTP requests, repeated', findings.httpRefusals],
    ['jobs whose caller got no response', findings.unclaimedJobs],
    ['answers on the reply queue', `${findings.replies.received} of ${findings.replies.jobs} jobs`],
    ['incomplete completion steps', findings.incompleteSteps],
    ['model calls', `${modelCalls.total}, ${modelCalls.begun} answered, ${modelCalls.wasted} wasted`],
    ...(tokens === undefined ? [] : [['tokens wasted', describeTokens(tokens)] as [string, string]]),
    ['processes killed', formatCounts(kills)],
    ['jobs whose holder was killed', findings.holdersKilled],
    ['jobs whose holder was frozen', findings.holdersFrozen],
    ['jobs whose holder was lost otherwise', findings.holdersGone],
    ['recovery', `p50 ${formatSeconds(recoveryMs.p50)}, p99 ${formatSeconds(recoveryMs.p99)} (${recoveryMs.count})`],
    ['restarts of SQS', findings.queueRestarts],
    ['brownouts', formatCounts(findings.brownouts)],
    ['claims, releases', `${findings.claims}, ${findings.releases}`],
    [gpu === undefined ? 'upstream' : 'calls to workers', formatCounts(findings.upstream)],
    ...(gpu === undefined ? [] : describeGpu(gpu)),
    ...Object.entries(faults ?? {}).map(([service, counts]): [string, string] => [service, formatCounts(counts)]),
  ];
  return lines.map(([name, value]) => `${name.padEnd(34)}${value}`).join('\n');
}

function describeTokens({ sent, cut, wasted }: TokenCounts): string {
  const share = sent === 0 ? 0 : (100 * wasted) / sent;
  return `${wasted} of ${sent} (${share.toFixed(1)}%), and ${cut} that the upstream cut`;
}

function countByName(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
