import { isObject } from '../core/objects.ts';
import { type ContinuationSeal, isSealed } from './continuation-seal.ts';
import type { Continuation, GenerationEvent, GenerationRequest, OriginalRequest } from './generation.ts';
import { mapOutputItems } from './native-items.ts';

type Fields = Readonly<Record<string, unknown>>;
type NativeEvent = Extract<GenerationEvent, { type: 'native' }>;

/** Opens the original of a request to OpenAI's Responses API. Returns the changed fields, and the sealer of its answer. */
export async function openRequest(
  { original, tenant, omitsContinuations = false }: GenerationRequest,
  seal: ContinuationSeal,
): Promise<{ readonly opened: Pick<GenerationRequest, 'original'>; readonly sealer: ItemSealer }> {
  const sealer = new ItemSealer(seal, tenant, omitsContinuations);
  return { opened: original ? { original: await openItems(original, seal, tenant) } : {}, sealer };
}

/** Opens the continuations in the items of a request's input, and removes those that can't be opened. */
async function openItems(original: OriginalRequest, seal: ContinuationSeal, tenant: string): Promise<OriginalRequest> {
  const { input } = original.body;
  if (!Array.isArray(input) || !input.some(hasSealed)) return original;
  const opened: unknown[] = [];
  // One after the other, so that a request causes no further lookups after one that fails.
  for (const item of input) {
    if (!hasSealed(item)) {
      opened.push(item);
      continue;
    }
    const { encrypted_content: sealed, ...rest } = item;
    const reasoning = await seal.open(sealed, tenant);
    opened.push(reasoning === undefined ? rest : { ...rest, encrypted_content: reasoning.continuation });
  }
  return { ...original, body: { ...original.body, input: opened } };
}

function hasSealed(item: unknown): item is Fields & { readonly encrypted_content: Continuation } {
  return isObject(item) && isContinuation(item['encrypted_content']) && isSealed(item['encrypted_content']);
}

function isContinuation(value: unknown): value is Continuation {
  return isObject(value) && typeof value['provider'] === 'string';
}

/** Seals the continuations in the native events of one answer. Drops them if the caller doesn't get them. */
class ItemSealer {
  readonly #seal: ContinuationSeal;
  readonly #tenant: string;
  readonly #omits: boolean;
  /** The sealed continuations by item, which several events repeat. */
  readonly #sealed = new Map<string, Continuation>();

  constructor(seal: ContinuationSeal, tenant: string, omits: boolean) {
    this.#seal = seal;
    this.#tenant = tenant;
    this.#omits = omits;
  }

  async sealEvent(native: NativeEvent): Promise<NativeEvent> {
    const { event } = native;
    const items: Fields[] = [];
    mapOutputItems(event, (item) => {
      if (isContinuation(item['encrypted_content'])) items.push(item);
      return item;
    });
    if (items.length === 0) return native;
    const sealed = new Map<Fields, Continuation>();
    if (!this.#omits) for (const item of items) sealed.set(item, await this.#sealItem(item));
    const own = mapOutputItems(event, (item) => {
      if (!items.includes(item)) return item;
      const { encrypted_content: _, ...rest } = item;
      const continuation = sealed.get(item);
      return continuation === undefined ? rest : { ...rest, encrypted_content: continuation };
    });
    return { type: 'native', event: own };
  }

  async #sealItem(item: Fields): Promise<Continuation> {
    const continuation = item['encrypted_content'] as Continuation;
    const key = JSON.stringify(continuation.data);
    const known = this.#sealed.get(key);
    if (known !== undefined) return known;
    const sealed = await this.#seal.seal({ text: readTexts(item), continuation }, this.#tenant);
    this.#sealed.set(key, sealed);
    return sealed;
  }
}

/** Returns the text of a reasoning item, for targets that accept only text. */
function readTexts({ summary, content }: Fields): string {
  const parts = [summary, content].find((list) => Array.isArray(list) && list.length > 0);
  if (!Array.isArray(parts)) return '';
  return parts
    .flatMap((part) => (isObject(part) && typeof part['text'] === 'string' ? [part['text']] : []))
    .join('\n\n');
}
