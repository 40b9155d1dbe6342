import type { HttpRequest } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { fingerprintOf } from '../core/fingerprint.ts';
import { describeError } from '../core/logger.ts';
import { readOutput } from '../jobs/fan-in.ts';
import type { Job } from '../jobs/job.ts';
import { expiryOf, timesOfQueued } from '../jobs/lifetime.ts';
import type { JobInput } from '../jobs/ports.ts';
import { laneOf } from '../jobs/queue-routing.ts';
import { announce, submit } from '../jobs/submit.ts';
import { told } from '../jobs/transitions.ts';
import type { HttpAnswer } from '../lambda/http-responder.ts';
import { includesEncryptedReasoning, type ParsedResponsesBody } from '../openai/responses/request.ts';
import {
  conversationIdOf,
  type EncodeResponseOptions,
  encodeResponse,
  type StoredAnswer,
} from '../openai/responses/response.ts';
import { createItemIdGenerator } from '../openai/responses/stored-items.ts';
import { encodeResponseStream } from '../openai/responses/stream.ts';
import type { Turn } from '../sessions/conversations.ts';
import type { ApiState } from './api-state.ts';
import type { GenerationApi } from './generation-api.ts';
import { viewJob } from './job-view.ts';
import { createTurnItems, parseTurnItem, readChain, type TurnItem } from './response-chain.ts';
import { buildResponseContext, type ResponseContext } from './response-context.ts';
import { resumeStream } from './resume-stream.ts';

/** The attempt that answers in the foreground: the only one. */
const EPOCH = 1;

/** What one request is answered with. */
interface Asking {
  readonly id: string;
  readonly createdAt: number;
  readonly asked: ParsedResponsesBody;
  readonly request: HttpRequest;
  readonly api: Required<Pick<GenerationApi, 'router' | 'registry' | 'ids' | 'now'>>;
  readonly state: ApiState;
}

/**
 * Answers a `POST /v1/responses` that stores its answer, goes on from what is stored, or runs in the background.
 * @throws LambentError as stateless requests do, and for what is named and isn't there
 */
export async function createStatefulResponse(
  asked: ParsedResponsesBody,
  request: HttpRequest,
  api: Asking['api'],
  state: ApiState,
): Promise<HttpAnswer> {
  const asking = { id: idOf(asked, request, api.ids), createdAt: api.now(), asked, request, api, state };
  return asked.body.background ? inBackground(asking) : inForeground(asking);
}

async function inForeground(asking: Asking): Promise<HttpAnswer> {
  const { id, asked, request, api, state } = asking;
  const { tenant } = request.principal;
  const { conversation } = asked.body;
  const turn =
    conversation == null
      ? undefined
      : await state.conversations.beginTurn({ tenant, id: conversationIdOf(conversation) }, id);
  try {
    const before = turn === undefined ? await chainBefore(asking) : keptItems(turn.items);
    const context = await buildResponseContext(asked, before, { registry: api.registry, tenant }, state);
    const { signal, deadlineAt, telemetry } = request;
    const call = { signal, deadlineAt, telemetry, streamed: asked.streamed };
    const { events } = await api.router.generate(context.generation, call);
    const options = answerOptions(asking, context, turn);
    const headers = headersOf(context, request);
    const stored = options.stored ? { stored: id } : {};
    if (asked.streamed) return { headers, ...stored, frames: released(encodeResponseStream(events, options), turn) };
    const json = await encodeResponse(events, options);
    await turn?.release();
    return { headers, ...stored, json };
  } catch (error) {
    await turn?.release();
    throw error;
  }
}

