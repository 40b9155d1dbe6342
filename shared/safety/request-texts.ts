import type { ContentPart, GenerationRequest, Message, ToolCallPart } from '../inference/generation.ts';
import { decodeCodes, decodeEscapes, JsonText } from './json-text.ts';
import { isOpaque, isOpaqueText, type RecordSource } from './opaque.ts';

/**
 * Lists all texts of a request that a model gets, those of each message together: messages, documents, reasoning, calls and
 * results of tools, and descriptions and schemas of tools and formats. Escapes are decoded in arguments and in what looks like JSON.
 * Images and PDF documents have no text that could be checked.
 */
export function listRequestTexts(request: GenerationRequest): string[][] {
  const { messages, tools, hostedTools, format, unknown, stop } = request;
  const { type: _, ...schema } = format;
  const others = listStrings([tools, hostedTools, Object.values(schema), unknown, stop]).map((text) => [text]);
  return [...messages.map(listMessageTexts), ...others];
}

/** Lists all strings and keys within a JSON value. */
export function listStrings(value: unknown): string[] {
  return collectStrings(value, () => true);
}

/** Lists all strings and keys within a record of reasoning, without signatures and encrypted content. */
function listRecordTexts(record: unknown, source: RecordSource): string[] {
  return collectStrings(record, (text, field) => !isOpaque(text, field, source));
}

function collectStrings(
  value: unknown,
  isListed: (text: string, field: string | undefined) => boolean,
  field?: string,
): string[] {
  if (typeof value === 'string') return isListed(value, field) ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap((each) => collectStrings(each, isListed, field));
  return Object.entries(value).flatMap(([key, each]) => [key, ...collectStrings(each, isListed, key)]);
}

function listMessageTexts(message: Message): string[] {
  const names = 'name' in message && message.name !== undefined ? [message.name] : [];
  if (message.role !== 'assistant') return [...names, ...message.content.flatMap(listPartTexts)];
  const texts = message.content.flatMap((part) => {
    if (part.type === 'toolCall') return listCallTexts(part);
    if (part.type !== 'reasoning') return [decodeEscapes(part.text)];
    return [
      part.text,
      ...listRecordTexts(part.details, 'caller'),
      ...listRecordTexts(part.continuation?.data, 'provider'),
    ];
  });
  return [...names, ...texts];
}

function listCallTexts({ name, arguments: json, signature }: ToolCallPart): string[] {
  const readable = signature === undefined || isOpaqueText(signature) ? [] : [signature];
  return [name, decodeCodes(new JsonText().push(json)), ...readable];
}

function listPartTexts(part: ContentPart): string[] {
  if (part.type === 'text') return [decodeEscapes(part.text)];
  if (part.type === 'image') return 'url' in part ? [part.url] : [];
  return [...(part.title === undefined ? [] : [part.title]), ...('text' in part ? [decodeEscapes(part.text)] : [])];
}
