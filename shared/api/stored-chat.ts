import type { HttpRequest } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { resultDeletedError } from '../idempotency/idempotency-errors.ts';
import type { GenerationEvent, Usage } from '../inference/generation.ts';
import { readOutput } from '../jobs/completion.ts';
import { expiryOf } from '../jobs/lifetime.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import {
  type ChatCompletionObject,
  commitCompletion,
  encodeChatCompletion,
  toCompletionOptions,
} from '../openai/chat/completion.ts';
import type { ChatRequest } from '../openai/chat/request.ts';
import { encodeStoredChatStream, isChatCompletion } from '../openai/chat/stored.ts';
import { persist, prepareBodies, storeAnsweredJob } from './answered-job.ts';
import type { ApiState } from './api-state.ts';
import { encodeChatAnswer } from './encode-chat.ts';
import type { GenerationApi } from './generation-api.ts';
import { describeHandling } from './handling-headers.ts';
import { omitMessages } from './response-context.ts';
import { type ReservedStorage, reserveStorage, type StorageAmount } from './storage-limits.ts';
import { boundStored } from './stored-size.ts';

type ChatApi = Required<Pick<GenerationApi, 'router' | 'registry' | 'fingerprint' | 'ids' | 'now' | 'sleep'>>;

/**
 * Answers a `POST /v1/chat/completions` that stores its completion, as an ended job under the completion's id. A repeated
 * request returns the completion that an earlier attempt has stored, if any.
 * @throws LambentError `idempotent_answer_not_kept` if the earlier completion was deleted; `storage_limit_exceeded`; otherwise as requests that
 * store nothing, and the errors of the stores
 */
export async function createStoredChat(
  parsed: ChatRequest,
  request: HttpRequest,
  api: ChatApi,
  state: ApiState,
): Promise<HttpResponse> {
  const { generation, model, streamed, includeUsage } = parsed;
  const { operation, principal, signal, deadlineAt, telemetry, defer } = request;
  const createdAt = api.now();
  const source = { id: operation?.id ?? api.ids(), createdAt, model, generation, fingerprint: api.fingerprint };
  const options = { ...toCompletionOptions(source), includeUsage };
  const { id } = options.head;
  const earlier = operation?.isRepeated ? await findEarlier(principal.tenant, id, state) : undefined;
  if (earlier !== undefined) {
    if (!streamed) return { stored: id, json: earlier };
    return { stored: id, frames: yieldFrames(encodeStoredChatStream(earlier, includeUsage)) };
  }
  const input = { body: parsed.body, generation: omitMessages(generation) };
  const { tenant, policy } = principal;
  const expiresAt = expiryOf(state.lifetime, createdAt);
  const job = { tenant, id, createdAt };
  const epoch = operation?.attempt ?? 1;
  // Before anything is paid. It is awaited once the storage is reserved, which is given back if it fails.
  const preparing = Promise.all([
    prepareBodies({ tenant, id, epoch, expiresAt }, state.bodies),
    state.chats.prepare({ ...job, model, labels: parsed.body.metadata ?? {} }, expiresAt),
  ]);
  preparing.catch(() => {});
  const reserved = await reserveStorage(state.openStorageLimits, { tenant, policy, telemetry }, (maxima) => ({
    most: { bytes: boundStored({ input, generation, registry: api.registry }, maxima), items: 1 },
    expiresAt,
  }));
  const nothing = { bytes: 0, items: 0 };
  /** Undefined while it isn't known, because a write has no response. */
  let stored: StorageAmount | undefined = nothing;
  const generate = async () => {
    const [writes, addToList] = await preparing;
    const call = { signal, deadlineAt, telemetry, defer, streamed, caller: principal };
    return { writes, addToList, answer: await api.router.generate(generation, call) };
  };
  const { writes, addToList, answer } = await generate().catch(async (thrown: unknown) => {
    await reserved?.settle(nothing);
    throw thrown;
  });
  const headers = describeHandling(parsed.ignored, answer);
  const commit = (completion: ChatCompletionObject, usage: Usage | undefined) =>
    persist(() => store(completion, usage), { request, timings: state.timings, now: api.now, sleep: api.sleep });
  const committed = commitCompletion(answer.events, options, commit);
  const events = reserved === undefined ? committed : settleAtEnd(committed, reserved, () => stored);
  return streamed
    ? { stored: id, headers, frames: await encodeChatAnswer({ ...answer, events }, options) }
    : { stored: id, headers, json: await encodeChatCompletion(events, options) };

  async function store(completion: ChatCompletionObject, usage: Usage | undefined): Promise<void> {
    await addToList();
    const bytes = await storeAnsweredJob(
      {
        ...job,
        endpoint: '/v1/chat/completions',
        model,
        epoch,
        deadline: deadlineAt,
        expiresAt,
        writes,
        status: 'completed',
        isCounted: reserved !== undefined,
        request: input,
        answer: { answer: completion },
        onWriting: () => {
          stored = undefined;
        },
        ...omitUndefined({ usage }),
      },
      state,
      api.now,
    );
    stored = { bytes, items: 1 };
  }
}

/** Passes events on, and counts what was stored when they end. */
async function* settleAtEnd(
  events: AsyncGenerator<GenerationEvent>,
  reserved: ReservedStorage,
  getStored: () => StorageAmount | undefined,
): AsyncGenerator<GenerationEvent> {
  try {
    yield* events;
  } finally {
    const stored = getStored();
    if (stored !== undefined) await reserved.settle(stored);
  }
}

async function* yieldFrames(frames: readonly string[]): AsyncGenerator<string> {
  yield* frames;
}

/** Returns the completion that an earlier attempt of this operation has stored, or undefined. */
async function findEarlier(
  tenant: string,
  id: string,
  { jobs, bodies }: ApiState,
): Promise<ChatCompletionObject | undefined> {
  const job = await jobs.read(tenant, id);
  if (job === undefined) {
    if (await jobs.wasDeleted(tenant, id)) throw resultDeletedError();
    return undefined;
  }
  const output = await readOutput(job, bodies);
  if (isChatCompletion(output?.answer)) return output.answer;
  throw new LambentError('record_unreadable', 'A stored chat completion has no output');
}
