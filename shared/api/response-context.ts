import type { GenerationRequest, OriginalRequest } from '../inference/generation.ts';
import { getAliasLimits } from '../inference/model-limits.ts';
import type { ParseContext } from '../openai/parameters.ts';
import { isItemReference, type ResolvedItem, rejectDuplicateIds } from '../openai/responses/items.ts';
import { completeInput, omitInput } from '../openai/responses/original.ts';
import { itemNotFoundError, type ParsedResponsesBody, toGenerationRequest } from '../openai/responses/request.ts';
import type { ResponsesBody } from '../openai/responses/schema.ts';
import { parseStoredItem, responseIdFor, type StoredItem } from '../openai/responses/stored-items.ts';
import { fitToContext } from '../sessions/fit-to-context.ts';
import {
  type ExpandedItem,
  expandCompactions,
  openCompaction,
  replacesEarlierItems,
  startFromCompaction,
} from './compaction.ts';
import { type ContextCompaction, planCompaction } from './context-compaction.ts';
import type { CollectOptions, EarlierTurnItems } from './earlier-items.ts';
import { type ResponseStores, readTurn } from './response-chain.ts';
import { addContinuation, isNative, type TurnItem, toNativeItem } from './turn-items.ts';
import { removeUnpairedCalls } from './unpaired-calls.ts';

/** A request together with the stored items that it refers to. */
export interface ResponseContext {
  /** The request, with items in place of item references. */
  readonly body: ResponsesBody;
  /** The request to the model: earlier items and input, fitted into the model's context. */
  readonly generation: GenerationRequest;
  /** Number of items that were dropped to fit the context. */
  readonly droppedItems: number;
  /** Present if the request must be compacted before it is sent. `generation` is then not fitted into the context. */
  readonly compaction?: ContextCompaction;
  /** The items of `body.input` as the caller sent them, for native requests; absent if no target takes these. */
  readonly rawInput?: readonly unknown[];
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
  const input = await resolveInput(parsed, earlier.ids, context.tenant, stores);
  const body = { ...parsed.body, input: toItems(input) };
  if (typeof body.input !== 'string') rejectDuplicateIds(body.input, 'input', earlier.ids);
  const raw = parsed.original !== undefined && typeof input !== 'string' ? { rawInput: toRaw(input) } : {};
  const items = await expandItems(input, earlier.items, context.tenant, stores);
  const ownItems = toItems(items.own);
  const build = (storedItems: readonly ResolvedItem[], own: string | readonly ResolvedItem[]) =>
    toGenerationRequest({ ...parsed, body }, context, storedItems, own);
  const request = build(items.earlier.map(toResolvedItem), ownItems);
  const plan = planCompaction(parsed, request, items.earlier, ownItems);
  if (plan !== undefined) {
    const resolve = (item: StoredItem) => parseStoredItem(item, true);
    const rebuild = (kept: readonly StoredItem[]) => fitRequest(parsed, build([], kept.map(resolve)), true);
    const compaction = { ...plan, whole: request, rebuild };
    return { body, generation: request, droppedItems: earlier.droppedItems, compaction, ...raw };
  }
  const fitted = fitRequest(parsed, request, items.followsStored);
  const droppedItems = earlier.droppedItems + fitted.droppedItems;
  // Without the original if items were dropped: a target that gets it would get these items, too.
  const generation = droppedItems > 0 ? fitted.request : addOriginal(fitted.request, parsed, items);
  return { body, generation, droppedItems, ...raw };
}

/** The items of a request, with the content of compaction items in their place. */
interface ContextItems {
  /** The stored items that precede the input, oldest first. */
  readonly earlier: readonly ExpandedItem[];
  readonly own: string | readonly InputEntry[];
  /** Whether stored items precede the input, calls and outputs without a counterpart included. */
  readonly followsStored: boolean;
}

/** Opens the compaction items of a request, and leaves out the items that they replace. */
async function expandItems(
  input: string | readonly InputEntry[],
  stored: readonly TurnItem[],
  tenant: string,
  stores: ResponseStores,
): Promise<ContextItems> {
  // A compaction item of the input may replace everything before it, stored items included.
  const start = typeof input === 'string' ? -1 : input.findLastIndex(({ item }) => replacesEarlierItems(item));
  const remaining = start === -1 ? startFromCompaction(stored) : [];
  const own = typeof input === 'string' ? input : await expandInput(input.slice(Math.max(0, start)), tenant, stores);
  const expanded = await expandCompactions(remaining, tenant, stores.vault);
  return { earlier: removeUnpairedCalls(expanded, toItems(own)), own, followsStored: remaining.length > 0 };
}

