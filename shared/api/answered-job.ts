import type { HttpRequest } from '../access/route.ts';
import { isAwsOutage } from '../aws/outage.ts';
import { LambentError } from '../core/errors.ts';
import type { Sleep } from '../core/heartbeat.ts';
import { describeError } from '../core/logger.ts';
import { repeatAfterFailures } from '../core/repeat.ts';
import { keyInUseError } from '../idempotency/idempotency-errors.ts';
import type { BodyRef, Job } from '../jobs/job.ts';
import type { Bodies, JobInput, JobOutput } from '../jobs/ports.ts';
import type { ApiState } from './api-state.ts';

/** A request that was answered within its call, to be stored as an ended job. */
export interface AnsweredJob
  extends Pick<
    Job,
    | 'tenant'
    | 'id'
    | 'endpoint'
    | 'model'
    | 'epoch'
    | 'deadline'
    | 'createdAt'
    | 'expiresAt'
    | 'status'
    | 'usage'
    | 'errorCode'
    | 'fanIn'
    | 'conversation'
    | 'previousResponse'
  > {
  /** Whether its project's limits count it. */
  readonly isCounted: boolean;
  readonly request: JobInput;
  readonly answer: JobOutput;
  /** From `prepareBodies`, under the same names. */
  readonly writes: BodyWrites;
  /** Called before the first write. */
  readonly onWriting: () => void;
}

/** Functions that write the bodies of an answered request, also when the tenant's key has gone. See `Bodies.prepare`. */
export interface BodyWrites {
  readonly writeInput: (request: JobInput) => Promise<BodyRef>;
  readonly writeOutput: (answer: JobOutput) => Promise<BodyRef>;
}

/**
 * Prepares to store a request's input and output, before its model is called: a call whose answer can't be sealed, for instance
 * because the customer has revoked the external key, costs nothing.
 * @throws as `Vault.seal`
 */
export async function prepareBodies(
  { epoch, ...name }: Pick<Job, 'tenant' | 'id' | 'epoch' | 'expiresAt'>,
  bodies: Pick<Bodies, 'prepare'>,
): Promise<BodyWrites> {
  const [writeInput, writeOutput] = await Promise.all([
    bodies.prepare({ ...name, kind: 'input', epoch: 0 }),
    bodies.prepare({ ...name, kind: 'output', epoch }),
  ]);
  return { writeInput, writeOutput };
}

/**
 * Stores an answered request as an ended job: its input and output first, then the job. Returns their sealed bytes.
 * @throws LambentError `idempotency_key_in_use` if another attempt of the same operation was faster; otherwise the errors
 * of the stores
 */
export async function storeAnsweredJob(
  { request, answer, isCounted, writes, onWriting, ...fields }: AnsweredJob,
  { bodies, jobs, timings }: Pick<ApiState, 'bodies' | 'jobs' | 'timings'>,
  now: () => number,
): Promise<number> {
  const { tenant, id, epoch, createdAt } = fields;
  onWriting();
  const [input, output] = await Promise.all([writes.writeInput(request), writes.writeOutput(answer)]);
  const storedBytes = input.sizeBytes + output.sizeBytes;
  const job: Job = {
    ...fields,
    ...(isCounted ? { storedBytes } : {}),
    attempts: 1,
    releases: 0,
    tier: 'interactive',
    cancelRequested: false,
    background: false,
    streamed: false,
    stored: true,
    startedAt: createdAt,
    completedAt: now(),
    input,
    output,
  };
  const result = await jobs.create(
    job,
    job.fanIn === undefined ? undefined : { purpose: 'step', dueAt: now() + timings.completionMs },
  );
  if (result.created || result.job?.epoch === epoch) return storedBytes;
  // Another attempt of the same operation was faster, although it had lost the key.
  await bodies.remove({ tenant, id, kind: 'output', epoch }, output);
  throw keyInUseError();
}

/** What `persist` depends on. */
export interface PersistOptions {
  readonly request: Pick<HttpRequest, 'telemetry' | 'signal'>;
  readonly timings: ApiState['timings'];
  /** Returns epoch milliseconds. */
  readonly now: () => number;
  readonly sleep: Sleep;
}

/**
 * Repeats a write while its store is not available, for 45 s at most, as workers of jobs do: the answer is paid for, and a
 * repeated request would pay again.
 */
export async function persist<T>(
  write: () => Promise<T>,
  { request, timings, now, sleep }: PersistOptions,
): Promise<T> {
  const { leaseMs, graceMs, retryMs } = timings;
  const until = now() + leaseMs - graceMs;
  return repeatAfterFailures(
    write,
    (thrown) => mayPass(thrown) && now() < until && !request.signal.aborted,
    (thrown) => {
      request.telemetry.logger.warn('store not available', describeError(thrown));
      return sleep(retryMs, request.signal);
    },
  );
}

/** Whether a store may be available again soon. A request that AWS refuses is refused each time, and the caller waits. */
function mayPass(thrown: unknown): boolean {
  return isAwsOutage(thrown) || (thrown instanceof LambentError && thrown.code === 'vault_unavailable');
}
