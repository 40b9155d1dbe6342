import { estimateTokens } from '../core/token-estimate.ts';
import type { GenerationRequest, Usage } from '../inference/generation.ts';
import { getAliasLimits } from '../inference/model-limits.ts';
import { estimatePromptTokens } from '../inference/prompt-tokens.ts';
import type { CompactionItem } from '../openai/responses/item-builders.ts';
import type { ResolvedItem } from '../openai/responses/items.ts';
import type { ParsedResponsesBody } from '../openai/responses/request.ts';
import { createItemIdGenerator, type StoredItem, toStoredInput } from '../openai/responses/stored-items.ts';
import type { Vault } from '../vault/vault.ts';
import { type ExpandedItem, prepareCompaction } from './compaction.ts';
import type { GovernedOptions } from './governed-router.ts';
import { moderateFirst } from './moderate-first.ts';
import { isCall, isCallOutput, isFromUser, isInstruction, isNotes, type SummaryPorts, summarize } from './summary.ts';
import { addContinuation } from './turn-items.ts';

/** What to summarize and what to keep of the context of a request. */
export interface CompactionPlan {
  /** The items that a summary replaces, oldest first. */
  readonly summarized: readonly StoredItem[];
  /** The items after them, which are kept: the latest user message, or the latest calls with their outputs. */
  readonly kept: readonly StoredItem[];
  /** The most tokens of user messages that are kept beside the summary. */
  readonly userTokens: number;
}

/** A plan, and how the request is built from its result. */
export interface ContextCompaction extends CompactionPlan {
  /** The request with all items. */
  readonly whole: GenerationRequest;
  /** Returns the request with these items in place of all others, fitted into its model's context. */
  readonly rebuild: (items: readonly StoredItem[]) => {
    readonly request: GenerationRequest;
    readonly droppedItems: number;
  };
}

/** A request whose context was compacted. */
export interface CompactedContext {
  readonly generation: GenerationRequest;
  readonly droppedItems: number;
  /** The output item with the compacted context. It replaces all items before it. */
  readonly item: CompactionItem;
  /** The tokens of the summary. */
  readonly usage: Usage;
}

/** The share of the threshold that the user's earlier messages may take in a compacted context. */
const USER_SHARE = 0.25;
/** The threshold if the request names none, as a share of the model's context. */
const DEFAULT_SHARE = 0.75;

/**
 * Plans the compaction that `context_management` asks for. Returns undefined if it doesn't ask for any, if the estimated tokens
 * don't exceed the threshold, or if nothing precedes the latest user message.
 * @param stored the items before the request's own
 * @param own the request's own input
 */
export function planCompaction(
  parsed: Pick<ParsedResponsesBody, 'body' | 'alias'>,
  request: GenerationRequest,
  stored: readonly ExpandedItem[],
  own: string | readonly ResolvedItem[],
): CompactionPlan | undefined {
  const threshold = getThreshold(parsed);
  if (threshold === undefined || estimatePromptTokens(request) <= threshold) return undefined;
  // Nothing refers to an item inside a compaction, so the ids needn't name a response.
  const ownItems = toStoredInput(own, createItemIdGenerator('resp_', 0)).map((item): ExpandedItem => ({ item }));
  const all = [...stored, ...ownItems];
  const start = findFirstKept(all.map(({ item }) => item));
  const summarized = all.slice(0, start);
  // A summary of an earlier summary alone would only lose information.
  if (summarized.every(({ item, isCompacted }) => isCompacted || isInstruction(item))) return undefined;
  return {
    summarized: summarized.map(addContinuation),
    kept: all.slice(start).map(addContinuation),
    userTokens: Math.floor(threshold * USER_SHARE),
  };
}

function getThreshold({ body, alias }: Pick<ParsedResponsesBody, 'body' | 'alias'>): number | undefined {
  const entry = body.context_management?.find(({ type }) => type === 'compaction');
  if (entry === undefined) return undefined;
  const { contextTokens } = getAliasLimits(alias);
  return (
    entry.compact_threshold ?? (contextTokens === undefined ? undefined : Math.floor(contextTokens * DEFAULT_SHARE))
  );
}

/** Returns the index of the first item that has no answer yet, or of the first call whose output the model hasn't seen. */
function findFirstKept(items: readonly StoredItem[]): number {
  let start = items.length;
  const moveWhile = (test: (item: StoredItem) => boolean): void => {
    for (let item = items[start - 1]; item !== undefined && test(item); item = items[start - 1]) start -= 1;
  };
  moveWhile((item) => isFromUser(item) || isInstruction(item) || isCallOutput(item));
  if (!items.slice(start).some(isCallOutput)) return start;
  for (;;) {
    moveWhile((item) => isCall(item) || isCallOutput(item) || item.type === 'reasoning');
    // The model may have written a text between its calls.
    const call = findCallOfLaterOutput(items, start);
    if (call === -1) return start;
    start = call;
  }
}

/** Returns the index of the latest call before `start` whose output is at or after `start`; -1 without such a call. */
function findCallOfLaterOutput(items: readonly StoredItem[], start: number): number {
  const tail = items.slice(start);
  const called = new Set(tail.filter(isCall).map((item) => item['call_id']));
  const answered = new Set(tail.filter(isCallOutput).map((item) => item['call_id']));
  return items.findLastIndex((item, index) => {
    const id = item['call_id'];
    return index < start && isCall(item) && answered.has(id) && !called.has(id);
  });
}

/**
 * Has the model summarize the beginning of a context, and builds the request with the summary in its place. If the request asks for
 * moderation, all of it is moderated before.
 * @throws LambentError as `moderateFirst` and `summarize` do, `context_length_exceeded`, and the errors of the vault
 */
export async function compactContext(
  { whole, summarized, kept, userTokens, rebuild }: ContextCompaction,
  parsed: ParsedResponsesBody,
  { vault, ...ports }: SummaryPorts & { readonly vault: Pick<Vault, 'prepareSeal'> },
  call: GovernedOptions,
  createItemId: () => string,
): Promise<CompactedContext> {
  const createCompaction = await prepareCompaction(ports.tenant, vault, createItemId, { replacesEarlier: true });
  const moderation = await moderateFirst(whole, summarized, ports.router, call);
  const summary = await summarize(parsed, summarized, ports, call, createItemId);
  const userMessages = summarized.filter((item) => isFromUser(item) && !isNotes(item));
  const items = [...summarized.filter(isInstruction), ...selectNewest(userMessages, userTokens), summary.item, ...kept];
  const { request, droppedItems } = rebuild(items);
  return {
    generation: { ...request, ...moderation },
    droppedItems,
    item: createCompaction(items),
    usage: summary.usage,
  };
}

/** Returns the newest items that have at most `limit` tokens together. */
function selectNewest(items: readonly StoredItem[], limit: number): StoredItem[] {
  let tokens = 0;
  const tooMany = items.findLastIndex((item) => {
    tokens += estimateTokens(JSON.stringify(item['content']));
    return tokens > limit;
  });
  return items.slice(tooMany + 1);
}
