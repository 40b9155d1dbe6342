import type { Item } from '../shared/aws/attributes.ts';
import type { Job } from '../shared/jobs/job.ts';
import { jobItem } from '../shared/jobs/job-item.ts';
import { createMemoryStore } from '../shared/jobs/memory-store.ts';
import { JOB_TIMINGS } from '../shared/jobs/timings.ts';
import {
  begin,
  claim,
  commit,
  completed,
  recover,
  release,
  renew,
  type Transition,
  ticketSent,
} from '../shared/jobs/transitions.ts';
import { aJob, START } from '../test/shared/jobs/jobs.ts';

/** Write units of one change of a job's item. */
export interface OperationUnits {
  readonly operation: string;
  /** One for each KB of the item, before or after the change, whichever is larger. */
  readonly table: number;
  /** One for each index entry that is removed or put. A changed key removes one and puts another. */
  readonly index: number;
}

/**
 * Returns the write units of a job's operations: the engine's own transitions, with DynamoDB's rules.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes
 */
export async function computeOperationUnits(): Promise<readonly OperationUnits[]> {
  const found: OperationUnits[] = [];
  const make = (operation: string, before: Job | undefined, after: Job | undefined) => {
    if (after === undefined) throw new Error(`${operation} was refused`);
    found.push({ operation, ...computeUnits(before, after) });
    return after;
  };
  const now = START;
  const terms = { owner: 'req_0123456789abcdef', alone: false, whole: true };
  const pause = { notBefore: now, asked: false, ticket: true };

  /** Makes transitions of a new job, each of which is built of the job that the one before left. */
  async function follow(
    job: Job,
    steps: readonly (readonly [string, (job: Job) => Transition])[],
    creation?: string,
  ): Promise<void> {
    const store = createMemoryStore(() => now);
    const created = await store.create(job, { purpose: 'wake', queue: 'jobs', dueAt: now });
    let last = creation === undefined ? (created.job ?? job) : make(creation, undefined, created.job);
    for (const [operation, transition] of steps) {
      const { guard, change } = transition(last);
      const after = await store.update(job.tenant, job.id, guard, change);
      last = operation === '' ? (after ?? last) : make(operation, last, after);
    }
  }

  const job = aJob({ id: `resp_${'0'.repeat(48)}`, tenant: 'a-tenant-of-usual-length' });
  const ended = { status: 'completed', output: { place: 'table', epoch: 1, sizeBytes: 1_000 } } as const;
  await follow(
    job,
    [
      ['ticket sent', (each) => ticketSent(each, now, JOB_TIMINGS)],
      ['claim', () => claim(terms, now, JOB_TIMINGS)],
      ['renewal, every 15 s', (each) => renew(each, now, JOB_TIMINGS)],
      ['begin (first token)', (each) => begin(each, now, JOB_TIMINGS)],
      ['commit', (each) => commit(each, ended, now, JOB_TIMINGS)],
    ],
    'creation',
  );
  await follow({ ...job, replyTo: 'answers' }, [
    ['', (each) => ticketSent(each, now, JOB_TIMINGS)],
    ['', () => claim(terms, now, JOB_TIMINGS)],
    ['commit with a reply', (each) => commit(each, ended, now, JOB_TIMINGS)],
    ['steps done', () => completed()],
  ]);
  await follow(job, [
    ['', (each) => ticketSent(each, now, JOB_TIMINGS)],
    ['', () => claim(terms, now, JOB_TIMINGS)],
    ['release', (each) => release(each, pause, JOB_TIMINGS)],
  ]);
  const late = { ...JOB_TIMINGS, leaseMs: -JOB_TIMINGS.graceMs };
  await follow(job, [
    ['', () => claim(terms, now, late)],
    ['recovery of a dead holder’s job', (each) => recover(each, now, JOB_TIMINGS)],
  ]);
  const waiting = { ...job, duePartition: 'wake#jobs#0', dueAt: now };
  make('move by the sweep', waiting, { ...waiting, dueAt: now + 1 });
  return found;
}

function computeUnits(before: Job | undefined, after: Job): Omit<OperationUnits, 'operation'> {
  const bytes = Math.max(...[before, after].map((job) => (job === undefined ? 0 : countBytes(jobItem(job)))));
  const entryOf = (job: Job | undefined) =>
    job?.duePartition === undefined ? undefined : `${job.duePartition} ${job.dueAt}`;
  const entries = [entryOf(before), entryOf(after)];
  return {
    table: Math.ceil(bytes / 1024),
    index: entries[0] === entries[1] ? 0 : entries.filter((entry) => entry !== undefined).length,
  };
}

/** Returns an item's size, at most a few bytes too much: names and text count their bytes, numbers about half of their digits. */
function countBytes(item: Item): number {
  return Object.entries(item).reduce((sum, [name, value]) => sum + name.length + JSON.stringify(value).length, 0);
}
