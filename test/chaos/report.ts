import type { Faults } from '../../local/faults/faults.ts';
import { quantile } from '../measure/statistics.ts';
import { describeGpu } from './gpu/describe.ts';
import {
  asUpstream,
  type GpuEvidence,
  type GpuFindings,
  isGpuClean,
  judgeGpu,
  spoiledAttempts,
} from './gpu/findings.ts';
import type { Entry, Ledger } from './ledger.ts';
import type { ChaosOptions } from './options.ts';
import type { Produced } from './producers.ts';
import type { Replies } from './replies.ts';
import type { Shown, TableState } from './state.ts';
import type { Torments } from './torment.ts';
import type { UpstreamCalls } from './upstream.ts';

/** All that was seen of an experiment. */
export interface Evidence {
  readonly options: ChaosOptions;
  readonly seconds: number;
  readonly produced: Produced;
  readonly ledger: Ledger;
  readonly torments: Torments;
  readonly upstream: UpstreamCalls;
  readonly replies: Pick<Replies, 'answers' | 'received'>;
  readonly faults: ReturnType<Faults['counts']> | undefined;
  readonly table: TableState;
  readonly shown: Shown;
  /** Of a run with workers, which were asked in the upstream's place. */
  readonly gpu?: GpuEvidence | undefined;
}

/** What became of all jobs. */
export interface Findings {
  readonly options: Omit<ChaosOptions, 'onProgress'>;
  readonly seconds: number;
  readonly jobsPerSecond: number;
  readonly accepted: { readonly begun: number; readonly total: number; readonly http: number; readonly queue: number };
  readonly completed: number;
  /** Ended otherwise, by status and error code. */
  readonly failed: Readonly<Record<string, number>>;
  /** Accepted or seen to be made, and not there at all. */
  readonly lost: number;
  /** Accepted or seen to be made, and still not ended when nothing happened any more. */
  readonly pending: number;
  /** More than one terminal write, another state after the end, or two different answers. */
  readonly committedTwice: number;
  /** Answers that were committed by another invocation than the one that had claimed the job last. */
  readonly committedByOthers: number;
  /** Ended otherwise than completed though fewer than three attempts were killed or cut. */
  readonly failedByThrottling: number;
  /** What the ledger saw end and the table says otherwise. */
  readonly disagreements: number;
  readonly shown: Shown;
  /** Ended jobs that somebody is still to be told of. */
  readonly untold: number;
  /** Messages that SQS forgot before they were jobs, and that were sent again. */
  readonly forgottenByQueue: number;
  /** Jobs of HTTP requests whose caller never heard of them, and asked again. */
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
  readonly kills: Torments['kills'];
  readonly queueRestarts: number;
  readonly recoveryMs: { readonly count: number; readonly p50: number | null; readonly p99: number | null };
  readonly faults: Evidence['faults'];
  readonly gpu?: GpuFindings;
}

/** As many as a job may have; one with fewer must not fail. */
const MAX_ATTEMPTS = 3;

/** Draws the conclusions. */
export function judge(evidence: Evidence): Findings {
  const { options, seconds, produced, ledger, torments, replies, table, shown, faults, gpu } = evidence;
  const upstream = gpu === undefined ? evidence.upstream : asUpstream(gpu.calls);
  const spoiled = spoils(evidence);
  const { onProgress: _, ...plainOptions } = options;
  const entries = [...ledger.entries.values()];
  const of = (id: string): Entry | undefined => ledger.entries.get(id);
  const ids = [...produced.accepted.keys()];
  const statusOf = (id: string) => table.statuses.get(id);
  const isOpen = (id: string) => ['queued', 'in_progress'].includes(statusOf(id) ?? '');
  // Also those that were made for a caller who never heard of them.
  const made = [...new Set([...ids, ...ledger.entries.keys()])];
  const otherwise = ids.filter((id) => of(id)?.end !== undefined && of(id)?.end?.status !== 'completed');
  const sum = (field: 'releases' | 'killed' | 'frozen' | 'abandoned' | 'committedByOthers') =>
    entries.reduce((total, entry) => total + entry[field], 0);
  const jobs = new Set(produced.accepted.values());
  const begun = [...jobs].reduce((total, job) => total + upstream.of(job).begun, 0);
  const completed = ids.filter((id) => of(id)?.end?.status === 'completed').length;
  const recoveries = ledger.recoveriesMs;
  return {
    options: plainOptions,
    seconds,
    jobsPerSecond: completed / seconds,
    accepted: { begun: produced.begun, total: ids.length, http: produced.http, queue: produced.queue },
    completed,
    failed: counted(otherwise.map((id) => `${of(id)?.end?.status} ${of(id)?.end?.errorCode ?? ''}`.trim())),
    lost: made.filter((id) => statusOf(id) === undefined).length,
    pending: made.filter(isOpen).length,
    committedTwice:
      entries.filter(({ ends, changedAfterEnd }) => ends > 1 || changedAfterEnd > 0).length +
      [...replies.answers.values()].filter(({ size }) => size > 1).length,
    committedByOthers: sum('committedByOthers'),
    failedByThrottling: otherwise.filter((id) => spoiled(id) < MAX_ATTEMPTS).length,
    disagreements: entries.filter(({ id, end }) => end !== undefined && end.status !== statusOf(id)).length,
    shown,
    untold: table.untold,
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
    kills: torments.kills,
    queueRestarts: torments.restarts.length,
    recoveryMs: {
      count: recoveries.length,
      p50: recoveries.length === 0 ? null : Math.round(quantile(recoveries, 0.5)),
      p99: recoveries.length === 0 ? null : Math.round(quantile(recoveries, 0.99)),
    },
    faults,
    ...(gpu === undefined ? {} : { gpu: judgeGpu(gpu, ledger, produced.accepted) }),
  };
}

