import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { abbreviateId } from '../core/ids.ts';
import { readInput, readOutput } from '../jobs/completion.ts';
import { getShownStatus, isTerminal, type Job } from '../jobs/job.ts';
import type { JobOutput } from '../jobs/ports.ts';
import type { Includes } from '../openai/responses/includes.ts';
import { isStoredItem } from '../openai/responses/stored-items.ts';
import { storedId } from '../openai/schema.ts';
import type { ApiState } from './api-state.ts';
import { isResponse } from './job-content.ts';
import { viewJob } from './job-view.ts';

/**
 * Returns the job of a response. It also finds chat completions that were requested through the queue, because the ids
 * of their jobs have the same form.
 * @throws LambentError `not_found` if this tenant has no such job, or the job has ended and its response isn't stored
 */
export async function findResponseJob({ jobs }: Pick<ApiState, 'jobs'>, tenant: string, id: string): Promise<Job> {
  const job = v.is(storedId, id) ? await jobs.read(tenant, id) : undefined;
  if (job !== undefined && isVisible(job)) return job;
  throw new LambentError('not_found', `Response with id '${abbreviateId(id)}' not found.`);
}

/**
 * Returns whether a job may be shown. A job whose response isn't stored is visible only until it ends. A chat completion
 * that was stored by its own request has its own routes.
 */
function isVisible({ stored, status, endpoint, background }: Job): boolean {
  return (stored || !isTerminal(status)) && (background || endpoint === '/v1/responses');
}

/**
 * Returns the body of `GET /v1/responses/{id}`: the job's answer or, if it has none, a response object with the job's
 * status.
 * @throws LambentError as `readInput` does
 */
export async function viewStoredResponse(
  job: Job,
  { bodies }: Pick<ApiState, 'bodies'>,
  included?: Includes,
): Promise<unknown> {
  const output = await readOutput(job, bodies);
  if (output !== undefined)
    return included?.has('reasoning.encrypted_content') ? addContinuations(output) : output.answer;
  const { id, createdAt, model } = job;
  // A chat completion has no object of its own until it is complete.
  const placeholder = {
    id,
    object: 'response',
    created_at: Math.floor(createdAt / 1000),
    status: getShownStatus(job),
    model,
    output: [],
  };
  return viewJob(job, await readInput(job, bodies), undefined) ?? placeholder;
}

/**
 * Returns a response whose reasoning items have `encrypted_content`, even if the request that created the response
 * didn't include it.
 */
function addContinuations({ answer, continuations = {} }: JobOutput): unknown {
  if (!isResponse(answer)) return answer;
  const output = answer.output.map((item) => {
    const encrypted_content = isStoredItem(item) ? continuations[item.id] : undefined;
    return encrypted_content === undefined ? item : { ...item, encrypted_content };
  });
  return { ...answer, output };
}
