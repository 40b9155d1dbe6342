import { LambentError } from '../core/errors.ts';
import { ACCEPTED_EVENTS, endSequenceOf } from '../jobs/blobs.ts';
import { readInput } from '../jobs/fan-in.ts';
import { isTerminal, type Job } from '../jobs/job.ts';
import { COMMENT } from '../lambda/keep-alive.ts';
import { encodeErrorBody } from '../openai/errors.ts';
import { encodeTypedFrame } from '../openai/sse.ts';
import type { ApiState } from './api-state.ts';
import { createAcceptedEvents } from './job-view.ts';
import { viewStoredResponse } from './response-chain.ts';

export interface ResumeOptions {
  readonly tenant: string;
  readonly id: string;
  /** Number of the last event that the caller has; -1 for none. */
  readonly startingAfter: number;
  /** Epoch milliseconds by which the stream must have ended. */
  readonly deadlineAt: number;
  readonly signal: AbortSignal;
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/** As often as whoever writes the log closes a chunk of it. */
const POLL_MS = 250;
/** A log in which nothing happens is looked at less often: a model that thinks, a queue that is long. */
const IDLE_POLL_MS = 1_000;
/** Left to say that the time is over. */
const LAST_WORD_MS = 1_500;

/**
 * The stream of a background response, from any of its events on, as its log has it, whoever writes that and however
 * often it changes hands. Begins with a comment where the first event is still to come. Ends in the event that says how
 * the response ended, which has one number however often it is read; at once when the caller has that event; or in an
 * `error` when the time is over or the response was deleted: what follows can then be asked for by the number of the last
 * event.
 * @returns whether it came to the response's end
 */
export async function* resumeStream(
  stores: Pick<ApiState, 'jobs' | 'events' | 'bodies'>,
  { tenant, id, startingAfter, deadlineAt, signal, now }: ResumeOptions,
): AsyncGenerator<string, boolean> {
  let last = startingAfter;
  let atBoundary = startingAfter === -1;
  let isFirstLook = true;
  for (let pauseMs = POLL_MS; ; ) {
    // Before its events: when a job has ended, all that it says lies in the log.
    const job = await stores.jobs.read(tenant, id);
    if (job === undefined) return yield* stopped(last, new LambentError('not_found', 'The response was deleted.'));
    const before = last;
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
      // Whoever has had the last event gets it no second time.
      if (last < sequence_number) yield encodeTypedFrame({ ...(await ending(job, stores)), sequence_number });
      return true;
    }
    // The status goes out with the first frame, and nothing keeps a connection alive before it.
    if (isFirstLook && last === before) yield COMMENT;
    isFirstLook = false;
    pauseMs = last > before ? POLL_MS : Math.min(2 * pauseMs, IDLE_POLL_MS);
    if (signal.aborted || now() + pauseMs + LAST_WORD_MS > deadlineAt) {
      const message = `The connection's time is over. Go on with 'starting_after' ${last}.`;
      return yield* stopped(last, new LambentError('deadline_exceeded', message));
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** The event that tells how a response ended, as the response itself has it. */
async function ending(job: Job, { bodies }: Pick<ApiState, 'bodies'>) {
  const response = await viewStoredResponse(job, { bodies });
  return { type: `response.${job.status === 'expired' ? 'failed' : job.status}`, response };
}

/** An error carries the number of the last event, so that whoever resumes after it misses nothing. */
async function* stopped(last: number, error: LambentError): AsyncGenerator<string, false> {
  const { error: body } = encodeErrorBody(error);
  const { code, message, param } = body;
  yield encodeTypedFrame({ type: 'error', code, message, param, error: body, sequence_number: Math.max(0, last) });
  return false;
}
