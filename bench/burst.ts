import { setTimeout as sleep } from 'node:timers/promises';
import { type Budget, formatNumber, type Report, type Series } from './report/report.ts';
import { type JobCloud, startJobCloud } from './sides/job-cloud.ts';
import { post, responseBody } from './sides/producers.ts';
import { quantile } from './statistics.ts';

export interface BurstOptions {
  /** Background responses posted a second. */
  readonly perSecond: number;
  readonly seconds: number;
}

/** What was seen of the burst. */
interface Measured {
  readonly accepted: number;
  /** Posts that were not accepted, by what they were answered. */
  readonly refusals: Readonly<Record<string, number>>;
  readonly acceptMs: readonly number[];
  /** Of jobs that were accepted: how many had which status at the end. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly lost: number;
  readonly endedTwice: number;
  /** From the last acceptance to the end of the last job. */
  readonly drainSeconds: number;
  readonly environments: Series['points'];
  readonly waiting: Series['points'];
}

/** A model that takes its time: 2 s an answer, so that a burst needs many environments. */
const PACE = { tokens: 20, intervalMs: 100 };
const SAMPLE_MS = 250;
/** Environments that a burst must have brought up, and how soon. */
const ENVIRONMENTS = 20;
const SCALE_SECONDS = 45;
/** Until what has not ended counts as lost. */
const PATIENCE_MS = 240_000;

/** Measures how the queue takes a burst of background work. */
export async function benchBurst(options: BurstOptions): Promise<Report> {
  await using ours = await startJobCloud(PACE);
  // One environment of each function is there, as after any quiet hour's single job.
  const { id } = await post(ours.cloud.url, '/responses', responseBody({ background: true }));
  await ours.allEnded([id], PATIENCE_MS);
  return toReport(await burst(ours, options), options);
}

async function burst(ours: JobCloud, { perSecond, seconds }: BurstOptions): Promise<Measured> {
  const ids: string[] = [];
  const acceptMs: number[] = [];
  const refusals: Record<string, number> = {};
  const endedBefore = ours.ended.size;
  const startedAt = performance.now();
  const since = () => (performance.now() - startedAt) / 1000;
  const environments: { seconds: number; value: number }[] = [];
  const waiting: { seconds: number; value: number }[] = [];
  const sample = () => {
    const count = ours.cloud.processes().filter((process) => process.function === 'generate').length;
    environments.push({ seconds: since(), value: count });
    waiting.push({ seconds: since(), value: ids.length - (ours.ended.size - endedBefore) });
  };
  const sampling = setInterval(sample, SAMPLE_MS);
  try {
    const posts = Array.from({ length: perSecond * seconds }, async (_, index) => {
      // From when it was due, not from when it went: a client that falls behind must not hide the waiting.
      const dueAt = startedAt + (index * 1000) / perSecond;
      await sleep(Math.max(0, dueAt - performance.now()));
      try {
        const { id } = await post(ours.cloud.url, '/responses', responseBody({ background: true }));
        ids.push(id);
        acceptMs.push(performance.now() - dueAt);
      } catch (thrown) {
        const [reason = 'no answer'] = thrown instanceof Error ? (/^status \d+/.exec(thrown.message) ?? []) : [];
        refusals[reason] = (refusals[reason] ?? 0) + 1;
      }
    });
    await Promise.all(posts);
    const lastAcceptedAt = performance.now();
    const lastEndedAt = await ours.allEnded(ids, PATIENCE_MS).catch(() => Number.NaN);
    sample();
    return {
      accepted: ids.length,
      refusals,
      acceptMs,
      ...whatBecame(ids, ours),
      drainSeconds: Math.max(0, lastEndedAt - lastAcceptedAt) / 1000,
      environments,
      waiting,
    };
  } finally {
    clearInterval(sampling);
  }
}

function whatBecame(ids: readonly string[], { ended, twice }: JobCloud) {
  const statuses: Record<string, number> = {};
  let lost = 0;
  for (const id of ids) {
    const status = ended.get(id)?.status;
    if (status === undefined) lost += 1;
    else statuses[status] = (statuses[status] ?? 0) + 1;
  }
  return { statuses, lost, endedTwice: twice.size };
}

function toReport(measured: Measured, { perSecond, seconds }: BurstOptions): Report {
  const { accepted, refusals, acceptMs, statuses, lost, endedTwice, drainSeconds, environments, waiting } = measured;
  const upAt = environments.find(({ value }) => value >= ENVIRONMENTS)?.seconds ?? Number.POSITIVE_INFINITY;
  const most = Math.max(...environments.map(({ value }) => value));
  const budgets: Budget[] = [
    {
      what: `from 1 to ${ENVIRONMENTS} environments`,
      ours: { label: 'the burst’s', value: upAt, unit: 's' },
      against: { label: 'the time allowed', value: SCALE_SECONDS, unit: 's' },
      limit: 1,
    },
  ];
  return {
    name: 'burst',
    title: 'A burst of background work',
    method: [
      `${perSecond} background responses a second are posted for ${seconds} s to the whole local cloud, each when it is due whether or not earlier ones have been answered, and the time to accept one counts from when it was due. The model takes ${(PACE.tokens * PACE.intervalMs) / 1000} s an answer. Before it, one job has run: one environment of each function is up.`,
      `The mapping starts with few invocations at once and adds more while messages wait, as AWS’s does; its pace and its limit are those of \`serverless.yml\` and of AWS’s documentation. What a laptop shows beyond that are its cores, shared by the load, the stand-ins and every environment: accept times above a few milliseconds are theirs.`,
    ],
    tables: [
      {
        caption: 'What became of it',
        columns: ['', 'measured'],
        rows: [
          ['posted', formatNumber(perSecond * seconds)],
          ['accepted', formatNumber(accepted)],
          ...Object.entries(refusals).map(([reason, count]) => [`not accepted: ${reason}`, formatNumber(count)]),
          ['time to accept, p50, ms', formatNumber(quantile(acceptMs, 0.5))],
          ['time to accept, p99, ms', formatNumber(quantile(acceptMs, 0.99))],
          ...Object.entries(statuses).map(([status, count]) => [`ended as ${status}`, formatNumber(count)]),
          ['lost', formatNumber(lost)],
          ['ended twice', formatNumber(endedTwice)],
          ['from the last acceptance to the last end, s', formatNumber(drainSeconds)],
          ['environments of generate, at most', formatNumber(most)],
          [`${ENVIRONMENTS} environments after, s`, formatNumber(upAt)],
        ],
      },
    ],
    budgets,
    charts: [
      {
        title: 'Environments of generate',
        unit: 'environments',
        series: [{ label: 'generate', points: environments }],
      },
      {
        title: 'Jobs accepted and not ended',
        unit: 'jobs',
        series: [{ label: 'waiting or running', points: waiting }],
      },
    ],
    data: measured,
  };
}