/** How many attempts of a job were killed or cut, by the id of the job. */
function spoils({ produced, ledger, upstream, gpu }: Evidence): (id: string) => number {
  const jobOf = (id: string) => produced.accepted.get(id) ?? -1;
  if (gpu === undefined) return (id) => (ledger.entries.get(id)?.killed ?? 0) + upstream.of(jobOf(id)).cut;
  const calls = Map.groupBy(gpu.calls, ({ job }) => job);
  return (id) => {
    const entry = ledger.entries.get(id);
    return entry === undefined ? 0 : spoiledAttempts(entry, calls.get(jobOf(id)) ?? [], gpu.accidents, ledger);
  };
}

/** Whether every promise was kept. */
export function isClean(findings: Findings): boolean {
  const { lost, pending, committedTwice, committedByOthers, failedByThrottling, disagreements, shown } = findings;
  const { accepted, gpu } = findings;
  const twice = committedTwice + committedByOthers;
  const broken = lost + pending + twice + failedByThrottling + disagreements + shown.wrong;
  return broken === 0 && accepted.total === accepted.begun && (gpu === undefined || isGpuClean(gpu));
}

/** The findings for a person. */
export function describe(findings: Findings): string {
  const { accepted, failed, kills, recoveryMs, modelCalls, options, faults, gpu } = findings;
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ') || 'none';
  const seconds = (ms: number | null) => (ms === null ? '–' : `${(ms / 1000).toFixed(1)} s`);
  const lines: [string, string | number][] = [
    ['seed', options.seed],
    ['accepted', `${accepted.total} of ${accepted.begun} (${accepted.http} by HTTP, ${accepted.queue} by the queue)`],
    ['completed', `${findings.completed} in ${findings.seconds.toFixed(0)} s, ${findings.jobsPerSecond.toFixed(1)}/s`],
    ['failed', list(failed)],
    ['lost', findings.lost],
    ['still pending', findings.pending],
    ['committed twice', findings.committedTwice],
    ['committed by a fenced attempt', findings.committedByOthers],
    ['failed by throttling alone', findings.failedByThrottling],
    ['record and table disagree', findings.disagreements],
    ['shown wrongly', `${findings.shown.wrong} of ${findings.shown.checked} asked for`],
    ['forgotten by SQS, sent again', findings.forgottenByQueue],
    ['HTTP requests refused, made again', findings.httpRefusals],
    ['jobs whose caller never heard', findings.unclaimedJobs],
    ['answers on the reply queue', `${findings.replies.received} of ${findings.replies.jobs} jobs`],
    ['still to be told', findings.untold],
    ['model calls', `${modelCalls.total}, ${modelCalls.begun} begun, ${modelCalls.wasted} wasted`],
    ['processes killed', list(kills)],
    ['jobs whose holder was killed', findings.holdersKilled],
    ['jobs whose holder was frozen', findings.holdersFrozen],
    ['jobs whose holder went otherwise', findings.holdersGone],
    ['recovery', `p50 ${seconds(recoveryMs.p50)}, p99 ${seconds(recoveryMs.p99)} (${recoveryMs.count})`],
    ['queues emptied', findings.queueRestarts],
    ['claims, releases', `${findings.claims}, ${findings.releases}`],
    [gpu === undefined ? 'upstream' : 'calls of workers', list(findings.upstream)],
    ...(gpu === undefined ? [] : describeGpu(gpu)),
    ...Object.entries(faults ?? {}).map(([service, counts]): [string, string] => [service, list(counts)]),
  ];
  return lines.map(([name, value]) => `${name.padEnd(34)}${value}`).join('\n');
}

function counted(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
