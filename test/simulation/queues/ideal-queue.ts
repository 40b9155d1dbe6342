import { Heap } from '../heap.ts';
import type { SimulatedJob } from './workload.ts';

/** A time in which no job can start, because SQS or DynamoDB is away. */
export interface Outage {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** When a job arrived, started and ended. */
export interface JobRun {
  readonly id: string;
  readonly tenant: string;
  readonly arrivesAtMs: number;
  readonly startsAtMs: number;
  readonly endsAtMs: number;
}

export interface IdealQueueOptions {
  /** In the order of arrival. */
  readonly jobs: readonly SimulatedJob[];
  /** Jobs that can run at a time. */
  readonly places: number;
  readonly outages?: readonly Outage[];
}

/**
 * Runs jobs on the ideal queue, which any real one is measured against: no job waits while a place is free
 * (work-conserving), a tenant's jobs start in the order of arrival, and tenants take turns. During an outage no job
 * starts, but running ones go on. The result is exact: time moves from event to event (an arrival, an end of a job or of
 * an outage).
 * @returns the runs in the order of starting
 */
export function runIdealQueue({ jobs, places, outages = [] }: IdealQueueOptions): JobRun[] {
  const waiting = new TurnQueue();
  const ends = new Heap<number>((a, b) => a < b);
  const runs: JobRun[] = [];
  let arrived = 0;
  let running = 0;
  let now = 0;
  for (;;) {
    for (let end = ends.peek(); end !== undefined && end <= now; end = ends.peek()) {
      ends.pop();
      running -= 1;
    }
    for (let job = jobs[arrived]; job !== undefined && job.arrivesAtMs <= now; job = jobs[arrived]) {
      waiting.add(job);
      arrived += 1;
    }
    const outageEnd = findOutageEnd(outages, now);
    while (outageEnd === undefined && running < places) {
      const job = waiting.take();
      if (job === undefined) break;
      const { id, tenant, arrivesAtMs, durationMs } = job;
      runs.push({ id, tenant, arrivesAtMs, startsAtMs: now, endsAtMs: now + durationMs });
      ends.push(now + durationMs);
      running += 1;
    }
    const next = Math.min(...[jobs[arrived]?.arrivesAtMs, ends.peek(), outageEnd].filter((at) => at !== undefined));
    if (next === Number.POSITIVE_INFINITY) return runs;
    now = next;
  }
}

/**
 * Returns the first moment, from `fromMs` on, at which no job that has arrived waits to start. For a real run, a job
 * starts when its last attempt starts.
 */
export function findBacklogEnd(runs: readonly Pick<JobRun, 'arrivesAtMs' | 'startsAtMs'>[], fromMs: number): number {
  const waits = runs.filter(({ arrivesAtMs, startsAtMs }) => startsAtMs > Math.max(arrivesAtMs, fromMs));
  waits.sort((a, b) => a.arrivesAtMs - b.arrivesAtMs);
  let end = fromMs;
  for (const { arrivesAtMs, startsAtMs } of waits) {
    if (arrivesAtMs > end) break;
    end = Math.max(end, startsAtMs);
  }
  return end;
}

/** Returns the end of the outage that includes `now`, or undefined if there is none. */
function findOutageEnd(outages: readonly Outage[], now: number): number | undefined {
  return outages.find(({ fromMs, untilMs }) => fromMs <= now && now < untilMs)?.untilMs;
}

/** Waiting jobs: in the order of arrival for each tenant, with turns among the tenants that have any. */
class TurnQueue {
  readonly #byTenant = new Map<string, SimulatedJob[]>();
  readonly #taken = new Map<string, number>();

  add(job: SimulatedJob): void {
    const jobs = this.#byTenant.get(job.tenant);
    if (jobs === undefined) this.#byTenant.set(job.tenant, [job]);
    else jobs.push(job);
  }

  take(): SimulatedJob | undefined {
    // A map's keys are in the order of insertion, so the first tenant's turn is the oldest.
    for (const [tenant, jobs] of this.#byTenant) {
      const taken = this.#taken.get(tenant) ?? 0;
      const job = jobs[taken];
      this.#byTenant.delete(tenant);
      if (taken + 1 < jobs.length) {
        this.#byTenant.set(tenant, jobs);
        this.#taken.set(tenant, taken + 1);
      } else this.#taken.delete(tenant);
      return job;
    }
    return undefined;
  }
}
