import type { Caller } from '../access/principal.ts';
import { LambentError } from '../core/errors.ts';
import type { LogFields } from '../core/logger.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { GenerationEvent } from '../inference/generation.ts';
import type { AnswerJob } from '../jobs/answer-job.ts';
import type { Job } from '../jobs/job.ts';
import type { JobInput } from '../jobs/ports.ts';
import { type AnswerCompaction, type EncodeAnswer, type Endpoint, isEndpoint } from './endpoints.ts';
import type { GovernedOptions, GovernedRouter } from './governed-router.ts';
import { needsCompaction } from './job-content.ts';

/** Loads the code that encodes an endpoint's answers, with the first job of that endpoint. */
const ANSWERS: Readonly<Record<Endpoint, () => Promise<EncodeAnswer>>> = {
  '/v1/responses': async () => (await import('./response-job-answer.ts')).answerResponse,
  '/v1/chat/completions': async () => (await import('./chat-job-answer.ts')).answerChat,
};

/** The input of a job whose context may have been compacted. */
export interface CompactedInput {
  readonly input: JobInput;
  readonly compaction?: AnswerCompaction;
  /** Keeps the compaction for the job's next attempt, after this one has failed. Returns the error of the attempt. Never throws. */
  readonly keep?: (thrown: unknown) => Promise<unknown>;
}

/** Options of `createAnswerJob`. */
export interface AnswerJobOptions {
  readonly router: GovernedRouter;
  /** Returns for whom a job calls the model, with the policy of now. */
  readonly findCaller: (job: Job, input: JobInput) => Promise<Caller>;
  /** Completes the input of a job that asks for compaction, as `compactJobContext` does. */
  readonly compactContext: (
    job: Job,
    input: JobInput,
    call: Pick<GovernedOptions, 'signal' | 'deadlineAt' | 'telemetry' | 'caller'>,
  ) => Promise<CompactedInput>;
  /** Returns the `system_fingerprint` for the name of a model. */
  readonly fingerprint: (model: string) => string;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
}

/**
 * Creates the function that answers jobs: it sends a job's request to the router and encodes the events for the job's
 * endpoint. It throws LambentError `overloaded` for an unknown endpoint, so that the job waits for a newer version.
 */
export function createAnswerJob({ router, findCaller, compactContext, fingerprint, now }: AnswerJobOptions): AnswerJob {
  return async (job, input, { signal, deadlineAt, telemetry: ticketTelemetry, log, onBegin }) => {
    const { endpoint } = job;
    if (!isEndpoint(endpoint)) {
      throw new LambentError('overloaded', `This version does not support the endpoint ${endpoint}`);
    }
    const [encodeAnswer, caller] = await Promise.all([ANSWERS[endpoint](), findCaller(job, input)]);
    const { telemetry, notes } = ticketTelemetry === undefined ? {} : collectNotes(ticketTelemetry);
    // Lines that are recorded during the answer, such as a match of a content rule, name whose they are.
    telemetry?.logger.annotate({ tenant: job.tenant, keyId: caller.keyId, costUsd: undefined, serviceTier: undefined });
    const {
      input: prepared,
      compaction,
      keep,
    }: CompactedInput = needsCompaction(input.body)
      ? await compactContext(job, input, { signal, deadlineAt, telemetry, caller })
      : { input };
    // Inputs stored by earlier versions have no tenant in their request.
    const request = { ...prepared.generation, tenant: job.tenant };
    // Streamed even if the job isn't: an upstream stops generating when a streaming connection is closed.
    const options = { queued: true, heldBack: log === undefined, retriesThrottled: false };
    const call = { signal, deadlineAt, streamed: true, telemetry, caller, ...options };
    try {
      const { events } = await router.generate(request, call);
      const encoding = { job, input: prepared, compaction, now, fingerprint, log };
      const answer = await encodeAnswer(notifyBegin(events, onBegin), encoding);
      return notes === undefined ? answer : { ...answer, notes: notes() };
    } catch (thrown) {
      throw keep === undefined ? thrown : await keep(thrown);
    }
  };
}

/**
 * Returns telemetry for one attempt, and a function that returns what the attempt has noted for its log line. What an attempt
 * costs is counted from zero, although earlier attempts may have served the same ticket.
 */
function collectNotes({ logger, metrics }: Telemetry): {
  readonly telemetry: Telemetry;
  readonly notes: () => LogFields;
} {
  let notes: LogFields = {};
  const annotate: Telemetry['logger']['annotate'] = (fields) => {
    notes = { ...notes, ...fields };
    logger.annotate(fields);
  };
  return { telemetry: { logger: { ...logger, annotate }, metrics }, notes: () => notes };
}

/** Passes events on, and calls `onBegin` with the first. */
async function* notifyBegin(
  events: AsyncIterable<GenerationEvent>,
  onBegin: () => void,
): AsyncGenerator<GenerationEvent> {
  for await (const event of events) {
    onBegin();
    yield event;
  }
}
