import { getShownStatus, type Job } from '../jobs/job.ts';
import type { JobInput } from '../jobs/ports.ts';
import { failedResponse, inProgressResponse, type ResponseObject } from '../openai/responses/response.ts';
import { isResponsesBody } from './job-content.ts';
import { jobError } from './job-error.ts';

/**
 * Returns the response object of a job of `/v1/responses` that has no output. Undefined if the job's input isn't a body
 * of that endpoint.
 */
export function viewResponse(job: Job, { body }: JobInput): ResponseObject | undefined {
  if (!isResponsesBody(body)) return undefined;
  const createdAt = Math.floor(job.createdAt / 1000);
  const inProgress = inProgressResponse({ body, id: job.id, createdAt, stored: job.stored });
  const status = getShownStatus(job);
  // OpenAI's API has no status for an expired response, so it is shown as failed.
  if (status === 'failed' || status === 'expired') return failedResponse(inProgress, jobError(job));
  return { ...inProgress, status };
}
