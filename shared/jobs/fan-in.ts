import { type ErrorCode, LambentError } from '../core/errors.ts';
import { isJobInput, isJobOutput } from './content.ts';
import { deleteJob } from './control.ts';
import { type FanIn, isFanIn, type Job } from './job.ts';
import type { Bodies, JobInput, JobOutput, JobStore } from './ports.ts';
import { told } from './transitions.ts';

/** An ended job with what it was asked and what it answered, for whoever is told of it. */
export interface EndedJob {
  readonly job: Job;
  /** Absent when it can't be opened any more. */
  readonly input: JobInput | undefined;
  /** Absent when it came to no answer, or to one that can't be opened any more. */
  readonly output: JobOutput | undefined;
}

/** Hears of an ended job, at least once; the job's id tells a repetition. */
export type Tell = (ended: EndedJob) => Promise<void>;

/** Who is told of what; a step without anybody to hear of it is passed over. */
export type Listeners = { readonly [Step in Exclude<FanIn, 'bodies' | 'forget'>]?: Tell };

export interface FanInPorts {
  readonly jobs: JobStore;
  readonly bodies: Bodies;
  readonly listeners: Listeners;
  readonly onError: (what: string, thrown: unknown) => void;
}

/**
 * Tells of an ended job whatever remains to be told, and then that all has been. Throws what a listener throws; the
 * sweep then tries again. What can't be opened any more stays untold, so that the rest is told.
 * @param known what the caller has at hand of it, so that it isn't read again
 */
export async function tellOf(
  job: Job,
  { jobs, bodies, listeners, onError }: FanInPorts,
  known: { readonly input?: JobInput; readonly output?: JobOutput } = {},
): Promise<void> {
  if (job.fanIn === undefined) return;
  const { tenant, id } = job;
  const steps = job.fanIn.filter(isFanIn);
  const listening = steps.flatMap((step) => {
    const tell = step === 'bodies' || step === 'forget' ? undefined : listeners[step];
    return tell === undefined ? [] : [tell];
  });
  if (listening.length > 0) {
    const lost = (thrown: unknown) => onError('a record could not be told of', thrown);
    const input = known.input ?? (await unlessUnreadable(() => readInput(job, bodies), lost));
    const output = known.output ?? (await unlessUnreadable(() => readOutput(job, bodies), lost));
    for (const tell of listening) await tell({ job, input, output });
  }
  // What is left is a newer version's to tell, whose sweep finds the job due.
  if (steps.length < job.fanIn.length) return;
  if (steps.includes('forget')) {
    await deleteJob({ jobs, bodies }, tenant, id);
    return;
  }
  // No attempt is numbered -1: without an answer nothing is kept.
  if (steps.includes('bodies')) await bodies.sweep(tenant, id, job.output?.epoch ?? -1);
  const { guard, change } = told();
  await jobs.update(tenant, id, guard, change);
}

const UNREADABLE: ReadonlySet<ErrorCode> = new Set(['record_unreadable', 'tenant_deleted']);

/** What `read` returns; undefined, and `onError` is told, for a record that can't be opened at any later time either. */
export async function unlessUnreadable<T>(
  read: () => Promise<T>,
  onError?: (thrown: unknown) => void,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (thrown) {
    if (!(thrown instanceof LambentError && UNREADABLE.has(thrown.code))) throw thrown;
    onError?.(thrown);
    return undefined;
  }
}

/**
 * What a job was asked.
 * @throws LambentError `record_unreadable`, `vault_unavailable`, `tenant_deleted`
 */
export async function readInput({ tenant, id, input }: Job, bodies: Bodies): Promise<JobInput> {
  const body = await bodies.read({ tenant, id, kind: 'input', epoch: input.epoch }, input);
  if (isJobInput(body)) return body;
  throw new LambentError('record_unreadable', `The input of ${id} is not one`);
}

/**
 * What a job answered; undefined when it came to no answer.
 * @throws LambentError as `readInput` does
 */
export async function readOutput({ tenant, id, output }: Job, bodies: Bodies): Promise<JobOutput | undefined> {
  if (output === undefined) return undefined;
  const body = await bodies.read({ tenant, id, kind: 'output', epoch: output.epoch }, output);
  if (isJobOutput(body)) return body;
  throw new LambentError('record_unreadable', `The output of ${id} is not one`);
}
