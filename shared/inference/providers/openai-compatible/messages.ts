import { isObject } from '../../../core/objects.ts';
import { decodeCustomInput } from '../../custom-input.ts';
import type {
  AssistantMessage,
  ContentPart,
  Continuation,
  ImagePart,
  Message,
  PdfDocument,
  ToolCallPart,
  ToolMessage,
} from '../../generation.ts';
import type { Dialect } from './dialect.ts';
import { asText, type WireObject } from './wire.ts';

/** The `provider` of every continuation from this provider. */
export const PROVIDER = 'openai-compatible';

/** The field in which an upstream sends its reasoning, and in which it expects it back. */
export type ReasoningField = 'reasoning_content' | 'reasoning';

/**
 * Creates the continuation of a block of reasoning: the field and the upstream that it goes back to. `upstream` is a
 * fingerprint, because another target of the alias might refuse the field.
 */
export function createContinuation(field: ReasoningField, upstream: string): Continuation {
  return { provider: PROVIDER, data: { field, upstream } };
}

/**
 * Converts the conversation. Texts become plain strings, because several dialects refuse an array of text parts.
 * @param upstream fingerprint of the target, as in `createContinuation`
 * @param hasCustomTools whether calls of custom tools are written as such, and not as functions
 */
export function toWireMessages(
  messages: readonly Message[],
  dialect: Dialect,
  upstream: string,
  hasCustomTools: boolean,
): WireObject[] {
  const wire: WireObject[] = [];
  let files: FilePart[] = [];
  for (const message of messages) {
    if (message.role !== 'tool' && files.length > 0) {
      wire.push(toToolFilesMessage(files));
      files = [];
    }
    if (message.role === 'tool') files.push(...message.content.filter(isFile));
    wire.push(toWireMessage(message, dialect, upstream, hasCustomTools));
  }
  if (files.length > 0) wire.push(toToolFilesMessage(files));
  return wire;
}

function toWireMessage(message: Message, dialect: Dialect, upstream: string, hasCustomTools: boolean): WireObject {
  switch (message.role) {
    case 'system':
      return { role: 'system', content: joinText(message.content), ...toNameField(message) };
    case 'user':
      return { role: 'user', content: toUserContent(message.content), ...toNameField(message) };
    case 'assistant':
      return toAssistantMessage(message, dialect, upstream, hasCustomTools);
    case 'tool':
      return { role: 'tool', tool_call_id: message.toolCallId, content: toToolText(message) };
  }
}

function toNameField({ name }: { readonly name?: string }): WireObject {
  return name === undefined ? {} : { name };
}

/** Joins the texts of a message by line breaks, as vLLM does. */
function joinText(parts: readonly { readonly text: string }[]): string {
  return parts.map(({ text }) => text).join('\n');
}

/** A part that is not text. */
type FilePart = ImagePart | PdfDocument;

function isFile(part: ContentPart): part is FilePart {
  return part.type === 'image' || (part.type === 'document' && part.mediaType === 'application/pdf');
}

function toUserContent(parts: readonly ContentPart[]): string | WireObject[] {
  if (!parts.some(isFile)) return joinText(toTexts(parts));
  return parts.flatMap((part) => (isFile(part) ? [toFilePart(part)] : toTexts([part])));
}

/** Returns the texts and text documents. Only PDFs have a part of their own in this API. */
function toTexts(parts: readonly ContentPart[]): { type: 'text'; text: string }[] {
  return parts.flatMap((part) => {
    if (part.type === 'text') return [{ type: 'text', text: part.text }];
    if (part.type !== 'document' || part.mediaType !== 'text/plain') return [];
    return [{ type: 'text', text: part.title === undefined ? part.text : `${part.title}\n\n${part.text}` }];
  });
}

function toFilePart(part: FilePart): WireObject {
  if (part.type === 'image') return toImagePart(part);
  const { base64, mediaType, title } = part;
  return {
    type: 'file',
    file: { filename: title ?? 'document.pdf', file_data: `data:${mediaType};base64,${base64}` },
  };
}

