import { isObject } from '../../core/objects.ts';
import type { OriginalRequest } from '../../inference/generation.ts';
import type { Alias, ModelRegistry } from '../../inference/registry.ts';
import { decodeReasoning } from '../../wire/continuation.ts';
import { createOriginal } from '../original.ts';
import { type InputItem, isHostedItem, isUnknownItem, rejectUnknownItems } from './items.ts';
import { type ResponsesBody, responsesParameters } from './schema.ts';
import { isHostedTool, type ResponsesTool, rejectUnknownTools } from './tools.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Returns the original of a `POST /v1/responses`; undefined if none of its targets speaks this API. Its input is the
 * caller's own: `completeInput` adds the earlier items.
 * @param whole the body as the caller sent it
 * @param body the same body, validated
 * @throws LambentError `invalid_value` for an item or a tool of an unknown kind that no target reads
 */
export function createOriginalResponse(
  whole: Fields,
  body: ResponsesBody,
  { name, alias, registry }: { readonly name: string; readonly alias: Alias; readonly registry: ModelRegistry },
): OriginalRequest | undefined {
  const original = createOriginal(whole, {
    protocol: 'responses',
    name,
    registry,
    fields: responsesParameters,
    dropped: [],
  });
  if (original === undefined) {
    rejectUnknownKinds(body);
    return undefined;
  }
  if (alias.hostedTools === 'pass') return original;
  const { tools, tool_choice: choice, ...others } = original.body;
  const kept = dropHostedTools(tools);
  const hasTools = Array.isArray(kept) && kept.length > 0;
  return {
    ...original,
    ignored: [...original.ignored, ...listHosted(body)],
    body: {
      ...others,
      ...(hasTools && { tools: kept }),
      ...(choice !== undefined && (hasTools || !Array.isArray(tools)) && { tool_choice: dropHostedChoices(choice) }),
    },
  };
}

function rejectUnknownKinds({ tools, input }: ResponsesBody): void {
  rejectUnknownTools(tools ?? [], 'tools');
  if (typeof input === 'string') return;
  rejectUnknownItems(input, 'input');
  for (const [index, item] of input.entries()) rejectUnknownTools(listTools(item), `input[${index}].tools`);
}

/** Lists the hosted tools and their items, as paths such as `tools[web_search]`. */
function listHosted({ tools, input }: ResponsesBody): string[] {
  const items = typeof input === 'string' ? [] : input;
  const hosted = [...(tools ?? []), ...items.flatMap(listTools)]
    .filter(isHostedTool)
    .map(({ type }) => `tools[${type}]`);
  return [...hosted, ...items.filter(isDroppedItem).map(({ type }) => `input[${type}]`)];
}

/** Lists the tools that an item adds. */
function listTools(item: InputItem): readonly ResponsesTool[] {
  return item.type === 'additional_tools' || item.type === 'tool_search_output' ? item.tools : [];
}

function isDroppedItem(item: { readonly type?: string | null | undefined }): boolean {
  return isHostedItem(item) && !isUnknownItem(item);
}

function dropHostedTools(tools: unknown): unknown {
  if (!Array.isArray(tools)) return tools;
  return tools.filter((tool) => !(isObject(tool) && isHostedTool({ type: String(tool['type']) })));
}

function dropHostedChoices(choice: unknown): unknown {
  return isObject(choice) && 'tools' in choice ? { ...choice, tools: dropHostedTools(choice['tools']) } : choice;
}

/** An item in the input of a native request. */
export type NativeItem = Fields;

/**
 * Returns the request with its whole input: earlier items, then the caller's. Hosted tools and their items are left out if
 * the alias drops them, and continuations are decoded.
 * @param input the caller's own text or items, without references
 */
export function completeInput(
  original: OriginalRequest,
  earlier: readonly NativeItem[],
  input: unknown,
  { hostedTools }: Pick<Alias, 'hostedTools'>,
): OriginalRequest {
  if (typeof input === 'string' && earlier.length === 0) return { ...original, body: { ...original.body, input } };
  const own = Array.isArray(input) ? input.filter(isObject) : [{ role: 'user', content: input }];
  const items = [...earlier, ...own].flatMap((item): NativeItem[] => {
    if (hostedTools !== 'pass' && isDroppedItem(item)) return [];
    return [decodeContinuation(hostedTools !== 'pass' && 'tools' in item ? withoutHosted(item) : item)];
  });
  return { ...original, body: { ...original.body, input: items } };
}

/** Returns the request without its input, which is stored apart from it. */
export function omitInput({ body, ...original }: OriginalRequest): OriginalRequest {
  const { input: _, ...others } = body;
  return { ...original, body: others };
}

function withoutHosted(item: NativeItem): NativeItem {
  return { ...item, tools: dropHostedTools(item['tools']) };
}

/** Returns an item with its continuation decoded, and without the encrypted content of another service. */
function decodeContinuation(item: NativeItem): NativeItem {
  const { encrypted_content: encoded, ...rest } = item;
  if (encoded === undefined) return item;
  const continuation = typeof encoded === 'string' ? decodeReasoning(encoded)?.continuation : undefined;
  return continuation === undefined ? rest : { ...rest, encrypted_content: continuation };
}
