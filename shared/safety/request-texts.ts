import type { ContentPart, GenerationRequest, Message } from '../inference/generation.ts';
import { JsonText } from './json-text.ts';

/**
 * Lists all texts of a request that a model gets, those of each message together: messages, documents, calls and results of
 * tools, and descriptions and schemas of tools and formats. Images and PDF documents have no text that could be checked.
 */
export function listRequestTexts(request: GenerationRequest): string[][] {
  const { messages, tools, hostedTools, format, unknown, stop } = request;
  const { type: _, ...schema } = format;
  const others = listStrings([tools, hostedTools, Object.values(schema), Object.values(unknown), stop]).map((text) => [
    text,
  ]);
  return [...messages.map(listMessageTexts), ...others];
}

/** Lists all strings and keys within a JSON value. */
export function listStrings(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap(listStrings);
  return Object.entries(value).flatMap(([key, each]) => [key, ...listStrings(each)]);
}

function listMessageTexts(message: Message): string[] {
  const names = 'name' in message && message.name !== undefined ? [message.name] : [];
  if (message.role !== 'assistant') return [...names, ...message.content.flatMap(listPartTexts)];
  const texts = message.content.flatMap((part) => {
    if (part.type !== 'toolCall') return [part.text, ...('details' in part ? listStrings(part.details) : [])];
    return [part.name, new JsonText().push(part.arguments)];
  });
  return [...names, ...texts];
}

function listPartTexts(part: ContentPart): string[] {
  if (part.type === 'text') return [part.text];
  if (part.type === 'image') return 'url' in part ? [part.url] : [];
  return [...(part.title === undefined ? [] : [part.title]), ...('text' in part ? [part.text] : [])];
}
