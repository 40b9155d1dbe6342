import { LambentError } from '../core/errors.ts';
import type { Router } from '../inference/router.ts';
import type { AnswerJob } from '../jobs/answer-job.ts';
import { answerChat } from './chat-job-answer.ts';
import { type EncodeAnswer, type Endpoint, isEndpoint } from './endpoints.ts';
import { answerResponse } from './response-job-answer.ts';

const ANSWERS: Readonly<Record<Endpoint, EncodeAnswer>> = {
  '/v1/responses': answerResponse,
  '/v1/chat/completions': answerChat,
};

export interface AnswerJobOptions {
  readonly router: Router;
  /** Returns the `system_fingerprint` of a model's name. */
  readonly fingerprint: (model: string) => string;
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/**
 * Makes the function that answers jobs: it asks the router, and encodes the events as the job's endpoint does. It throws
 * LambentError `overloaded` for an endpoint that only a newer version knows, so that the job waits for one.
 */
export function createAnswerJob({ router, fingerprint, now }: AnswerJobOptions): AnswerJob {
  return async (job, input, { signal, deadlineAt, telemetry, log }) => {
    const { endpoint } = job;
    if (!isEndpoint(endpoint)) throw new LambentError('overloaded', `No endpoint ${endpoint} in this version`);
    // An input that an earlier version stored has no tenant in its request.
    const request = { ...input.generation, tenant: job.tenant };
    // Streamed even if nobody reads the stream: an upstream stops generating when its connection is closed.
    const { events } = await router.generate(request, { signal, deadlineAt, streamed: true, telemetry });
    return ANSWERS[endpoint](events, { job, input, now, fingerprint, log });
  };
}