/** Makes a job of a request and answers at once; a streamed one follows the job. */
async function inBackground(asking: Asking): Promise<HttpAnswer> {
  const { id, asked, request, api, state } = asking;
  const { tenant } = request.principal;
  const { conversation, previous_response_id: previousResponse, service_tier } = asked.body;
  const conversationId = conversation == null ? undefined : conversationIdOf(conversation);
  const before =
    conversationId === undefined
      ? await chainBefore(asking)
      : keptItems(await state.conversations.readItems({ tenant, id: conversationId }));
  const context = await buildResponseContext(asked, before, { registry: api.registry, tenant }, state);
  const { body, generation } = context;
  const lane = laneOf(generation.model, api.registry);
  const submitted = await submit(
    {
      tenant,
      id,
      endpoint: '/v1/responses',
      tier: service_tier === 'flex' ? 'flex' : 'default',
      background: true,
      streamed: asked.streamed,
      stored: true,
      ...timesOfQueued(state.lifetime, asking.createdAt),
      input: { body, generation, continuations: includesEncryptedReasoning(body) },
      ...(lane === undefined ? {} : { lane }),
      ...(conversationId === undefined ? {} : { conversation: conversationId }),
      ...(previousResponse == null ? {} : { previousResponse }),
    },
    { ...state, now: api.now },
  );
  if (submitted.kind !== 'created' && submitted.kind !== 'known') throw keyIsSpent();
  if (submitted.kind === 'created') await announced(submitted.job, asking);
  const headers = headersOf(context, request);
  if (!asked.streamed)
    return { headers, stored: id, json: await acceptedOf(submitted.job, { body, generation }, state) };
  const { signal, deadlineAt } = request;
  return {
    headers,
    stored: id,
    frames: resumeStream(state, { tenant, id, startingAfter: -1, signal, deadlineAt, now: api.now }),
  };
}

/** What it was asked is at hand, also of a job that was known. That one may have its answer by now. */
async function acceptedOf(job: Job, input: JobInput, { bodies }: ApiState): Promise<unknown> {
  return viewJob(job, input, await readOutput(job, bodies));
}

/** A job whose message could not be sent is found by the sweep a little later: no reason to refuse it. */
async function announced(job: Job, { request, state, api }: Asking): Promise<void> {
  try {
    await announce(job, { queue: state.queue, now: api.now });
  } catch (thrown) {
    request.telemetry.logger.warn('job not announced', describeError(thrown));
  }
}

async function chainBefore({ asked, request, state }: Asking): Promise<TurnItem[]> {
  const previous = asked.body.previous_response_id;
  return previous == null ? [] : readChain(state, request.principal.tenant, previous);
}

/** A conversation's items as this API put them there. */
function keptItems(items: Turn['items']): TurnItem[] {
  return items.map(({ content }) => parseTurnItem(content));
}

function answerOptions(asking: Asking, context: ResponseContext, turn: Turn | undefined): EncodeResponseOptions {
  const { id, createdAt, asked, api } = asking;
  const { generation, body } = context;
  const stored = body.store ?? true;
  return {
    body,
    id,
    createdAt: Math.floor(createdAt / 1000),
    stored,
    now: () => Math.floor(api.now() / 1000),
    ids: createItemIdGenerator(id, EPOCH),
    logprobs: generation.topLogprobs !== undefined,
    reasoningSummary: generation.reasoningSummary,
    continuations: includesEncryptedReasoning(asked.body),
    commit: (answered, usage) => keep(asking, context, turn, answered, usage),
    ...(stored ? { commitFailure: (answered, error) => keepFailure(asking, context, answered, error) } : {}),
  };
}

/**
 * Keeps an answer: as a job that has ended, and as a turn of its conversation. The job says that its turn is still to be
 * told of, so that a crash between the two is made good by the sweep.
 */
