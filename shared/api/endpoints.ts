import type { GenerationEvent, GenerationRequest, Usage } from '../inference/generation.ts';
import type { JobAnswer } from '../jobs/answer-job.ts';
import type { EventWriter } from '../jobs/event-writer.ts';
import type { Job } from '../jobs/job.ts';
import type { InputContext, JobInput } from '../jobs/ports.ts';
import type { ParseContext } from '../openai/parameters.ts';
import type { CompactionItem } from '../openai/responses/item-builders.ts';
import type { ItemIdGenerator } from '../openai/responses/stored-items.ts';

/**
 * The endpoints whose requests can become jobs. Each needs an entry in three tables, which the compiler enforces:
 * `PARSERS` (queued-request.ts), `ANSWERS` (job-answer.ts) and `VIEWS` (job-view.ts). The tables are in separate files
 * so that each function bundles only the code that it runs: a function that shows jobs needs no request schemas.
 */
export const ENDPOINTS = ['/v1/responses', '/v1/chat/completions'] as const;
export type Endpoint = (typeof ENDPOINTS)[number];

/** Returns whether this version supports the endpoint that a job names. */
export function isEndpoint(name: string): name is Endpoint {
  return ENDPOINTS.some((endpoint) => endpoint === name);
}

/** Parses the body of a queued request. Throws LambentError with status 400 or 404 for every invalid JSON value. */
export type ParseQueuedRequest = (body: unknown, context: ParseContext) => QueuedRequest;

/** A parsed queued request. */
export interface QueuedRequest {
  /** The request's body, as stored with the job. */
  readonly body: unknown;
  readonly generation: GenerationRequest;
  /** Present if the job's messages are built when it runs, because only a worker can open the input's compaction items. */
  readonly context?: InputContext;
  /** The items of the input as the caller sent them, for native requests; absent if no target takes these. */
  readonly rawInput?: readonly unknown[];
  /** Whether the job's events are logged, so that its stream can be resumed. */
  readonly streamed: boolean;
  /** Whether the output can be retrieved later. */
  readonly stored: boolean;
  /** Whether reasoning items have `encrypted_content`. */
  readonly continuations: boolean;
}

/**
 * Encodes a model's events as the output of a job. Throws LambentError `upstream_cut` if the events end without
 * `finish`, and every error of `events`.
 */
export type EncodeAnswer = (events: AsyncIterable<GenerationEvent>, options: AnswerOptions) => Promise<JobAnswer>;

/** The result of compacting a job's context. */
export interface AnswerCompaction {
  /** The output item with the compacted context. */
  readonly item: CompactionItem;
  /** The tokens of the summary. */
  readonly usage: Usage;
  /** Creates the ids of the attempt's further items. */
  readonly createItemId: ItemIdGenerator;
}

export interface AnswerOptions {
  readonly job: Job;
  readonly input: JobInput;
  /** Present if the job's context was compacted. */
  readonly compaction?: AnswerCompaction | undefined;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
  /** Returns the `system_fingerprint` for the name of a model. */
  readonly fingerprint: (model: string) => string;
  /** Receives the events of a streamed job. */
  readonly log: EventWriter | undefined;
}

/** Returns the API's object for a job that has no output. Undefined if the API has none for the job's state. */
export type ViewJob = (job: Job, input: JobInput) => unknown;
