import { type ErrorCode, LambentError } from '../core/errors.ts';
import { createFailureLog, describeError } from '../core/logger.ts';
import { omitUndefined } from '../core/objects.ts';
import { resultDeletedError, resultNotStoredError } from '../idempotency/idempotency-errors.ts';
import type { Usage } from '../inference/generation.ts';
import { completeJob, readOutput } from '../jobs/completion.ts';
import type { Job } from '../jobs/job.ts';
import { expiryOf } from '../jobs/lifetime.ts';
import type { JobInput } from '../jobs/ports.ts';
import { completed } from '../jobs/transitions.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import { includesEncryptedReasoning } from '../openai/responses/request.ts';
import { type EncodeResponseOptions, getConversationId, type StoredAnswer } from '../openai/responses/response.ts';
import { createItemIdGenerator, type ItemIdGenerator } from '../openai/responses/stored-items.ts';
import { encodeStoredResponse } from '../openai/responses/stored-stream.ts';
import type { Turn } from '../sessions/conversations.ts';
import { addSummaryUsage } from './add-summary-usage.ts';
import { type BodyWrites, persist, prepareBodies, storeAnsweredJob } from './answered-job.ts';
import { type CompactedContext, compactContext } from './context-compaction.ts';
import { createConversationStep } from './conversation-step.ts';
import { encodeResponseAnswer, encodeResponseAnswerStream } from './encode-response.ts';
import type { GovernedOptions } from './governed-router.ts';
import { describeHandling } from './handling-headers.ts';
import { isResponse } from './job-content.ts';
import { omitMessages, type ResponseContext } from './response-context.ts';
import { buildContext, reportDroppedItems, type StatefulCall } from './stateful-call.ts';
import { type ReservedStorage, reserveStorage, type StorageAmount } from './storage-limits.ts';
import { boundStored, boundTurn, measureSealed } from './stored-size.ts';
import { createTurnItems } from './turn-items.ts';

/**
 * Generates a response within the call. If the request names a conversation, the response is a turn of it: other turns are
 * rejected until this one has ended. A repeated request returns the response that an earlier attempt has stored, if any.
 * @throws LambentError `idempotent_answer_not_kept` if the earlier response was deleted or was not to be stored;
 * `storage_limit_exceeded`
 */
export async function createForegroundResponse(call: StatefulCall): Promise<HttpResponse> {
  const { id, parsed, request, state } = call;
  const isRepeated = request.operation?.isRepeated === true;
  const earlier = isRepeated ? await findEarlierResponse(call) : undefined;
  if (earlier !== undefined) return earlier;
  const conversation = getConversationId(parsed.body);
  const turn =
    conversation === undefined
      ? undefined
      : await state.conversations.beginTurn({ tenant: request.principal.tenant, id: conversation }, id);
  try {
    // The earlier attempt added its turn to the conversation and stored no response.
    if (isRepeated && (await turn?.earlier.hasTurn(id))) throw resultNotStoredError();
    const context = await buildContext(call, turn?.earlier);
    return await new ForegroundResponse(call, context, turn).generate();
  } catch (error) {
    await turn?.release();
    throw error;
  }
}

/** Returns the response that an earlier attempt of this operation has stored, or undefined. */
async function findEarlierResponse({ id, parsed, request, state }: StatefulCall): Promise<HttpResponse | undefined> {
  const { tenant } = request.principal;
  const job = await state.jobs.read(tenant, id);
  if (job === undefined) {
    if (await state.jobs.wasDeleted(tenant, id)) throw resultDeletedError();
    return undefined;
  }
  const onError = createFailureLog(request.telemetry.logger);
  const steps = { conversation: createConversationStep(state.conversations) };
  // Only the sweep gives a step up, because it reports that.
  const onStepFailed = (_job: Job, _step: string, thrown: unknown) => Promise.reject(thrown);
  try {
    // Add its turn before the caller's next one. If that fails now, the sweep adds it.
    await completeJob(job, { ...state, steps, onStepFailed, onError });
  } catch (thrown) {
    onError('turn not stored yet', thrown);
  }
  const output = await readOutput(job, state.bodies);
  if (!isResponse(output?.answer)) throw new LambentError('record_unreadable', 'A stored response has no output');
  if (!parsed.streamed) return { stored: id, json: output.answer };
  return { stored: id, frames: yieldFrames(encodeStoredResponse(output.answer)) };
}

async function* yieldFrames(frames: readonly string[]): AsyncGenerator<string, boolean> {
  yield* frames;
  return true;
}