async function keep(
  asking: Asking,
  context: ResponseContext,
  turn: Turn | undefined,
  answered: StoredAnswer,
  usage: Job['usage'],
): Promise<void> {
  const { id, request, state, api } = asking;
  const { tenant } = request.principal;
  const stored = context.body.store ?? true;
  const items = createTurnItems(id, inputOf(context), answered).map((kept) => ({ id: kept.item.id, content: kept }));
  if (!stored) return turn?.commit(items);
  const status = answered.answer.status === 'incomplete' ? 'incomplete' : 'completed';
  const untold =
    turn === undefined ? {} : { fanIn: ['conversation'] as const, dueAt: api.now() + state.timings.completionMs };
  await store(asking, context, answered, { status, ...(usage === undefined ? {} : { usage }), ...untold });
  if (turn === undefined) return;
  try {
    await turn.commit(items);
  } catch (error) {
    await state.jobs.delete(tenant, id);
    throw error;
  }
  const { guard, change } = told();
  try {
    await state.jobs.update(tenant, id, guard, change);
  } catch (thrown) {
    // The sweep finds the turn added, and notes it.
    request.telemetry.logger.warn('turn not noted', describeError(thrown));
  }
}

/** Keeps what there is of a stream that broke off: its caller knows its id, and may ask what became of it. */
async function keepFailure(
  asking: Asking,
  context: ResponseContext,
  answered: StoredAnswer,
  { code }: LambentError,
): Promise<void> {
  try {
    await store(asking, context, answered, { status: 'failed', errorCode: code });
  } catch (thrown) {
    asking.request.telemetry.logger.warn('failed response not stored', describeError(thrown));
  }
}

async function store(
  { id, createdAt, asked, request, state, api }: Asking,
  context: ResponseContext,
  answered: StoredAnswer,
  ending: Pick<Job, 'status' | 'usage' | 'errorCode' | 'fanIn' | 'dueAt'>,
): Promise<void> {
  const { tenant } = request.principal;
  const { conversation, previous_response_id: previousResponse } = asked.body;
  const expiresAt = expiryOf(state.lifetime, api.now());
  const name = { tenant, id, expiresAt };
  const [input, output] = await Promise.all([
    state.bodies.write({ ...name, kind: 'input', epoch: 0 }, inputOf(context)),
    state.bodies.write({ ...name, kind: 'output', epoch: EPOCH }, answered),
  ]);
  await state.jobs.create({
    tenant,
    id,
    endpoint: '/v1/responses',
    model: asked.body.model,
    epoch: EPOCH,
    attempts: 1,
    releases: 0,
    tier: 'interactive',
    deadline: request.deadlineAt,
    cancelRequested: false,
    background: false,
    streamed: false,
    stored: true,
    createdAt,
    startedAt: createdAt,
    completedAt: api.now(),
    input,
    output,
    expiresAt,
    ...(conversation == null ? {} : { conversation: conversationIdOf(conversation) }),
    ...(previousResponse == null ? {} : { previousResponse }),
    ...ending,
  });
}

/** What is kept of a request that has run: not what came before it, which lies with its own responses. */
function inputOf({ body, generation }: ResponseContext): JobInput {
  return { body, generation: { ...generation, messages: [] } };
}

function headersOf({ droppedItems }: ResponseContext, { telemetry }: HttpRequest): Record<string, string> {
  if (droppedItems === 0) return {};
  telemetry.logger.annotate({ droppedItems });
  return { 'x-lambent-dropped-items': String(droppedItems) };
}

/** A turn ends with its stream, however that ends. */
async function* released(
  frames: AsyncGenerator<string, boolean>,
  turn: Turn | undefined,
): AsyncGenerator<string, boolean> {
  try {
    return yield* frames;
  } finally {
    await turn?.release();
  }
}

/**
 * The id of a background response with an idempotency key follows from the key and the body, so that a repetition finds
 * the job that the first one made, also after a crash and while the first one still runs.
 */
function idOf({ body }: ParsedResponsesBody, { headers, principal }: HttpRequest, ids: () => string): string {
  const key = headers['idempotency-key'];
  if (key === undefined || !body.background) return `resp_${ids()}`;
  return `resp_${fingerprintOf([principal.tenant, key, body]).toString('hex').slice(0, 32)}`;
}

function keyIsSpent(): LambentError {
  const message = 'The response that was made with this idempotency key has been deleted. Use another key.';
  return new LambentError('idempotent_answer_not_kept', message);
}
