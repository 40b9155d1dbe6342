import type { EndedJob } from '../jobs/completion.ts';
import type { Job } from '../jobs/job.ts';
import type { JobInput, JobOutput } from '../jobs/ports.ts';
import type { ErrorBody } from '../openai/errors.ts';
import { encodeErrorBody } from '../openai/errors.ts';
import { type Endpoint, isEndpoint, type ViewJob } from './endpoints.ts';
import { jobError } from './job-error.ts';
import { viewResponse } from './response-view.ts';

const VIEWS: Readonly<Record<Endpoint, ViewJob>> = {
  '/v1/responses': viewResponse,
  // The API has no object for a completion in progress.
  '/v1/chat/completions': () => undefined,
};

/**
 * Returns the API's object for a job: its output or, without one, an object with its state. Undefined if the API has no
 * object for that state.
 */
export function viewJob(job: Job, input: JobInput, output: JobOutput | undefined): unknown {
  if (output !== undefined) return output.answer;
  return isEndpoint(job.endpoint) ? VIEWS[job.endpoint](job, input) : undefined;
}

/**
 * Creates the first two events of a streamed job. They are derived from the job on every read instead of being logged,
 * so they are available as soon as the job exists.
 */
export function createAcceptedEvents(job: Job, input: JobInput) {
  const response = viewJob({ ...job, status: 'queued' }, input, undefined);
  return [
    { type: 'response.created', sequence_number: 0, response },
    { type: 'response.queued', sequence_number: 1, response },
  ];
}

/** Returns the response that is delivered for an ended job: its output or, without one, its error or final state. */
export function viewEndedJob({ job, input, output }: EndedJob): unknown {
  if (output !== undefined) return output.answer;
  if (job.output !== undefined) return encodeErrorBody(jobError({ ...job, errorCode: 'record_unreadable' }));
  const view = input === undefined ? undefined : viewJob(job, input, undefined);
  if (view !== undefined) return view;
  return job.status === 'cancelled' ? CANCELLED_BODY : encodeErrorBody(jobError(job));
}

const CANCELLED_BODY: ErrorBody = {
  error: { message: 'The request was cancelled.', type: 'invalid_request_error', param: null, code: 'cancelled' },
};
