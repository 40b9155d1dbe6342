import { isObject, omitUndefined } from '../../../core/objects.ts';
import { asObject, asObjects, asText, type WireObject } from './wire.ts';

/** The `provider` of continuations of OpenAI's reasoning items. */
const PROVIDER = 'openai-responses';

/**
 * Returns an output item with a continuation in place of its `encrypted_content`. The continuation has the item's id,
 * because the upstream refuses the content under another id.
 * @param upstream fingerprint of the target
 * @see https://github.com/BerriAI/litellm/pull/15782
 */
export function createItemContinuation(item: WireObject, upstream: string): WireObject {
  const { id, encrypted_content: content } = item;
  if (typeof content !== 'string') return item;
  return { ...item, encrypted_content: { provider: PROVIDER, data: omitUndefined({ upstream, id, content }) } };
}

/**
 * Returns the items of an input as the upstream issued them. Reasoning without content that this upstream can read is
 * dropped: the upstream would look it up among its stored items, and it stores none.
 */
export function restoreItems(input: readonly unknown[], upstream: string): unknown[] {
  return input.flatMap((item) => (isObject(item) ? restoreItem(item, upstream) : [item]));
}

function restoreItem(item: WireObject, upstream: string): WireObject[] {
  const { encrypted_content: continuation, ...rest } = item;
  const data = isObject(continuation) && continuation['provider'] === PROVIDER ? asObject(continuation['data']) : {};
  const content = data?.['upstream'] === upstream ? asText(data['content']) : undefined;
  if (content !== undefined) {
    return [{ ...rest, ...omitUndefined({ id: asText(data?.['id']) }), encrypted_content: content }];
  }
  // Open models return the text itself, and expect it back.
  return item['type'] === 'reasoning' && asObjects(item['content']).length === 0 ? [] : [rest];
}
