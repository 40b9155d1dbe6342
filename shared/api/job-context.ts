import { LambentError } from '../core/errors.ts';
import { findAlias, type ModelRegistry } from '../inference/registry.ts';
import type { Job } from '../jobs/job.ts';
import type { InputContext, JobInput } from '../jobs/ports.ts';
import type { ParsedResponsesBody } from '../openai/responses/request.ts';
import type { Conversations } from '../sessions/conversations.ts';
import { collectItems, type EarlierTurnItems } from './earlier-items.ts';
import { isResponsesBody } from './job-content.ts';
import { type ResponseStores, readChain } from './response-chain.ts';
import { buildResponseContext, getContextLimit, listEarlierItems, type ResponseContext } from './response-context.ts';

/** What building the context of a job depends on. */
export interface JobContextPorts extends ResponseStores {
  readonly registry: ModelRegistry;
  readonly conversations: Pick<Conversations, 'readEarlier'>;
}

/**
 * Adds the messages to the input of a job that continues a conversation or previous responses: the stored items as they are
 * now, without those that were added or deleted since the request.
 * @throws LambentError `not_found` if the conversation was deleted, `previous_response_not_found`, `context_length_exceeded`,
 * `model_not_found`, `record_unreadable`
 */
export async function addContext(
  job: Job,
  input: JobInput & { readonly context: InputContext },
  ports: JobContextPorts,
): Promise<JobInput> {
  const { context } = await buildJobContext(job, input, ports);
  return { ...input, generation: context.generation };
}

/**
 * Builds the context of a job: its stored items as they are now, and its own input.
 * @throws LambentError as `addContext` does
 */
export async function buildJobContext(
  job: Job,
  input: JobInput,
  ports: JobContextPorts,
): Promise<{ readonly parsed: ParsedResponsesBody; readonly context: ResponseContext }> {
  const { tenant, model, streamed, stored } = job;
  const { body, rawInput, session } = input;
  const { original, unknown } = input.generation;
  if (!isResponsesBody(body)) {
    throw new LambentError('record_unreadable', `The input of ${job.id} is not a body of ${job.endpoint}`);
  }
  const parsed = {
    body,
    name: model,
    alias: findAlias(model, ports.registry),
    unknown,
    streamed,
    stored,
    ignored: [],
    ...(original && { original: { ...original, body: { ...original.body, input: rawInput ?? body.input } } }),
  };
  const earlier = await readEarlierItems(job, input.context ?? {}, ports, getContextLimit(parsed));
  const context = await buildResponseContext(parsed, earlier, { registry: ports.registry, tenant, session }, ports);
  return { parsed, context };
}

async function readEarlierItems(
  { tenant, conversation, previousResponse }: Job,
  { end }: InputContext,
  { conversations, jobs, bodies, vault }: JobContextPorts,
  limit: ReturnType<typeof getContextLimit>,
): Promise<EarlierTurnItems> {
  if (conversation !== undefined) {
    return collectItems(await conversations.readEarlier({ tenant, id: conversation }, end), limit);
  }
  return listEarlierItems(
    previousResponse === undefined ? [] : await readChain({ jobs, bodies, vault }, tenant, previousResponse),
  );
}
