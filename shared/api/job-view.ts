import type { EndedJob } from '../jobs/fan-in.ts';
import type { Job } from '../jobs/job.ts';
import type { JobInput, JobOutput } from '../jobs/ports.ts';
import type { ErrorBody } from '../openai/errors.ts';
import { encodeErrorBody } from '../openai/errors.ts';
import { type Endpoint, isEndpoint, type ViewJob } from './endpoints.ts';
import { jobError } from './job-error.ts';
import { viewResponse } from './response-view.ts';

const VIEWS: Readonly<Record<Endpoint, ViewJob>> = {
  '/v1/responses': viewResponse,
  // A completion that is still to come has no object.
  '/v1/chat/completions': () => undefined,
};

/** Shows a job as its API does, with its answer if it has one; undefined where the API has no object for its state. */
export function viewJob(job: Job, input: JobInput, output: JobOutput | undefined): unknown {
  if (output !== undefined) return output.answer;
  return isEndpoint(job.endpoint) ? VIEWS[job.endpoint](job, input) : undefined;
}

/**
 * The first two events of a streamed job, before any worker has come: every reader makes them of the job, so that they are
 * there as soon as it is.
 */
export function createAcceptedEvents(job: Job, input: JobInput) {
  const response = viewJob({ ...job, status: 'queued' }, input, undefined);
  return [
    { type: 'response.created', sequence_number: 0, response },
    { type: 'response.queued', sequence_number: 1, response },
  ];
}

/** What is told of an ended job: its answer, or the error that it ended with. */
export function viewEndedJob({ job, input, output }: EndedJob): unknown {
  if (output !== undefined) return output.answer;
  if (job.output !== undefined) return encodeErrorBody(jobError({ ...job, errorCode: 'record_unreadable' }));
  const view = input === undefined ? undefined : viewJob(job, input, undefined);
  if (view !== undefined) return view;
  return job.status === 'cancelled' ? cancelledBody : encodeErrorBody(jobError(job));
}

const cancelledBody: ErrorBody = {
  error: { message: 'The request was cancelled.', type: 'invalid_request_error', param: null, code: 'cancelled' },
};
