import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import { readInput, readOutput } from '../jobs/fan-in.ts';
import { isTerminal, type Job, shownStatus } from '../jobs/job.ts';
import type { JobInput, JobOutput } from '../jobs/ports.ts';
import type { Includes } from '../openai/responses/includes.ts';
import {
  createItemIdGenerator,
  isStoredItem,
  type StoredItem,
  toStoredInput,
} from '../openai/responses/stored-items.ts';
import { storedId } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { ApiState } from './api-state.ts';
import { isResponse, isResponsesBody } from './job-content.ts';
import { viewJob } from './job-view.ts';

type Stores = Pick<ApiState, 'jobs' | 'bodies'>;

/** Maximum number of responses in a chain. Callers with longer ones should use a conversation. */
const MAX_CHAIN = 500;

/**
 * Returns the job of a response, or of a chat completion that was requested by queue: their ids have the same form.
 * @throws LambentError `not_found` if this tenant has no such job, or the job has ended and its response isn't stored
 */
export async function findResponseJob({ jobs }: Pick<ApiState, 'jobs'>, tenant: string, id: string): Promise<Job> {
  const job = v.is(storedId, id) ? await jobs.read(tenant, id) : undefined;
  if (job !== undefined && isVisible(job)) return job;
  throw new LambentError('not_found', `Response with id '${abbreviate(id)}' not found.`);
}

/** Returns whether a job may be shown. A job whose response isn't stored is visible only while it runs. */
function isVisible({ stored, status }: Job): boolean {
  return stored || !isTerminal(status);
}

/**
 * Returns a job in any state as `GET /v1/responses/{id}` shows it: its answer, or else a response object with its status.
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
  // A chat completion that was requested by queue has no object of its own until it is complete.
  const placeholder = {
    id,
    object: 'response',
    created_at: Math.floor(createdAt / 1000),
    status: shownStatus(job),
    model,
    output: [],
  };
  return viewJob(job, await readInput(job, bodies), undefined) ?? placeholder;
}

/** Adds `encrypted_content` to the reasoning items of a response, even if the request that created it didn't include it. */
function addContinuations({ answer, continuations = {} }: JobOutput): unknown {
  if (!isResponse(answer)) return answer;
  const output = answer.output.map((item) => {
    const encrypted_content = isStoredItem(item) ? continuations[item.id] : undefined;
    return encrypted_content === undefined ? item : { ...item, encrypted_content };
  });
  return { ...answer, output };
}

/** Returns the items of a response's input, oldest first. Returns none for a chat completion. */
export function listInputItems(id: string, { body }: JobInput): StoredItem[] {
  return isResponsesBody(body) ? toStoredInput(body.input, createItemIdGenerator(id, 0)) : [];
}

/** An item of a turn, as stored in conversations. */
export interface TurnItem {
  readonly item: StoredItem;
  /** The encoded continuation of a reasoning item, which the provider needs in the next turn. */
  readonly continuation?: string;
}

/**
 * Parses the stored content of a conversation item.
 * @throws LambentError `record_unreadable`
 */
export function parseTurnItem(content: unknown): TurnItem {
  if (isTurnItem(content)) return content;
  throw new LambentError('record_unreadable', 'A conversation item has no valid content');
}

function isTurnItem(content: unknown): content is TurnItem {
  return isObject(content) && isStoredItem(content['item']);
}

/** Returns the items of a turn, input and output, oldest first. */
export function createTurnItems(id: string, input: JobInput, { answer, continuations = {} }: JobOutput): TurnItem[] {
  const output: readonly unknown[] = isResponse(answer) ? answer.output : [];
  const inputTurnItems = listInputItems(id, input).map((item) => ({ item }));
  const outputTurnItems = output.filter(isStoredItem).map((item): TurnItem => {
    const continuation = continuations[item.id];
    return continuation === undefined ? { item } : { item, continuation };
  });
  return [...inputTurnItems, ...outputTurnItems];
}

/** Returns an item as input for a model, with its continuation as `encrypted_content`. */
export function withContinuation({ item, continuation }: TurnItem): StoredItem {
  return continuation === undefined ? item : { ...item, encrypted_content: continuation };
}

/**
 * Returns all items of the chain of responses that ends with `id`, oldest first. The jobs are read one after the other,
 * because each names the one before it. Their inputs and outputs are read meanwhile.
 * @throws LambentError `previous_response_not_found` if a response is missing, `invalid_value` if one can't be continued or
 * the chain is too long; also as `readInput` does
 */
export async function readChain(stores: Stores, tenant: string, id: string): Promise<TurnItem[]> {
  const turns: Promise<TurnItem[]>[] = [];
  try {
    for (let link: string | undefined = id; link !== undefined; ) {
      const job: Job | undefined = await stores.jobs.read(tenant, link);
      if (job === undefined || !job.stored || job.endpoint !== '/v1/responses') throw previousNotFoundError(link);
      if (job.status !== 'completed' && job.status !== 'incomplete') throw notContinuableError(job);
      if (turns.length === MAX_CHAIN) throw chainTooLongError();
      turns.push(readTurn(job, stores));
      link = job.previousResponse;
    }
  } catch (error) {
    await Promise.allSettled(turns);
    throw error;
  }
  return (await Promise.all(turns)).reverse().flat();
}

/**
 * Returns the items of a job's turn, input and output, oldest first.
 * @throws LambentError as `readInput` does
 */
export async function readTurn(job: Job, { bodies }: Pick<ApiState, 'bodies'>): Promise<TurnItem[]> {
  const [input, output] = await Promise.all([readInput(job, bodies), readOutput(job, bodies)]);
  return createTurnItems(job.id, input, output ?? { answer: undefined });
}

function previousNotFoundError(id: string): LambentError {
  return new LambentError('previous_response_not_found', `Previous response with id '${abbreviate(id)}' not found.`, {
    param: 'previous_response_id',
  });
}

function notContinuableError({ id, status }: Job): LambentError {
  return invalidValueError(
    'previous_response_id',
    `Response '${id}' cannot be continued: its status is '${status}'. Only completed and incomplete responses can.`,
  );
}

function chainTooLongError(): LambentError {
  return invalidValueError(
    'previous_response_id',
    `The chain has more than ${MAX_CHAIN} responses. Start a new chain or use a conversation.`,
  );
}

function abbreviate(id: string): string {
  return id.slice(0, 128).toWellFormed();
}