function toImagePart(image: ImagePart): WireObject {
  const url = 'url' in image ? image.url : `data:${image.mediaType};base64,${image.base64}`;
  return { type: 'image_url', image_url: image.detail === undefined ? { url } : { url, detail: image.detail } };
}

/** Returns the text of a tool result. Tool messages hold text only; files follow the last tool message of the turn. */
function toToolText({ content, isError }: ToolMessage): string {
  const output = joinText(toTexts(content));
  // This API has no field for a failed call.
  const text = isError === true ? `Error: ${output}` : output;
  const files = content.filter(isFile);
  if (files.length === 0) return text;
  const [one, many] = files.every(({ type }) => type === 'image') ? ['An image', 'images'] : ['A file', 'files'];
  const follow = files.length === 1 ? `${one} follows` : `${files.length} ${many} follow`;
  return `${text}${text === '' ? '' : '\n'}(${follow} in the next user message.)`;
}

function toToolFilesMessage(files: readonly FilePart[]): WireObject {
  const kind = files.every(({ type }) => type === 'image') ? 'Images' : 'Files';
  const intro = { type: 'text', text: `${kind} from the tool results above:` };
  return { role: 'user', content: [intro, ...files.map(toFilePart)] };
}

function toAssistantMessage(
  message: AssistantMessage,
  dialect: Dialect,
  upstream: string,
  hasCustomTools: boolean,
): WireObject {
  const calls = message.content.filter((part) => part.type === 'toolCall');
  // A refusal is sent as text, because most dialects have no field for it.
  const texts = message.content.filter((part) => part.type === 'text' || part.type === 'refusal');
  const said = { role: 'assistant', ...toNameField(message) };
  if (calls.length === 0) return { ...said, content: joinText(texts) };
  return {
    ...said,
    content: texts.length > 0 ? joinText(texts) : null,
    ...toReasoningFields(message, dialect, upstream),
    tool_calls: calls.map((call, index) => ({
      id: call.id,
      ...(call.isCustom && hasCustomTools ? toCustomCall(call) : toFunctionCall(call)),
      ...(index === 0 && dialect.requiresThoughtSignature ? UNSIGNED_CALL : {}),
    })),
  };
}

function toFunctionCall({ name, arguments: text }: ToolCallPart): WireObject {
  // Chat templates parse the arguments of earlier turns, and fail on an empty text.
  return { type: 'function', function: { name, arguments: text.trim() === '' ? '{}' : text } };
}

function toCustomCall({ name, arguments: text }: ToolCallPart): WireObject {
  return { type: 'custom', custom: { name, input: decodeCustomInput(text) } };
}

/** Google's documented placeholder for the signature of a call that passed through an API without signatures. */
const UNSIGNED_CALL = { extra_content: { google: { thought_signature: 'skip_thought_signature_validator' } } };

/**
 * Returns the reasoning fields of a turn with tool calls, for the upstream that made the reasoning or a dialect that
 * requires it. In other turns DeepSeek's older models answer 400 to reasoning and newer ones ignore it; other upstreams
 * don't know the field.
 */
function toReasoningFields(message: AssistantMessage, dialect: Dialect, upstream: string): WireObject {
  const fields: Record<string, string> = dialect.requiresReasoning ? { reasoning_content: '' } : {};
  for (const part of message.content) {
    if (part.type !== 'reasoning') continue;
    const field = part.continuation
      ? findContinuationField(part.continuation, upstream)
      : dialect.requiresReasoning && 'reasoning_content';
    if (field) fields[field] = (fields[field] ?? '') + part.text;
  }
  return fields;
}

function findContinuationField({ provider, data }: Continuation, upstream: string): string | undefined {
  if (provider !== PROVIDER || !isObject(data) || data['upstream'] !== upstream) return undefined;
  const field = asText(data['field']);
  return field === 'reasoning_content' || field === 'reasoning' ? field : undefined;
}
