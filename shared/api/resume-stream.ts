import { LambentError } from '../core/errors.ts';
import { ACCEPTED_EVENTS, endSequenceOf } from '../jobs/blobs.ts';
import { readInput } from '../jobs/completion.ts';
import { isTerminal, type Job } from '../jobs/job.ts';
import { KEEP_ALIVE_COMMENT } from '../lambda/keep-alive.ts';
import { encodeErrorBody } from '../openai/errors.ts';
import { encodeTypedFrame } from '../wire/sse.ts';
import type { ApiState } from './api-state.ts';
import { createAcceptedEvents } from './job-view.ts';
import { viewStoredResponse } from './stored-response.ts';

export interface ResumeOptions {
  readonly tenant: string;
  readonly id: string;
  /** Sequence number of the last event that the caller has received, or -1. */
  readonly startingAfter: number;
  /** Epoch milliseconds by which the stream must end. */
  readonly deadlineAt: number;
  readonly signal: AbortSignal;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
}

/** The shortest interval between reads of the log: the interval at which the event writer closes a chunk. */
const POLL_MS = 250;
/** The longest interval between reads, used while a log doesn't grow: the model is reasoning, or the job is queued. */
const IDLE_POLL_MS = 1_000;
/** Time reserved before the deadline for the final error event. */
const FINAL_EVENT_MS = 1_500;

/**
 * Streams the events of a background response that follow `startingAfter`. The events come from the log, so the stream
 * continues when another worker takes over the job.
 *
 * - If no event is available yet, the stream starts with a comment.
 * - It ends with the response's final event, whose sequence number is the same on every read. If the caller has that
 *   event already, the stream ends at once.
 * - It ends with an `error` event at the deadline, or if the response is deleted. The error has the number of the last
 *   event, so that the caller can resume after it.
 * @returns whether the response has ended
 */
export async function* resumeStream(
  stores: Pick<ApiState, 'jobs' | 'events' | 'bodies'>,
  { tenant, id, startingAfter, deadlineAt, signal, now }: ResumeOptions,
): AsyncGenerator<string, boolean> {
  let last = startingAfter;
  let atBoundary = startingAfter === -1;
  let isFirstPoll = true;
  for (let pauseMs = POLL_MS; ; ) {
    // The job is read before its events: if it has ended, the log is complete.
    const job = await stores.jobs.read(tenant, id);
    if (job === undefined) return yield* streamError(last, new LambentError('not_found', 'The response was deleted.'));
    const lastBefore = last;
    const accepted =
      last + 1 < ACCEPTED_EVENTS ? [{ events: createAcceptedEvents(job, await readInput(job, stores.bodies)) }] : [];
    for (const { events } of [...accepted, ...(await stores.events.read(tenant, id, last, atBoundary))]) {
      for (const event of events) {
        if (event.sequence_number <= last) continue;
        last = event.sequence_number;
        atBoundary = true;
        yield encodeTypedFrame(event);
      }
    }
    if (isTerminal(job.status)) {
      const sequence_number = endSequenceOf(job);
      if (last < sequence_number) yield encodeTypedFrame({ ...(await createFinalEvent(job, stores)), sequence_number });
      return true;
    }
    // The HTTP status is sent with the first frame. The pipeline sends keep-alive comments only after that frame.
    if (isFirstPoll && last === lastBefore) yield KEEP_ALIVE_COMMENT;
    isFirstPoll = false;
    pauseMs = last > lastBefore ? POLL_MS : Math.min(2 * pauseMs, IDLE_POLL_MS);
    if (signal.aborted || now() + pauseMs + FINAL_EVENT_MS > deadlineAt) {
      const message = `The stream reached its time limit. Resume it with 'starting_after' ${last}.`;
      return yield* streamError(last, new LambentError('deadline_exceeded', message));
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** Creates the final event of a response. */
async function createFinalEvent(job: Job, { bodies }: Pick<ApiState, 'bodies'>) {
  const response = await viewStoredResponse(job, { bodies });
  return { type: `response.${job.status === 'expired' ? 'failed' : job.status}`, response };
}

/** Streams an `error` event with the number of the last event, so that a caller who resumes after it misses nothing. */
async function* streamError(last: number, error: LambentError): AsyncGenerator<string, false> {
  const { error: body } = encodeErrorBody(error);
  const { code, message, param } = body;
  yield encodeTypedFrame({ type: 'error', code, message, param, error: body, sequence_number: Math.max(0, last) });
  return false;
}
