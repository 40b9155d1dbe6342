import type { GenerationRequest } from '../inference/generation.ts';
import { getAliasLimits } from '../inference/model-limits.ts';
import type { ParseContext } from '../openai/parameters.ts';
import { isItemReference, type ResolvedItem, rejectDuplicateIds } from '../openai/responses/items.ts';
import { itemNotFoundError, type ParsedResponsesBody, toGenerationRequest } from '../openai/responses/request.ts';
import type { ResponsesBody } from '../openai/responses/schema.ts';
import { parseStoredItem, responseIdFor, type StoredItem } from '../openai/responses/stored-items.ts';
import { fitToContext } from '../sessions/fit-to-context.ts';
import { expandCompactions, isWholeCompaction, openCompaction, startFromCompaction } from './compaction.ts';
import { type ContextCompaction, planCompaction } from './context-compaction.ts';
import type { CollectOptions, EarlierTurnItems } from './earlier-items.ts';
import { type ResponseStores, readTurn } from './response-chain.ts';
import { addContinuation, type TurnItem } from './turn-items.ts';
import { removeUnpairedCalls } from './unpaired-calls.ts';

/** A request together with the stored items that it refers to. */
export interface ResponseContext {
  /** The request, with items in place of item references. */
  readonly body: ResponsesBody;
  /** The request to the model: earlier items and input, fitted into the model's context. */
  readonly generation: GenerationRequest;
  /** Number of items that were dropped to fit the context. */
  readonly droppedItems: number;
  /** Present if the request has to be compacted before it is sent. It isn't fitted into the context before. */
  readonly compaction?: ContextCompaction;
}

/**
 * Resolves the item references of a request, prepends the earlier items, and fits the result into the model's context.
 * @throws LambentError `not_found` for a reference to a missing item, `invalid_value` for a duplicate item or invalid
 * input, `context_length_exceeded`
 */
export async function buildResponseContext(
  parsed: ParsedResponsesBody,
  earlier: EarlierTurnItems,
  context: ParseContext,
  stores: ResponseStores,
): Promise<ResponseContext> {
  const input = await resolveReferences(parsed.body.input, earlier.ids, context.tenant, stores);
  const body = { ...parsed.body, input };
  if (typeof input !== 'string') rejectDuplicateIds(input, 'input', earlier.ids);
  // A compaction item of the request's own input may stand for all that precedes it.
  const start = typeof input === 'string' ? -1 : input.findLastIndex(isWholeCompaction);
  const earlierItems = start === -1 ? startFromCompaction(earlier.items) : [];
  const ownItems =
    typeof input === 'string' ? input : await expandInput(input.slice(Math.max(0, start)), context.tenant, stores);
  const expanded = removeUnpairedCalls(await expandCompactions(earlierItems, context.tenant, stores.vault), ownItems);
  const build = (storedItems: readonly ResolvedItem[], own: string | readonly ResolvedItem[]) =>
    toGenerationRequest({ ...parsed, body }, context, storedItems, own);
  const request = build(expanded.map(toResolvedItem), ownItems);
  const compaction = planCompaction(parsed, request, expanded, ownItems);
  if (compaction !== undefined) {
    const rebuild = (items: readonly StoredItem[]) => fitRequest(parsed, build([], items.map(parseStoredItem)), true);
    return { body, generation: request, droppedItems: earlier.droppedItems, compaction: { ...compaction, rebuild } };
  }
  const { request: generation, droppedItems } = fitRequest(parsed, request, earlierItems.length > 0);
  return { body, generation, droppedItems: earlier.droppedItems + droppedItems };
}

function toResolvedItem(turnItem: TurnItem): ResolvedItem {
  return parseStoredItem(addContinuation(turnItem));
}

/** Returns items that are all in memory as the items that precede a request. */
export function listEarlierItems(items: readonly TurnItem[]): EarlierTurnItems {
  return { items, ids: new Set(items.map(({ item }) => item.id)), droppedItems: 0 };
}

