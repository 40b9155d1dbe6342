import { type ErrorCode, LambentError } from '../core/errors.ts';
import { isJobInput, isJobOutput } from './content.ts';
import { deleteJob } from './control.ts';
import { type FanIn, isFanIn, type Job } from './job.ts';
import type { Bodies, JobInput, JobOutput, JobStore } from './ports.ts';
import { completed } from './transitions.ts';

/** An ended job with its input and output, for its completion steps. */
export interface EndedJob {
  readonly job: Job;
  /** Absent if it can't be opened any more. */
  readonly input: JobInput | undefined;
  /** Absent if the job has none, or if it can't be opened any more. */
  readonly output: JobOutput | undefined;
}

/**
 * A completion step. It runs at least once per job; the job's id identifies repetitions. Throws `StepFailedError` if no
 * repetition can succeed, and any other error to be repeated.
 */
export type CompletionStep = (ended: EndedJob) => Promise<void>;

/** Thrown by a completion step that can never succeed. */
export class StepFailedError extends Error {
  override readonly name = 'StepFailedError';
}

/** The completion steps that other layers provide. A step without an entry is skipped. */
export type CompletionSteps = { readonly [Step in Exclude<FanIn, 'bodies' | 'forget'>]?: CompletionStep };

export interface CompletionPorts {
  readonly jobs: JobStore;
  readonly bodies: Bodies;
  readonly steps: CompletionSteps;
  /** Records a step that was given up, with its job, where an operator finds it. */
  readonly onStepFailed: (job: Job, step: FanIn, thrown: unknown) => Promise<void>;
  readonly onError: (what: string, thrown: unknown) => void;
}

export interface CompletionOptions {
  readonly input?: JobInput | undefined;
  readonly output?: JobOutput | undefined;
  /** True if a step that fails is given up instead of being repeated. */
  readonly last?: boolean;
}

/**
 * Runs an ended job's remaining completion steps, and records that they are done. A step that can never succeed is given
 * up. Throws the error of a step that must be repeated; the sweep then repeats all of them. Records that can't be opened any
 * more are left out.
 * @param options the input and output, if the caller has them, so that they aren't read again
 */
export async function completeJob(job: Job, ports: CompletionPorts, options: CompletionOptions = {}): Promise<void> {
  if (job.fanIn === undefined) return;
  const { jobs, bodies } = ports;
  const { tenant, id } = job;
  const steps = job.fanIn.filter(isFanIn);
  await runSteps(job, steps, ports, options);
  // Steps that only a newer version knows are left to its sweep.
  if (steps.length < job.fanIn.length) return;
  if (steps.includes('forget')) {
    await deleteJob({ jobs, bodies }, tenant, id);
    return;
  }
  // No attempt has the number -1: without an output nothing is kept.
  if (steps.includes('bodies')) await bodies.sweep(tenant, id, job.output?.epoch ?? -1);
  const { guard, change } = completed();
  await jobs.update(tenant, id, guard, change);
}

/** Runs completion steps. Those that fail are left to the sweep. */
export async function completeQuietly(job: Job, ports: CompletionPorts, options?: CompletionOptions): Promise<void> {
  await completeJob(job, ports, options).catch((thrown: unknown) =>
    ports.onError('completion steps not finished', thrown),
  );
}

async function runSteps(
  job: Job,
  names: readonly FanIn[],
  { bodies, steps, onStepFailed, onError }: CompletionPorts,
  { input, output, last = false }: CompletionOptions,
): Promise<void> {
  const provided = names.flatMap((name) => {
    const step = name === 'bodies' || name === 'forget' ? undefined : steps[name];
    return step === undefined ? [] : [{ name, step }];
  });
  if (provided.length === 0) return;
  const onUnreadable = (thrown: unknown) => onError('record of an ended job not readable', thrown);
  // An answer waits for its tenant's external key as long as a step is repeated. Without an answer there is nothing to wait for.
  const codes = last || job.output === undefined ? UNREADABLE_NOW : UNREADABLE;
  const ended = {
    job,
    input: input ?? (await unlessUnreadable(() => readInput(job, bodies), onUnreadable, codes)),
    output: output ?? (await unlessUnreadable(() => readOutput(job, bodies), onUnreadable, codes)),
  };
  for (const { name, step } of provided) {
    try {
      await step(ended);
    } catch (thrown) {
      if (!last && !(thrown instanceof StepFailedError)) throw thrown;
      await onStepFailed(job, name, thrown);
    }
  }
}

const UNREADABLE: ReadonlySet<ErrorCode> = new Set(['record_unreadable', 'tenant_deleted']);
/** The codes of records that can't be opened now, and may never be opened again. */
const UNREADABLE_NOW: ReadonlySet<ErrorCode> = new Set([...UNREADABLE, 'external_key_unavailable']);

/**
 * Returns what `read` returns; undefined, after a call of `onError`, for a record that can never be opened again.
 * @param codes the codes of such errors
 */
export async function unlessUnreadable<T>(
  read: () => Promise<T>,
  onError?: (thrown: unknown) => void,
  codes = UNREADABLE,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (thrown) {
    if (!(thrown instanceof LambentError && codes.has(thrown.code))) throw thrown;
    onError?.(thrown);
    return undefined;
  }
}

/**
 * Reads a job's input.
 * @throws LambentError `record_unreadable`, `vault_unavailable`, `tenant_deleted`
 */
export async function readInput({ tenant, id, input }: Job, bodies: Bodies): Promise<JobInput> {
  const body = await bodies.read({ tenant, id, kind: 'input', epoch: input.epoch }, input);
  if (isJobInput(body)) return body;
  throw new LambentError('record_unreadable', `The input of ${id} is not one`);
}

/**
 * Reads a job's output. Undefined if it has none.
 * @throws LambentError as `readInput` does
 */
export async function readOutput({ tenant, id, output }: Job, bodies: Bodies): Promise<JobOutput | undefined> {
  if (output === undefined) return undefined;
  const body = await bodies.read({ tenant, id, kind: 'output', epoch: output.epoch }, output);
  if (isJobOutput(body)) return body;
  throw new LambentError('record_unreadable', `The output of ${id} is not one`);
}
