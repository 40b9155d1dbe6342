import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
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
import { isObject, storedId } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { ApiState } from './api-state.ts';
import { isResponse, isResponsesBody } from './job-content.ts';
import { viewJob } from './job-view.ts';

type Stores = Pick<ApiState, 'jobs' | 'bodies'>;

/** Responses that a chain may have: beyond it a caller is better off with a conversation. */
const MAX_CHAIN = 500;

/**
 * The job behind a response.
 * @throws LambentError `not_found` when there is none for this tenant, or it isn't to be shown
 */
export async function findResponseJob({ jobs }: Pick<ApiState, 'jobs'>, tenant: string, id: string): Promise<Job> {
  const job = v.is(storedId, id) ? await jobs.read(tenant, id) : undefined;
  if (job !== undefined && isShown(job)) return job;
  throw new LambentError('not_found', `Response with id '${shortened(id)}' not found.`);
}

/** A job of somebody who stores nothing is shown as long as it runs. */
function isShown({ stored, status }: Job): boolean {
  return stored || !isTerminal(status);
}

/** What `GET /v1/responses/{id}` shows of a job, in whatever state it is. */
export async function viewStoredResponse(
  job: Job,
  { bodies }: Pick<ApiState, 'bodies'>,
  included?: Includes,
): Promise<unknown> {
  const output = await readOutput(job, bodies);
  if (output !== undefined) return included?.has('reasoning.encrypted_content') ? whole(output) : output.answer;
  const { id, createdAt, model } = job;
  // A chat completion that a program sent by queue has no object of its own before it is there.
  const bare = {
    id,
    object: 'response',
    created_at: Math.floor(createdAt / 1000),
    status: shownStatus(job),
    model,
    output: [],
  };
  return viewJob(job, await readInput(job, bodies), undefined) ?? bare;
}

/** An answer with what its model's provider wants back, which its caller may not have asked to see at first. */
function whole({ answer, continuations = {} }: JobOutput): unknown {
  if (!isResponse(answer)) return answer;
  const output = answer.output.map((item) => {
    const encrypted_content = isStoredItem(item) ? continuations[item.id] : undefined;
    return encrypted_content === undefined ? item : { ...item, encrypted_content };
  });
  return { ...answer, output };
}

/** The items of a response that its caller sent, oldest first. */
export function listInputItems(id: string, { body }: JobInput): StoredItem[] {
  return isResponsesBody(body) ? toStoredInput(body.input, createItemIdGenerator(id, 0)) : [];
}

/** An item with what its model's provider wants back, which its caller may not have asked to see. */
export interface TurnItem {
  readonly item: StoredItem;
  readonly continuation?: string;
}

/**
 * An item of a conversation, as it was put there.
 * @throws LambentError `record_unreadable` for anything else
 */
export function parseTurnItem(content: unknown): TurnItem {
  if (isTurnItem(content)) return content;
  throw new LambentError('record_unreadable', 'An item of a conversation is not one');
}

function isTurnItem(content: unknown): content is TurnItem {
  return isObject(content) && isStoredItem(content['item']);
}

/** The items of a whole turn: what was asked and what was answered, oldest first. */
export function createTurnItems(id: string, input: JobInput, { answer, continuations = {} }: JobOutput): TurnItem[] {
  const output: readonly unknown[] = isResponse(answer) ? answer.output : [];
  const asked = listInputItems(id, input).map((item) => ({ item }));
  const answered = output.filter(isStoredItem).map((item): TurnItem => {
    const continuation = continuations[item.id];
    return continuation === undefined ? { item } : { item, continuation };
  });
  return [...asked, ...answered];
}

/** An item as a model is to read it again. */
export function withContinuation({ item, continuation }: TurnItem): StoredItem {
  return continuation === undefined ? item : { ...item, encrypted_content: continuation };
}

/**
 * All items of a chain of responses that ends in `id`, oldest first. Two reads and a request for the next link for each.
 * @throws LambentError `previous_response_not_found` when a link is missing, `invalid_value` when one can't be gone on from
 */
export async function readChain(stores: Stores, tenant: string, id: string): Promise<TurnItem[]> {
  const turns: Promise<TurnItem[]>[] = [];
  try {
    for (let link: string | undefined = id; link !== undefined; ) {
      const job: Job | undefined = await stores.jobs.read(tenant, link);
      if (job === undefined || !job.stored || job.endpoint !== '/v1/responses') throw previousNotFound(link);
      if (job.status !== 'completed' && job.status !== 'incomplete') throw notContinuable(job);
      if (turns.length === MAX_CHAIN) throw tooLong();
      turns.push(readTurn(job, stores));
      link = job.previousResponse;
    }
  } catch (error) {
    await Promise.allSettled(turns);
    throw error;
  }
  return (await Promise.all(turns)).reverse().flat();
}

/** The items of a job's turn, opened. */
export async function readTurn(job: Job, { bodies }: Pick<ApiState, 'bodies'>): Promise<TurnItem[]> {
  const [input, output] = await Promise.all([readInput(job, bodies), readOutput(job, bodies)]);
  return createTurnItems(job.id, input, output ?? { answer: undefined });
}

function previousNotFound(id: string): LambentError {
  return new LambentError('previous_response_not_found', `Previous response with id '${shortened(id)}' not found.`, {
    param: 'previous_response_id',
  });
}

function notContinuable({ id, status }: Job): LambentError {
  return invalidValueError(
    'previous_response_id',
    `Response '${id}' can not be continued: its status is '${status}', and only completed or incomplete ones can.`,
  );
}

function tooLong(): LambentError {
  return invalidValueError(
    'previous_response_id',
    `The chain has more than ${MAX_CHAIN} responses. Go on with a conversation, or a new chain.`,
  );
}

function shortened(id: string): string {
  return id.slice(0, 128).toWellFormed();
}
