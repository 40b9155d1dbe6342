import type { GenerationEvent, GenerationRequest } from '../inference/generation.ts';
import type { JobAnswer } from '../jobs/answer-job.ts';
import type { EventWriter } from '../jobs/event-writer.ts';
import type { Job } from '../jobs/job.ts';
import type { JobInput } from '../jobs/ports.ts';
import type { ParseContext } from '../openai/parameters.ts';

/**
 * The endpoints whose requests can become jobs. Each has one entry in three tables, which the compiler asks for: `PARSERS`
 * (queued-request.ts), `ANSWERS` (job-answer.ts) and `VIEWS` (job-view.ts). They are apart so that a function carries only
 * the code that it runs: one that shows jobs needs no request schemas.
 */
export const ENDPOINTS = ['/v1/responses', '/v1/chat/completions'] as const;
export type Endpoint = (typeof ENDPOINTS)[number];

/** True if this version knows the endpoint that a job names. */
export function isEndpoint(name: string): name is Endpoint {
  return ENDPOINTS.some((endpoint) => endpoint === name);
}

/**
 * Parses the body of a request that came by queue. Throws LambentError of status 400 or 404 for a wrong one, whatever JSON it is.
 */
export type ParseQueuedRequest = (body: unknown, context: ParseContext) => QueuedRequest;

/** A request that came by queue, parsed. */
export interface QueuedRequest {
  /** The request's body as it is stored. */
  readonly body: unknown;
  readonly generation: GenerationRequest;
  /** True if the job's events are logged, so that its stream can be resumed. */
  readonly streamed: boolean;
  /** True if the answer can be retrieved later. */
  readonly stored: boolean;
  /** True if reasoning items carry what the caller has to send back in the next turn. */
  readonly continuations: boolean;
}

/**
 * Encodes the events of a model as the answer to a job. Throws LambentError `upstream_cut` when they end early, and what `events`
 * throws.
 */
export type EncodeAnswer = (events: AsyncIterable<GenerationEvent>, options: AnswerOptions) => Promise<JobAnswer>;

export interface AnswerOptions {
  readonly job: Job;
  readonly input: JobInput;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Returns the `system_fingerprint` of a model's name. */
  readonly fingerprint: (model: string) => string;
  /** Takes the events of a streamed job. */
  readonly log: EventWriter | undefined;
}

/** Shows a job that has no answer, whatever its state; undefined where the API has no object for that. */
export type ViewJob = (job: Job, input: JobInput) => unknown;
