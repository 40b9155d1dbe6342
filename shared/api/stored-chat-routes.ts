import * as v from 'valibot';
import { requireStorage } from '../access/retention.ts';
import type { Route } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { abbreviateId } from '../core/ids.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import { omitUndefined } from '../core/objects.ts';
import { readInput, readOutput } from '../jobs/completion.ts';
import { deleteJob } from '../jobs/control.ts';
import type { Job } from '../jobs/job.ts';
import type { JobListQuery, ListedJob } from '../jobs/job-list.ts';
import {
  encodeStoredCompletion,
  encodeStoredMessages,
  isChatBody,
  isChatCompletion,
  type Metadata,
  parseChatUpdate,
  parseMetadataFilter,
} from '../openai/chat/stored.ts';
import { encodeList, parseListQuery } from '../openai/lists.ts';
import { storedId } from '../openai/schema.ts';
import { afterNotFoundError } from '../sessions/session-errors.ts';
import type { ApiState } from './api-state.ts';

/** The dependencies of the routes of stored chat completions. */
export interface StoredChatsApi {
  readonly state: Pick<ApiState, 'jobs' | 'bodies' | 'chats'>;
}

/** Requests to the stores that a list makes at the same time. */
const PARALLEL = 20;

/** Creates the route `GET /v1/chat/completions/{id}`. */
export function retrieveChatRoute({ state }: StoredChatsApi): Route {
  return {
    async run({ pathParameters, principal }) {
      const job = await findChat(state, principal.tenant, pathParameters['id'] ?? '');
      const entry = await state.chats.read(job);
      return { json: await viewChat(job, state, entry?.labels ?? {}) };
    },
  };
}

/** Creates the route `POST /v1/chat/completions/{id}`, which replaces the metadata. */
export function updateChatRoute({ state }: StoredChatsApi): Route {
  return {
    async run({ pathParameters, principal, body }) {
      requireStorage(principal.policy, 'Chat completions');
      const metadata = parseChatUpdate(body);
      const job = await findChat(state, principal.tenant, pathParameters['id'] ?? '');
      const entry = await state.chats.setLabels(job, metadata);
      if (entry === undefined) throw chatNotFoundError(job.id);
      return { json: await viewChat(job, state, entry.labels) };
    },
  };
}

/** Creates the route `DELETE /v1/chat/completions/{id}`. */
export function deleteChatRoute({ state }: StoredChatsApi): Route {
  return {
    async run({ pathParameters, principal }) {
      const job = await findChat(state, principal.tenant, pathParameters['id'] ?? '');
      await deleteJob(state, job.tenant, job.id);
      await state.chats.remove(job);
      return { json: { id: job.id, object: 'chat.completion.deleted', deleted: true } };
    },
  };
}

/** Creates the route `GET /v1/chat/completions`, which lists the tenant's stored completions. */
export function listChatsRoute({ state }: StoredChatsApi): Route {
  return {
    async run({ query, principal: { tenant } }) {
      const { newestFirst, after, limit } = parseListQuery({ order: 'asc', ...query });
      const labels = parseMetadataFilter(query);
      const preceding = after === undefined ? undefined : await findPreceding(state, tenant, after);
      const filter = omitUndefined({ after: preceding, model: query['model'] });
      const chats = await listChats(state, { tenant, newestFirst, labels, ...filter }, limit + 1);
      const page = await mapInParallel(chats.slice(0, limit), PARALLEL, ({ job, entry }) =>
        viewChat(job, state, entry.labels),
      );
      return { json: encodeList(page, chats.length > limit) };
    },
  };
}

/** Creates the route `GET /v1/chat/completions/{id}/messages`, which lists the messages of a completion's request. */
export function chatMessagesRoute({ state }: StoredChatsApi): Route {
  return {
    async run({ pathParameters, query, principal }) {
      const { newestFirst, after, limit } = parseListQuery({ order: 'asc', ...query });
      const job = await findChat(state, principal.tenant, pathParameters['id'] ?? '');
      const { body } = await readInput(job, state.bodies);
      const messages = isChatBody(body) ? encodeStoredMessages(job.id, body) : [];
      if (newestFirst) messages.reverse();
      const start = after === undefined ? 0 : messages.findIndex(({ id }) => id === after) + 1;
      if (after !== undefined && start === 0) throw afterNotFoundError(after);
      return { json: encodeList(messages.slice(start, start + limit), messages.length > start + limit) };
    },
  };
}

/**
 * Returns the job of a stored completion.
 * @throws LambentError `not_found`, also for a completion that came through the queue: it is shown under its job's id
 */
async function findChat({ jobs }: StoredChatsApi['state'], tenant: string, id: string): Promise<Job> {
  const job = v.is(storedId, id) ? await jobs.read(tenant, id) : undefined;
  if (job !== undefined && isStoredChat(job)) return job;
  throw chatNotFoundError(id);
}

function isStoredChat({ endpoint, stored, background }: Job): boolean {
  return endpoint === '/v1/chat/completions' && stored && !background;
}

async function findPreceding(state: StoredChatsApi['state'], tenant: string, id: string): Promise<Job> {
  try {
    return await findChat(state, tenant, id);
  } catch (thrown) {
    throw thrown instanceof LambentError && thrown.code === 'not_found' ? afterNotFoundError(id) : thrown;
  }
}

interface ListedChat {
  readonly job: Job;
  readonly entry: ListedJob;
}

/** Returns the first `count` stored completions that a query finds. Entries whose job is gone are skipped. */
async function listChats(
  { jobs, chats }: StoredChatsApi['state'],
  query: JobListQuery,
  count: number,
): Promise<ListedChat[]> {
  const found: ListedChat[] = [];
  let candidates: ListedJob[] = [];
  const addCandidates = async (): Promise<void> => {
    const read = await mapInParallel(candidates, PARALLEL, ({ tenant, id }) => jobs.read(tenant, id));
    for (const [index, job] of read.entries()) {
      const entry = candidates[index];
      // Two attempts of one operation may have written entries of different times.
      if (entry !== undefined && job?.createdAt === entry.createdAt && isStoredChat(job)) found.push({ job, entry });
    }
    candidates = [];
  };
  for await (const entry of chats.query(query)) {
    candidates.push(entry);
    if (found.length + candidates.length >= count) await addCandidates();
    if (found.length >= count) return found;
  }
  await addCandidates();
  return found;
}

async function viewChat(job: Job, { bodies }: StoredChatsApi['state'], metadata: Metadata): Promise<unknown> {
  const [{ body }, output] = await Promise.all([readInput(job, bodies), readOutput(job, bodies)]);
  if (isChatBody(body) && isChatCompletion(output?.answer)) {
    return encodeStoredCompletion(output.answer, body, metadata);
  }
  throw new LambentError('record_unreadable', `The chat completion ${job.id} can't be shown`);
}

function chatNotFoundError(id: string): LambentError {
  return new LambentError('not_found', `Chat completion with id '${abbreviateId(id)}' not found.`);
}
