import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import { estimateTokens } from '../core/token-estimate.ts';
import type { EarlierItems } from '../sessions/conversations.ts';
import { replacesEarlierItems } from './compaction.ts';
import { parseTurnItem, type TurnItem } from './turn-items.ts';

/** The stored items that precede a request, or those of them that may fit into its model's context. */
export interface EarlierTurnItems {
  /** Oldest first. */
  readonly items: readonly TurnItem[];
  /** The ids of all items, also of those that were left out. */
  readonly ids: ReadonlySet<string>;
  /** Number of items that were left out. */
  readonly droppedItems: number;
}

export interface CollectOptions {
  /** Tokens that the model's context has besides the answer. */
  readonly limitTokens: number;
  /** `auto` leaves out items from the middle; `disabled` rejects a conversation that is too long. */
  readonly truncation: 'auto' | 'disabled';
}

/** Bytes at either end of a conversation that are kept in memory. No model takes a request that is twice as large. */
const MAX_END_BYTES = 10_000_000;

/**
 * Reads the items of a conversation. In memory are at most twice as many as the context can have: the oldest, which state the
 * task, the newest, and the instructions between them. `fitToContext` drops whole turns of these later.
 * @throws LambentError `context_length_exceeded` if the conversation is too long, and `record_unreadable`
 */
export async function collectItems(earlier: EarlierItems, options: CollectOptions): Promise<EarlierTurnItems> {
  const ends = new ConversationEnds(options);
  for await (const page of earlier.pages()) for (const item of page) ends.add(item);
  return ends.toItems();
}

interface Size {
  readonly tokens: number;
  readonly bytes: number;
}

/** Items with their total size. */
class SizedItems {
  items: { readonly turnItem: TurnItem; readonly size: Size }[] = [];
  tokens = 0;
  bytes = 0;

  push(turnItem: TurnItem, size: Size): void {
    this.items.push({ turnItem, size });
    this.#add(size, 1);
  }

  /** Removes the oldest items while the rest has more than these. */
  *shiftAbove(limits: Size): Generator<{ readonly turnItem: TurnItem; readonly size: Size }> {
    let count = 0;
    for (const entry of this.items) {
      const { tokens, bytes } = entry.size;
      if (!(this.tokens - tokens > limits.tokens || this.bytes - bytes > limits.bytes)) break;
      this.#add(entry.size, -1);
      count += 1;
      yield entry;
    }
    if (count > 0) this.items = this.items.slice(count);
  }

  exceeds(limits: Size): boolean {
    return this.tokens > limits.tokens || this.bytes > limits.bytes;
  }

  #add({ tokens, bytes }: Size, sign: 1 | -1): void {
    this.tokens += sign * tokens;
    this.bytes += sign * bytes;
  }
}

class ConversationEnds {
  readonly #ids = new Set<string>();
  #oldest = new SizedItems();
  #instructions = new SizedItems();
  #newest = new SizedItems();
  readonly #options: CollectOptions;
  readonly #limits: Size;
  #droppedItems = 0;

  constructor(options: CollectOptions) {
    this.#options = options;
    this.#limits = { tokens: options.limitTokens, bytes: MAX_END_BYTES };
  }

  add({ content, sizeBytes }: { readonly content: unknown; readonly sizeBytes: number }): void {
    const turnItem = parseTurnItem(content);
    this.#ids.add(turnItem.item.id);
    if (replacesEarlierItems(turnItem.item)) this.#clear();
    const size = { tokens: countTokens(turnItem.item), bytes: sizeBytes };
    if (!this.#oldest.exceeds(this.#limits)) {
      this.#oldest.push(turnItem, size);
      return;
    }
    this.#newest.push(turnItem, size);
    if (!this.#newest.exceeds(this.#limits)) return;
    if (this.#options.truncation === 'disabled') throw conversationTooLongError(this.#options);
    for (const { turnItem: left, size: leftSize } of this.#newest.shiftAbove(this.#limits)) {
      if (isInstruction(left)) this.#instructions.push(left, leftSize);
      else this.#droppedItems += 1;
    }
    // Instructions are never dropped.
    if (this.#instructions.exceeds(this.#limits)) throw conversationTooLongError(this.#options);
  }

  /** Removes the items so far, which a compaction item replaces. */
  #clear(): void {
    this.#oldest = new SizedItems();
    this.#instructions = new SizedItems();
    this.#newest = new SizedItems();
    this.#droppedItems = 0;
  }

  toItems(): EarlierTurnItems {
    const parts = [this.#oldest, this.#instructions, this.#newest];
    return {
      items: parts.flatMap(({ items }) => items.map(({ turnItem }) => turnItem)),
      ids: this.#ids,
      droppedItems: this.#droppedItems,
    };
  }
}

function isInstruction({ item }: TurnItem): boolean {
  return item['role'] === 'system' || item['role'] === 'developer';
}

/** Estimates the tokens of an item's texts. At most as many as `fitToContext` counts for the same item. */
function countTokens(value: unknown): number {
  if (Array.isArray(value)) return value.reduce((sum: number, each) => sum + countTokens(each), 0);
  if (!isObject(value)) return 0;
  return TEXT_FIELDS.reduce((sum, name) => {
    const field = value[name];
    return sum + (typeof field === 'string' ? estimateTokens(field) : countTokens(field));
  }, 0);
}

const TEXT_FIELDS = ['content', 'text', 'refusal', 'arguments', 'output'] as const;

function conversationTooLongError({ limitTokens }: CollectOptions): LambentError {
  const message =
    `The conversation exceeds the context window of this model: it has more than ${limitTokens} tokens, or ` +
    `${MAX_END_BYTES} bytes. Use another model, or set truncation to 'auto'.`;
  return new LambentError('context_length_exceeded', message, { param: 'input' });
}