/** Errors of the vault after which a turn may be added later, by the sweep. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['vault_unavailable', 'external_key_unavailable']);

class ForegroundResponse {
  readonly #call: StatefulCall;
  readonly #createItemId: ItemIdGenerator;
  #context: ResponseContext;
  readonly #turn: Turn | undefined;
  readonly #isStored: boolean;
  /** The job's epoch. Attempts of the same operation differ in it, so none overwrites another's output. */
  readonly #epoch: number;
  /** Epoch seconds. */
  readonly #expiresAt: number;
  #reserved: ReservedStorage | undefined;
  /** Stores the response, once: they write one answer only. */
  #writes: BodyWrites | undefined;
  /** What was actually stored. Undefined while it isn't known, because a write has no response. */
  #stored: StorageAmount | undefined = { bytes: 0, items: 0 };

  constructor(call: StatefulCall, context: ResponseContext, turn: Turn | undefined) {
    this.#call = call;
    this.#context = context;
    this.#turn = turn;
    this.#isStored = call.parsed.stored;
    this.#epoch = call.request.operation?.attempt ?? 1;
    this.#createItemId = createItemIdGenerator(call.id, this.#epoch);
    this.#expiresAt = expiryOf(call.state.lifetime, call.api.now());
  }

  async generate(): Promise<HttpResponse> {
    const isSealed = this.#isStored || this.#turn !== undefined;
    // Before anything is paid. It is awaited once the storage is reserved, which is given back if it fails.
    const preparing = isSealed ? this.#prepareWrites() : undefined;
    preparing?.catch(() => {});
    this.#reserved = await this.#reserveStorage();
    try {
      this.#writes = await preparing;
      return await this.#answer();
    } catch (thrown) {
      await this.#settleStorage();
      throw thrown;
    }
  }

  async #answer(): Promise<HttpResponse> {
    const { id, parsed, request, api } = this.#call;
    const { signal, deadlineAt, telemetry, defer, principal } = request;
    const options = { signal, deadlineAt, telemetry, defer, streamed: parsed.streamed, caller: principal };
    const compacted = await this.#compact({ ...options, streamed: false });
    const generated = await api.router.generate(this.#context.generation, options);
    const answer =
      compacted === undefined
        ? generated
        : { ...generated, events: addSummaryUsage(generated.events, compacted.usage) };
    const headers = {
      ...describeHandling(parsed.ignored, answer),
      ...reportDroppedItems(this.#context, request),
    };
    const stored = this.#isStored ? { stored: id } : {};
    if (parsed.streamed) {
      const frames = this.#releaseAfter(encodeResponseAnswerStream(answer, this.#encodeOptions(compacted)));
      return { headers, ...stored, frames };
    }
    const json = await encodeResponseAnswer(answer, this.#encodeOptions(compacted));
    await this.#releaseTurn();
    await this.#settleStorage();
    return { headers, ...stored, json };
  }

  /** Reserves storage for the response, and for the turn that it adds to its conversation. */
  #reserveStorage(): Promise<ReservedStorage | undefined> | undefined {
    const { id, request, api, state } = this.#call;
    const isTurn = this.#turn !== undefined;
    if (!this.#isStored && !isTurn) return undefined;
    const { tenant, policy } = request.principal;
    const { telemetry } = request;
    return reserveStorage(state.openStorageLimits, { tenant, policy, telemetry }, (maxima) => {
      const { generation } = this.#context;
      const answer = { input: this.#createInput(), generation, registry: api.registry };
      const bytes = this.#isStored ? boundStored(answer, maxima) : 0;
      const turn = isTurn ? boundTurn(id, answer, maxima) : { bytes: 0, items: 0 };
      const most = { bytes: bytes + turn.bytes, items: (this.#isStored ? 1 : 0) + turn.items };
      return { most, expiresAt: this.#expiresAt };
    });
  }

  #prepareWrites(): Promise<BodyWrites> {
    const { id, request, state } = this.#call;
    const { tenant } = request.principal;
    return prepareBodies({ tenant, id, epoch: this.#epoch, expiresAt: this.#expiresAt }, state.bodies);
  }

  /** Returns what was prepared, or prepares it again for a second answer: the failure of one that could not be stored. */
  async #takeWrites(): Promise<BodyWrites> {
    const writes = this.#writes ?? (await this.#prepareWrites());
    this.#writes = undefined;
    return writes;
  }

  async #settleStorage(): Promise<void> {
    if (this.#stored !== undefined) await this.#reserved?.settle(this.#stored);
  }

  /** Compacts the context if it has to be. The request to the model is then another one. */
  async #compact(options: GovernedOptions): Promise<CompactedContext | undefined> {
    const { compaction, ...context } = this.#context;
    if (compaction === undefined) return undefined;
    const { parsed, request, api, state } = this.#call;
    const ports = { ...api, tenant: request.principal.tenant, vault: state.vault };
    const compacted = await compactContext(compaction, parsed, ports, options, this.#createItemId);
    const droppedItems = context.droppedItems + compacted.droppedItems;
    this.#context = { ...context, generation: compacted.generation, droppedItems };
    return compacted;
  }

  #encodeOptions(compacted: CompactedContext | undefined): EncodeResponseOptions {
    const { id, createdAt, api } = this.#call;
    const { generation, body } = this.#context;
    return {
      body,
      id,
      createdAt: Math.floor(createdAt / 1000),
      stored: this.#isStored,
      now: () => Math.floor(api.now() / 1000),
      createItemId: this.#createItemId,
      tools: generation.tools,
      includeLogprobs: generation.topLogprobs !== undefined,
      reasoningSummary: generation.reasoningSummary,
      includeContinuations: includesEncryptedReasoning(body),
      ...(compacted && { compaction: compacted.item }),
      commit: (answer, usage) => this.#commit(answer, usage),
      ...(this.#isStored ? { commitFailure: (answer, error) => this.#commitFailure(answer, error) } : {}),
    };
  }

  /** Passes frames on and releases the turn when the stream ends for any reason. */
  async *#releaseAfter(frames: AsyncGenerator<string, boolean>): AsyncGenerator<string, boolean> {
    try {
      return yield* frames;
    } finally {
      await this.#releaseTurn();
      await this.#settleStorage();
    }
  }

  /** Releases the turn. Never throws: a lock that isn't released expires. */
  async #releaseTurn(): Promise<void> {
    try {
      await this.#turn?.release();
    } catch (thrown) {
      this.#call.request.telemetry.logger.warn('conversation not unlocked', describeError(thrown));
    }
  }

  /**
   * Stores a complete response, as a finished job and as a turn of its conversation. Until the turn is stored, the job has
   * a pending completion step, so that the sweep stores the turn after a crash between the two writes, and after a write whose
   * response was lost.
   */
  async #commit(answer: StoredAnswer, usage: Usage | undefined): Promise<void> {
    const { id, request, state } = this.#call;
    const turn = this.#turn;
    const items = createTurnItems(id, this.#createInput(), answer).map((item) => ({ id: item.item.id, content: item }));
    const commitTurn = (turn: Turn): Promise<void> => turn.commit(items, this.#reserved?.expiresAt);
    // The turn counts from here on: without a response to its write it may be stored, or the sweep stores it.
    const counted =
      turn === undefined || this.#reserved === undefined
        ? { bytes: 0, items: 0 }
        : { bytes: items.reduce((sum, { content }) => sum + measureSealed(content), 0), items: items.length };
    if (!this.#isStored) {
      this.#stored = counted;
      return turn && this.#persist(() => commitTurn(turn));
    }
    const status = answer.answer.status === 'incomplete' ? 'incomplete' : 'completed';
    const pending = turn === undefined ? {} : { fanIn: ['conversation'] as const };
    const writes = await this.#takeWrites();
    const ending = { status, ...omitUndefined({ usage }), ...pending } as const;
    await this.#persist(() => this.#store(answer, ending, writes, counted));
    if (turn === undefined) return;
    const { tenant } = request.principal;
    try {
      await commitTurn(turn);
    } catch (thrown) {
      if (thrown instanceof LambentError && !PASSING.has(thrown.code)) {
        await state.jobs.delete(tenant, id);
        throw thrown;
      }
      request.telemetry.logger.warn('turn not stored yet', describeError(thrown));
      return;
    }
    const { guard, change } = completed();
    try {
      await state.jobs.update(tenant, id, guard, change);
    } catch (thrown) {
      // The sweep finds the turn in the conversation and completes the step.
      request.telemetry.logger.warn('completion step not recorded', describeError(thrown));
    }
  }

  /** Stores the partial response of a stream that failed. The caller knows its id and may retrieve it. Never throws. */
  async #commitFailure(answer: StoredAnswer, { code }: LambentError): Promise<void> {
    // Another attempt of the operation may still use the id.
    if (this.#call.request.operation?.isRepeated) return;
    try {
      await this.#store(answer, { status: 'failed', errorCode: code }, await this.#takeWrites());
    } catch (thrown) {
      this.#call.request.telemetry.logger.warn('failed response not stored', describeError(thrown));
    }
  }

  #persist<T>(write: () => Promise<T>): Promise<T> {
    const { request, state, api } = this.#call;
    return persist(write, { request, timings: state.timings, now: api.now, sleep: api.sleep });
  }

  /** @param turn what counts for the turn that goes with the response */
  async #store(
    answer: StoredAnswer,
    ending: Pick<Job, 'status' | 'usage' | 'errorCode' | 'fanIn'>,
    writes: BodyWrites,
    turn: StorageAmount = { bytes: 0, items: 0 },
  ): Promise<void> {
    const { id, createdAt, request, state, api } = this.#call;
    const { body } = this.#context;
    const bytes = await storeAnsweredJob(
      {
        tenant: request.principal.tenant,
        id,
        endpoint: '/v1/responses',
        model: body.model,
        epoch: this.#epoch,
        deadline: request.deadlineAt,
        createdAt,
        expiresAt: this.#expiresAt,
        writes,
        isCounted: this.#reserved !== undefined,
        request: this.#createInput(),
        answer,
        onWriting: () => {
          this.#stored = undefined;
        },
        ...omitUndefined({
          conversation: getConversationId(body),
          previousResponse: body.previous_response_id ?? undefined,
        }),
        ...ending,
      },
      state,
      api.now,
    );
    this.#stored = { bytes: bytes + turn.bytes, items: 1 + turn.items };
  }

  /** Returns the input to store. What comes from earlier turns is omitted, because it is stored with them. */
  #createInput(): JobInput {
    const { body, generation, rawInput } = this.#context;
    const context = this.#turn === undefined ? {} : { context: { end: this.#turn.earlier.end } };
    return { body, generation: omitMessages(generation), ...(rawInput && { rawInput }), ...context };
  }
}
