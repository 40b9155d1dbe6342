import type { Route } from '../access/route.ts';
import { createFailureLog } from '../core/logger.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { endSequenceOf } from '../jobs/blobs.ts';
import { type CompletionStep, completeJob, readInput } from '../jobs/completion.ts';
import { cancelJob, deleteJob } from '../jobs/control.ts';
import { isTerminal, type Job } from '../jobs/job.ts';
import type { GiveBackStorage } from '../jobs/ports.ts';
import { encodeList, parseListQuery } from '../openai/lists.ts';
import { applyIncludes, parseIncludes } from '../openai/responses/includes.ts';
import { invalidValueError } from '../openai/validation.ts';
import { afterNotFoundError } from '../sessions/session-errors.ts';
import type { ApiState } from './api-state.ts';
import { resumeStream } from './resume-stream.ts';
import { createStorageStep } from './storage-step.ts';
import { findResponseJob, viewStoredResponse } from './stored-response.ts';
import { freeAfter, type LoadStreamLimits, reservePlace } from './stream-place.ts';
import { listInputItems } from './turn-items.ts';

/** The dependencies of the routes of stored responses. */
export interface StoredResponsesApi {
  readonly state: Pick<ApiState, 'jobs' | 'bodies' | 'events' | 'timings'>;
  readonly giveBackStorage: GiveBackStorage;
  /** Sends the reply of a job that was cancelled while it waited. Absent if the sweep does. */
  readonly sendReply?: CompletionStep;
  /** If absent, streams aren't limited. */
  readonly loadStreamLimits?: LoadStreamLimits;
  /** Returns epoch milliseconds. */
  readonly now?: () => number;
}

/**
 * Creates the route `GET /v1/responses/{id}`. It returns the response's current state, or with `stream=true` its events
 * after `starting_after`.
 */
export function retrieveResponseRoute({ state, now = Date.now, loadStreamLimits }: StoredResponsesApi): Route {
  return {
    async run(request) {
      const { pathParameters, query, principal, signal, deadlineAt } = request;
      const included = parseIncludes(query);
      const job = await findResponseJob(state, principal.tenant, pathParameters['id'] ?? '');
      if (!parseStreamFlag(query['stream'])) return { json: await viewStoredResponse(job, state, included) };
      if (!job.streamed) {
        throw invalidValueError(
          'stream',
          "Only background responses created with 'stream' set to true can be streamed.",
        );
      }
      const startingAfter = parseStartingAfter(query['starting_after'], job);
      const free = await reservePlace(loadStreamLimits, job.model, request);
      const { tenant, id } = job;
      return { frames: freeAfter(resumeStream(state, { tenant, id, startingAfter, signal, deadlineAt, now }), free) };
    },
  };
}

/** Creates the route `DELETE /v1/responses/{id}`. */
export function deleteResponseRoute({ state }: StoredResponsesApi): Route {
  return {
    async run({ pathParameters, principal }) {
      const { id, tenant } = await findResponseJob(state, principal.tenant, pathParameters['id'] ?? '');
      await deleteJob(state, tenant, id);
      return { json: { id, object: 'response', deleted: true } };
    },
  };
}

/**
 * Creates the route `POST /v1/responses/{id}/cancel`. The response is `cancelled` at once. The model stops when the
 * worker's next heartbeat notices the cancellation.
 */
export function cancelResponseRoute(api: StoredResponsesApi): Route {
  const { state, now = Date.now } = api;
  return {
    bodyOptional: true,
    async run({ pathParameters, principal, telemetry }) {
      const found = await findResponseJob(state, principal.tenant, pathParameters['id'] ?? '');
      if (!found.background) {
        throw invalidValueError(
          'response_id',
          'Cannot cancel a synchronous response. Only background responses can be cancelled.',
        );
      }
      const cancelled = await cancelJob({ jobs: state.jobs, timings: state.timings, now }, found.tenant, found.id);
      const job = cancelled?.job ?? (await findResponseJob(state, found.tenant, found.id));
      const json = await viewStoredResponse(job, state);
      if (cancelled?.ended) await completeCancelled(cancelled.job, api, telemetry);
      return { json };
    },
  };
}

/** Completes a job that was cancelled while it waited. Never throws: a step that fails is left to the sweep. */
async function completeCancelled(
  job: Job,
  { state, sendReply, giveBackStorage }: StoredResponsesApi,
  { logger }: Telemetry,
): Promise<void> {
  if (sendReply === undefined) return;
  const onError = createFailureLog(logger);
  const onStepFailed = (_job: Job, _step: string, thrown: unknown) => Promise.reject(thrown);
  try {
    const steps = { reply: sendReply, storage: createStorageStep(state.jobs, giveBackStorage) };
    await completeJob(job, { ...state, steps, onStepFailed, onError });
  } catch (thrown) {
    onError('completion steps not finished', thrown);
  }
}

/**
 * Creates the route `GET /v1/responses/{id}/input_items`. It lists the items of this response's input, without those of
 * earlier turns.
 */
export function inputItemsRoute({ state }: StoredResponsesApi): Route {
  return {
    async run({ pathParameters, query, principal }) {
      const { newestFirst, after, limit } = parseListQuery(query);
      const included = parseIncludes(query);
      const job = await findResponseJob(state, principal.tenant, pathParameters['id'] ?? '');
      const items = listInputItems(job.id, await readInput(job, state.bodies));
      if (newestFirst) items.reverse();
      const start = after === undefined ? 0 : items.findIndex(({ id }) => id === after) + 1;
      if (after !== undefined && start === 0) throw afterNotFoundError(after);
      const page = items.slice(start, start + limit).map((item) => applyIncludes(item, included));
      return { json: encodeList(page, items.length > start + limit) };
    },
  };
}

function parseStreamFlag(text = 'false'): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw invalidValueError('stream', "Invalid 'stream': expected 'true' or 'false'.");
}

/**
 * Parses `starting_after`, the sequence number of the last event that the caller has received.
 * @returns -1 if absent
 * @throws LambentError `invalid_value`, also for a number after the end of a finished stream
 */
function parseStartingAfter(text: string | undefined, job: Job): number {
  if (text === undefined) return -1;
  if (!/^\d{1,15}$/.test(text)) {
    throw invalidValueError('starting_after', "Invalid 'starting_after': expected the sequence number of an event.");
  }
  const end = endSequenceOf(job);
  if (!isTerminal(job.status) || Number(text) <= end) return Number(text);
  throw invalidValueError('starting_after', `Invalid 'starting_after': the stream has ended with event ${end}.`);
}
