import type { LogFields } from '../core/logger.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Usage } from '../inference/generation.ts';
import type { EventWriter } from './event-writer.ts';
import type { Job } from './job.ts';
import type { JobInput, JobOutput } from './ports.ts';

/**
 * Answers a job: asks its model, and encodes the answer as the job's API does. Provided to the engine, which knows no API.
 * The last event of a stream is left to its readers: it says how the job ended, which only the job itself can say.
 * Throws LambentError `upstream_cut` when the model's answer ends early, and the errors of the model and the event log.
 */
export type AnswerJob = (job: Job, input: JobInput, call: AnswerCall) => Promise<JobAnswer>;

export interface AnswerCall {
  /** Aborts when the attempt has to end. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds by which the answer must be complete. */
  readonly deadlineAt: number;
  /** The telemetry of the ticket. */
  readonly telemetry: Telemetry | undefined;
  /** The event log of a streamed job. Absent for other jobs. */
  readonly log: EventWriter | undefined;
  /** Must be called when the model begins to answer. */
  readonly onBegin: () => void;
}

/** A complete answer, encoded. */
export interface JobAnswer {
  readonly status: 'completed' | 'incomplete';
  readonly output: JobOutput;
  readonly usage: Usage | undefined;
  /** What the attempt noted for its log line: model, target, cost. An answer of an earlier version has none. */
  readonly notes?: LogFields;
}
