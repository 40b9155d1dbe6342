import { type ErrorCode, isErrorCode, LambentError } from '../core/errors.ts';
import { isResponse, isResponsesBody } from '../jobs/content.ts';
import type { EndedJob } from '../jobs/fan-in.ts';
import { type Job, shownStatus } from '../jobs/job.ts';
import type { JobInput, JobOutput } from '../jobs/ports.ts';
import type { ErrorBody } from '../openai/errors.ts';
import { encodeErrorBody } from '../openai/errors.ts';
import { failedResponse, inProgressResponse, type ResponseObject } from '../openai/responses/response.ts';

/**
 * A job as a response, in whatever state it is.
 * @returns undefined for a job that was asked no response
 */
export function responseView(job: Job, input: JobInput, output: JobOutput | undefined): ResponseObject | undefined {
  if (!isResponsesBody(input.body)) return undefined;
  if (output !== undefined && isResponse(output.answer)) return output.answer;
  const createdAt = Math.floor(job.createdAt / 1000);
  const begun = inProgressResponse({ body: input.body, id: job.id, createdAt, stored: job.stored });
  const status = shownStatus(job);
  switch (status) {
    case 'failed':
      return failedResponse(begun, failureOf(job));
    case 'expired':
      // OpenAI has no word for it: to its clients a response that was not answered in time has failed.
      return failedResponse(begun, new LambentError('deadline_exceeded', 'The deadline has passed'));
    default:
      return { ...begun, status };
  }
}

/**
 * The first two events of a streamed job, before any worker has come: every reader makes them of the job, so that they are
 * there as soon as it is.
 */
export function acceptedEvents(job: Job, input: JobInput) {
  const response = responseView({ ...job, status: 'queued' }, input, undefined);
  return [
    { type: 'response.created', sequence_number: 0, response },
    { type: 'response.queued', sequence_number: 1, response },
  ];
}

/** What is told of an ended job: its answer, or the error that it ended with. */
export function answerView({ job, input, output }: EndedJob): unknown {
  if (output !== undefined) return output.answer;
  if (job.output !== undefined) return encodeErrorBody(failureOf({ ...job, errorCode: 'record_unreadable' }));
  const response = input === undefined ? undefined : responseView(job, input, undefined);
  if (response !== undefined) return response;
  return job.status === 'cancelled' ? cancelledBody : encodeErrorBody(failureOf(job));
}

const cancelledBody: ErrorBody = {
  error: { message: 'The request was cancelled.', type: 'invalid_request_error', param: null, code: 'cancelled' },
};

/** A code is all that is kept of a failure: texts may quote what was asked. */
function failureOf({ errorCode, status }: Job): LambentError {
  const code: ErrorCode = status === 'expired' ? 'deadline_exceeded' : isErrorCode(errorCode) ? errorCode : 'internal';
  return new LambentError(code, `The request could not be answered (${code}).`);
}