/** Returns a request with its native form for targets that speak this API, if there are any. */
function addOriginal(
  request: GenerationRequest,
  { original, alias }: ParsedResponsesBody,
  { earlier, own }: ContextItems,
): GenerationRequest {
  if (original === undefined) return request;
  return { ...request, original: completeInput(original, earlier.map(toNativeItem), toRaw(own), alias) };
}

/** An item of a request's input. */
interface InputEntry {
  readonly item: ResolvedItem;
  /** The same item as the caller sent it, or as it is stored. */
  readonly raw: unknown;
}

function toItems(input: string | readonly InputEntry[]): string | ResolvedItem[] {
  return typeof input === 'string' ? input : input.map(({ item }) => item);
}

function toRaw<T extends string | readonly InputEntry[]>(input: T): T extends string ? T : unknown[];
function toRaw(input: string | readonly InputEntry[]): unknown {
  return typeof input === 'string' ? input : input.map(({ raw }) => raw);
}

function toResolvedItem(turnItem: ExpandedItem): ResolvedItem {
  return parseStoredItem(addContinuation(turnItem), isNative(turnItem) || turnItem.isCompacted === true);
}

/** Returns items that are all in memory as the items that precede a request. */
export function listEarlierItems(items: readonly TurnItem[]): EarlierTurnItems {
  return { items, ids: new Set(items.map(({ item }) => item.id)), droppedItems: 0 };
}

/** Returns a request without the parts that are built from earlier items: its messages, and the key of its conversation. */
export function omitMessages({ original, ...generation }: GenerationRequest): GenerationRequest {
  const stored = { ...generation, messages: [], conversationKey: '' };
  return original === undefined ? stored : { ...stored, original: omitInput(original) };
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
  const fitted = fitToContext(request, { contextTokens, answerTokens: getAnswerTokens(parsed), truncation });
  if (fitted.droppedItems === 0) return fitted;
  // The original has all items, so a target that gets it would get the dropped ones, too.
  const { original: _, ...translated } = fitted.request;
  return { ...fitted, request: translated };
}

/** Returns the caller's items with the content of compaction items in their place. */
async function expandInput(
  input: readonly InputEntry[],
  tenant: string,
  { vault }: ResponseStores,
): Promise<InputEntry[]> {
  const expanded = await Promise.all(
    input.map(async (entry) => {
      if (entry.item.type !== 'compaction') return [entry];
      const items = await openCompaction(entry.item, tenant, vault);
      return items.map((item) => ({ item: parseStoredItem(item, true), raw: toNativeItem({ item }) }));
    }),
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
  return toItems(await resolveInput({ body: { input } }, earlierIds, tenant, stores));
}

async function resolveInput(
  { body: { input }, original }: { readonly body: Pick<ResponsesBody, 'input'>; readonly original?: OriginalRequest },
  earlierIds: ReadonlySet<string>,
  tenant: string,
  stores: ResponseStores,
): Promise<string | InputEntry[]> {
  if (typeof input === 'string') return input;
  const rawInput = original?.body['input'];
  const turns = new Map<string, Promise<TurnItem[]>>();
  const findItem = async (itemId: string): Promise<InputEntry> => {
    const responseId = responseIdFor(itemId);
    if (responseId === undefined) throw itemNotFoundError(itemId);
    const turn = turns.get(responseId) ?? readStoredTurn(responseId, tenant, stores);
    turns.set(responseId, turn);
    const found = (await turn).find(({ item }) => item.id === itemId);
    if (found === undefined) throw itemNotFoundError(itemId);
    return { item: parseStoredItem(addContinuation(found), isNative(found)), raw: toNativeItem(found) };
  };
  const entries = input.map((item, index): Promise<InputEntry>[] | InputEntry[] => {
    if (!isItemReference(item)) return [{ item, raw: Array.isArray(rawInput) ? rawInput[index] : undefined }];
    // The item is among the earlier items, which precede the input.
    return earlierIds.has(item.id) ? [] : [findItem(item.id)];
  });
  return Promise.all(entries.flat());
}

/** Returns the items of a stored response, or none if it doesn't exist. */
async function readStoredTurn(id: string, tenant: string, stores: ResponseStores): Promise<TurnItem[]> {
  const job = await stores.jobs.read(tenant, id);
  return job?.stored && job.endpoint === '/v1/responses' ? readTurn(job, stores) : [];
}
