import type { GenerationRequest } from '../inference/generation.ts';
import type { ParseContext } from '../openai/parameters.ts';
import { isItemReference, type ResolvedItem, rejectDuplicates } from '../openai/responses/items.ts';
import { itemNotFoundError, type ParsedResponsesBody, toGenerationRequest } from '../openai/responses/request.ts';
import type { ResponsesBody } from '../openai/responses/schema.ts';
import { parseStoredItem, responseIdFor } from '../openai/responses/stored-items.ts';
import { fitToContext } from '../sessions/fit.ts';
import type { ApiState } from './api-state.ts';
import { readTurn, type TurnItem, withContinuation } from './response-chain.ts';
import { removeUnpairedCalls } from './unpaired-calls.ts';

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
export async function buildResponseContext(
  asked: ParsedResponsesBody,
  before: readonly TurnItem[],
  context: ParseContext,
  stores: Pick<ApiState, 'jobs' | 'bodies'>,
): Promise<ResponseContext> {
  const input = await resolved(asked.body.input, before, context.tenant, stores);
  const body = { ...asked.body, input };
  const stored = before.map(({ item }) => item);
  if (typeof input !== 'string') rejectDuplicates(input, 'input', stored);
  const earlier = removeUnpairedCalls(before, input).map((kept) => parseStoredItem(withContinuation(kept)));
  const request = toGenerationRequest({ ...asked, body }, context, earlier, input);
  const { request: generation, droppedItems } = fitRequest(asked, request, before.length > 0);
  return { body, generation, droppedItems };
}

/**
 * Fits a request that asks for it, or that stored items made longer than its caller can see. Any other is left to its
 * model, which counts better.
 */
export function fitRequest({ body, alias }: ParsedResponsesBody, request: GenerationRequest, grown: boolean) {
  if (!grown && body.truncation !== 'auto') return { request, droppedItems: 0 };
  const { contextTokens, maxOutputTokens } = alias;
  // An alias may allow answers as long as its context; one that long is not expected of every request.
  const answerTokens = body.max_output_tokens ?? Math.min(maxOutputTokens, Math.floor(contextTokens / 4));
  return fitToContext(request, { contextTokens, answerTokens, truncation: body.truncation ?? 'disabled' });
}

async function resolved(
  input: ResponsesBody['input'],
  before: readonly TurnItem[],
  tenant: string,
  stores: Pick<ApiState, 'jobs' | 'bodies'>,
): Promise<string | ResolvedItem[]> {
  if (typeof input === 'string') return input;
  const inFront = new Set(before.map(({ item }) => item.id));
  const turns = new Map<string, Promise<TurnItem[]>>();
  const find = async (itemId: string): Promise<ResolvedItem> => {
    const responseId = responseIdFor(itemId);
    if (responseId === undefined) throw itemNotFoundError(itemId);
    const known = turns.get(responseId) ?? storedTurn(responseId, tenant, stores);
    turns.set(responseId, known);
    const kept = (await known).find(({ item }) => item.id === itemId);
    if (kept === undefined) throw itemNotFoundError(itemId);
    return parseStoredItem(withContinuation(kept));
  };
  const items = input.map((item): Promise<ResolvedItem>[] | ResolvedItem[] => {
    if (!isItemReference(item)) return [item];
    // What the model reads anyway needn't be said twice.
    return inFront.has(item.id) ? [] : [find(item.id)];
  });
  return Promise.all(items.flat());
}

/** The items of a stored response; none when there is no such response. */
async function storedTurn(id: string, tenant: string, stores: Pick<ApiState, 'jobs' | 'bodies'>): Promise<TurnItem[]> {
  const job = await stores.jobs.read(tenant, id);
  return job?.stored && job.endpoint === '/v1/responses' ? readTurn(job, stores) : [];
}