/** Returns a request without what was made of earlier items: its messages, and a key that has the first of them. */
export function omitMessages(generation: GenerationRequest): GenerationRequest {
  return { ...generation, messages: [], conversationKey: '' };
}

/** Returns how much of a conversation may precede a request. */
export function getContextLimit(parsed: Pick<ParsedResponsesBody, 'body' | 'alias'>): CollectOptions {
  const { contextTokens = Number.POSITIVE_INFINITY } = getAliasLimits(parsed.alias);
  return {
    limitTokens: contextTokens - getAnswerTokens(parsed),
    truncation: parsed.body.truncation ?? 'disabled',
  };
}

/** Returns the tokens that are reserved for the answer. */
function getAnswerTokens({ body, alias }: Pick<ParsedResponsesBody, 'body' | 'alias'>): number {
  const { contextTokens = Number.POSITIVE_INFINITY, maxOutputTokens } = getAliasLimits(alias);
  if (contextTokens === Number.POSITIVE_INFINITY) return 0;
  const limit = maxOutputTokens ?? contextTokens;
  // An alias may allow an output as long as its context. Reserving so much in every request would leave no room for
  // the input.
  return Math.min(body.max_output_tokens ?? Math.floor(contextTokens / 4), limit);
}

/**
 * Fits a request into its model's context if the request asks for truncation, or if stored items were prepended, whose
 * length the caller can't see. Other requests are unchanged, because the model counts tokens exactly and Lambent only
 * estimates them. Returns the request and the number of items that were dropped from it.
 */
export function fitRequest(parsed: ParsedResponsesBody, request: GenerationRequest, hasStoredItems: boolean) {
  const { body, alias } = parsed;
  if (!hasStoredItems && body.truncation !== 'auto') return { request, droppedItems: 0 };
  const { contextTokens } = getAliasLimits(alias);
  if (contextTokens === undefined) return { request, droppedItems: 0 };
  const truncation = body.truncation ?? 'disabled';
  return fitToContext(request, { contextTokens, answerTokens: getAnswerTokens(parsed), truncation });
}

/** Returns the caller's items with the content of compaction items in their place. */
async function expandInput(
  input: readonly ResolvedItem[],
  tenant: string,
  { vault }: ResponseStores,
): Promise<ResolvedItem[]> {
  const expanded = await Promise.all(
    input.map(async (item) =>
      item.type === 'compaction' ? (await openCompaction(item, tenant, vault)).map(parseStoredItem) : [item],
    ),
  );
  return expanded.flat();
}

/**
 * Returns the input of a request with items in place of its references.
 * @param earlierIds the ids of the items that precede the input
 * @throws LambentError `not_found` for a reference to a missing item
 */
export async function resolveReferences(
  input: ResponsesBody['input'],
  earlierIds: ReadonlySet<string>,
  tenant: string,
  stores: ResponseStores,
): Promise<string | ResolvedItem[]> {
  if (typeof input === 'string') return input;
  const turns = new Map<string, Promise<TurnItem[]>>();
  const findItem = async (itemId: string): Promise<ResolvedItem> => {
    const responseId = responseIdFor(itemId);
    if (responseId === undefined) throw itemNotFoundError(itemId);
    const turn = turns.get(responseId) ?? readStoredTurn(responseId, tenant, stores);
    turns.set(responseId, turn);
    const found = (await turn).find(({ item }) => item.id === itemId);
    if (found === undefined) throw itemNotFoundError(itemId);
    return parseStoredItem(addContinuation(found));
  };
  const items = input.map((item): Promise<ResolvedItem>[] | ResolvedItem[] => {
    if (!isItemReference(item)) return [item];
    // The item is among the earlier items, which precede the input.
    return earlierIds.has(item.id) ? [] : [findItem(item.id)];
  });
  return Promise.all(items.flat());
}

/** Returns the items of a stored response, or none if it doesn't exist. */
async function readStoredTurn(id: string, tenant: string, stores: ResponseStores): Promise<TurnItem[]> {
  const job = await stores.jobs.read(tenant, id);
  return job?.stored && job.endpoint === '/v1/responses' ? readTurn(job, stores) : [];
}
