import type { GenerationRequest } from '../inference/generation.ts';
import type { RequestContext } from '../openai/parameters.ts';
import { isReference, refuseDuplicates, type WholeItem } from '../openai/responses/items.ts';
import { type AskedResponse, itemNotFound, responsesGeneration } from '../openai/responses/request.ts';
import type { ResponsesBody } from '../openai/responses/schema.ts';
import { readStoredItem, responseOfItem } from '../openai/responses/stored-items.ts';
import { fitToContext } from '../sessions/fit.ts';
import type { ApiState } from './api-state.ts';
import { forModel, type KeptItem, turnOf } from './response-chain.ts';
import { withoutUnpairedCalls } from './unpaired-calls.ts';

/** A request with all that it names looked up. */
export interface ResponseContext {
  /** The request with items in place of references to them. */
  readonly body: ResponsesBody;
  /** What the model is asked: with the earlier items in front, fitted into its context. */
  readonly generation: GenerationRequest;
  /** Items that had to be left out for it to fit. */
  readonly droppedItems: number;
}

/**
 * Puts the earlier items in front of a request, its references' items in their places, and makes it fit.
 * @throws LambentError `not_found` for a reference to nothing, `invalid_value` for an item that is in front already,
 * `context_length_exceeded`, and what a request's own items may be refused with
 */
export async function contextOf(
  asked: AskedResponse,
  before: readonly KeptItem[],
  context: RequestContext,
  stores: Pick<ApiState, 'jobs' | 'bodies'>,
): Promise<ResponseContext> {
  const input = await resolved(asked.body.input, before, context.tenant, stores);
  const body = { ...asked.body, input };
  const stored = before.map(({ item }) => item);
  if (typeof input !== 'string') refuseDuplicates(input, 'input', stored);
  const earlier = withoutUnpairedCalls(before, input).map((kept) => readStoredItem(forModel(kept)));
  const request = responsesGeneration({ ...asked, body }, context, earlier, input);
  const { request: generation, droppedItems } = fitted(asked, request, before.length > 0);
  return { body, generation, droppedItems };
}

/**
 * Fits a request that asks for it, or that stored items made longer than its caller can see. Any other is left to its
 * model, which counts better.
 */
export function fitted({ body, alias }: AskedResponse, request: GenerationRequest, grown: boolean) {
  if (!grown && body.truncation !== 'auto') return { request, droppedItems: 0 };
  const { contextTokens, maxOutputTokens } = alias;
  // An alias may allow answers as long as its context; one that long is not expected of every request.
  const answerTokens = body.max_output_tokens ?? Math.min(maxOutputTokens, Math.floor(contextTokens / 4));
  return fitToContext(request, { contextTokens, answerTokens, truncation: body.truncation ?? 'disabled' });
}

async function resolved(
  input: ResponsesBody['input'],
  before: readonly KeptItem[],
  tenant: string,
  stores: Pick<ApiState, 'jobs' | 'bodies'>,
): Promise<string | WholeItem[]> {
  if (typeof input === 'string') return input;
  const inFront = new Set(before.map(({ item }) => item.id));
  const turns = new Map<string, Promise<KeptItem[]>>();
  const find = async (itemId: string): Promise<WholeItem> => {
    const responseId = responseOfItem(itemId);
    if (responseId === undefined) throw itemNotFound(itemId);
    const known = turns.get(responseId) ?? storedTurn(responseId, tenant, stores);
    turns.set(responseId, known);
    const kept = (await known).find(({ item }) => item.id === itemId);
    if (kept === undefined) throw itemNotFound(itemId);
    return readStoredItem(forModel(kept));
  };
  const items = input.map((item): Promise<WholeItem>[] | WholeItem[] => {
    if (!isReference(item)) return [item];
    // What the model reads anyway needn't be said twice.
    return inFront.has(item.id) ? [] : [find(item.id)];
  });
  return Promise.all(items.flat());
}

/** The items of a stored response; none when there is no such response. */
async function storedTurn(id: string, tenant: string, stores: Pick<ApiState, 'jobs' | 'bodies'>): Promise<KeptItem[]> {
  const job = await stores.jobs.read(tenant, id);
  return job?.stored && job.endpoint === '/v1/responses' ? turnOf(job, stores) : [];
}
