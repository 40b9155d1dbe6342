import { isObject } from '../../../core/objects.ts';
import type { AssistantMessage, Continuation, ImagePart, Message, TextPart, ToolMessage } from '../../generation.ts';
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
 */
export function toWireMessages(messages: readonly Message[], dialect: Dialect, upstream: string): WireObject[] {
  const wire: WireObject[] = [];
  let images: ImagePart[] = [];
  for (const message of messages) {
    if (message.role !== 'tool' && images.length > 0) {
      wire.push(toToolImagesMessage(images));
      images = [];
    }
    if (message.role === 'tool') images.push(...message.content.filter((part) => part.type === 'image'));
    wire.push(toWireMessage(message, dialect, upstream));
  }
  if (images.length > 0) wire.push(toToolImagesMessage(images));
  return wire;
}

function toWireMessage(message: Message, dialect: Dialect, upstream: string): WireObject {
  switch (message.role) {
    case 'system':
      return { role: 'system', content: joinText(message.content), ...toNameField(message) };
    case 'user':
      return { role: 'user', content: toUserContent(message.content), ...toNameField(message) };
    case 'assistant':
      return toAssistantMessage(message, dialect, upstream);
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

function toUserContent(parts: readonly (TextPart | ImagePart)[]): string | WireObject[] {
  const texts = parts.filter((part) => part.type === 'text');
  if (texts.length === parts.length) return joinText(texts);
  return parts.map((part) => (part.type === 'text' ? { type: 'text', text: part.text } : toImagePart(part)));
}

function toImagePart(image: ImagePart): WireObject {
  const url = 'url' in image ? image.url : `data:${image.mediaType};base64,${image.base64}`;
  return { type: 'image_url', image_url: image.detail === undefined ? { url } : { url, detail: image.detail } };
}

/** Returns the text of a tool result. Tool messages hold text only; images follow the last tool message of the turn. */
function toToolText({ content }: ToolMessage): string {
  const text = joinText(content.filter((part) => part.type === 'text'));
  const images = content.length - content.filter((part) => part.type === 'text').length;
  if (images === 0) return text;
  return `${text}${text === '' ? '' : '\n'}(${images === 1 ? 'An image follows' : `${images} images follow`} in the next user message.)`;
}

function toToolImagesMessage(images: readonly ImagePart[]): WireObject {
  const intro = { type: 'text', text: 'Images from the tool results above:' };
  return { role: 'user', content: [intro, ...images.map(toImagePart)] };
}

function toAssistantMessage(message: AssistantMessage, dialect: Dialect, upstream: string): WireObject {
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
      type: 'function',
      // Chat templates parse the arguments of earlier turns, and fail on an empty text.
      function: { name: call.name, arguments: call.arguments.trim() === '' ? '{}' : call.arguments },
      ...(index === 0 && dialect.requiresThoughtSignature ? UNSIGNED_CALL : {}),
    })),
  };
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
