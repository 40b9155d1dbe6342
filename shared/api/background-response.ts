import { checkModel } from '../access/model-permissions.ts';
import { createFailureLog } from '../core/logger.ts';
import { omitUndefined } from '../core/objects.ts';
import { resultDeletedError } from '../idempotency/idempotency-errors.ts';
import { checkEndpoint } from '../inference/served-endpoints.ts';
import { readOutput } from '../jobs/completion.ts';
import type { Job } from '../jobs/job.ts';
import { timesOfQueued } from '../jobs/lifetime.ts';
import { laneOf } from '../jobs/queue-routing.ts';
import { type Admitted, sendTickets } from '../jobs/submit.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import { findTries, limitsQueue } from '../limits/queue-caps.ts';
import { includesEncryptedReasoning } from '../openai/responses/request.ts';
import { getConversationId } from '../openai/responses/response.ts';
import { findSession } from '../wire/session.ts';
import { describeHandling } from './handling-headers.ts';
import { toJobCaller } from './job-caller.ts';
import { viewJob } from './job-view.ts';
import { omitMessages, type ResponseContext } from './response-context.ts';
import { resumeStream } from './resume-stream.ts';
import { buildContext, reportDroppedItems, type StatefulCall } from './stateful-call.ts';
import { freeAfter, reservePlace } from './stream-place.ts';
import { submitCounted } from './submit-counted.ts';

/**
 * Turns a request into a job and responds at once: with the job's state, or with a stream of its events.
 * @throws LambentError `idempotent_answer_not_kept` if the job of this idempotency key was deleted; `rate_limit_exceeded` if a limit
 * on queued work doesn't allow the job; `storage_limit_exceeded`
 */
export async function createBackgroundResponse(call: StatefulCall): Promise<HttpResponse> {
  const { id, parsed, request, api, state } = call;
  const { tenant } = request.principal;
  const conversation = getConversationId(parsed.body);
  const earlier =
    conversation === undefined ? undefined : await state.conversations.readEarlier({ tenant, id: conversation });
  // Built here only to reject a request that can't be answered. The attempt builds it again.
  const context = await buildContext(call, earlier);
  checkModel(request.principal.policy, context.generation.model);
  checkEndpoint(context.generation, api.registry);
  // Before the job exists, so that a refused request leaves none.
  const free = parsed.streamed
    ? await reservePlace(api.loadStreamLimits, context.generation.model, request)
    : undefined;
  const job = await submitJob(call, context, { conversation, end: earlier?.end }).catch(async (thrown: unknown) => {
    await free?.();
    throw thrown;
  });
  const headers = { ...describeHandling(parsed.ignored), ...reportDroppedItems(context, request) };
  if (!parsed.streamed) {
    // A job of an earlier request with the same idempotency key may have its output by now.
    return { headers, stored: id, json: viewJob(job, context, await readOutput(job, state.bodies)) };
  }
  const { signal, deadlineAt } = request;
  const frames = resumeStream(state, { tenant, id, startingAfter: -1, signal, deadlineAt, now: api.now });
  return { headers, stored: id, frames: freeAfter(frames, free) };
}

async function submitJob(
  call: StatefulCall,
  { body, generation, rawInput }: ResponseContext,
  { conversation, end }: { readonly conversation: string | undefined; readonly end: number | undefined },
): Promise<Job> {
  const { id, createdAt, parsed, request, api, state } = call;
  const hasContext = conversation !== undefined || body.previous_response_id != null;
  const admitted: Admitted = {
    tenant: request.principal.tenant,
    id,
    endpoint: '/v1/responses',
    tier: body.service_tier === 'flex' ? 'flex' : 'default',
    background: true,
    streamed: parsed.streamed,
    stored: true,
    ...timesOfQueued(state.lifetime, createdAt),
    input: {
      body,
      generation: hasContext ? omitMessages(generation) : generation,
      continuations: includesEncryptedReasoning(body),
      caller: toJobCaller(request.principal),
      ...(rawInput && { rawInput }),
      ...(hasContext ? { context: omitUndefined({ end }) } : {}),
      ...omitUndefined({ session: findSession(request.headers) }),
    },
    ...omitUndefined({
      lane: laneOf(generation.model, api.registry),
      contextBytes: hasContext ? Buffer.byteLength(JSON.stringify(generation.messages)) : undefined,
      conversation,
      previousResponse: body.previous_response_id ?? undefined,
      tries: findTries(request.principal.policy),
    }),
  };
  const { principal: caller, telemetry, operation } = request;
  const enter = async (): Promise<void> => {
    if (!limitsQueue(caller.policy)) return;
    const limits = await state.openQueueLimits();
    await limits.enter({ admitted, generation, caller, telemetry, isRepeated: operation?.isRepeated === true });
  };
  const { registry } = api;
  const submitted = await submitCounted(
    { admitted, generation, registry, caller, telemetry, enter },
    { ...state, now: api.now },
  );
  switch (submitted.kind) {
    case 'created':
      await enqueue(submitted.job, call);
      return submitted.job;
    case 'known':
      return submitted.job;
    default:
      throw resultDeletedError();
  }
}

/** Enqueues a job. Never throws: the sweep enqueues the job later if its message can't be sent now. */
async function enqueue(job: Job, { request, state, api }: StatefulCall): Promise<void> {
  const onError = createFailureLog(request.telemetry.logger);
  await sendTickets([job], { ...state, now: api.now, onError }).catch((thrown: unknown) =>
    onError('job not enqueued', thrown),
  );
}
