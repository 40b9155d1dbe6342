import type { AssistantMessage, ImagePart, Message, TextPart, ToolCallPart } from '../../inference/generation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import { parseImageUrl } from '../images.ts';
import { invalidValueError } from '../validation.ts';
import type { ChatMessage } from './schema.ts';

/**
 * Translates the messages of a chat completion, one by one: an internal message has its caller's index.
 * @throws LambentError `invalid_value` for an image that can't be taken, an assistant's message with nothing in it, or
 * tool calls and their answers that don't match
 */
export function translateChatMessages(messages: readonly ChatMessage[], registry: ModelRegistry): Message[] {
  const translated = messages.map((message, index) => translate(message, index, registry));
  checkToolAnswers(translated);
  return translated;
}

function translate(message: ChatMessage, index: number, registry: ModelRegistry): Message {
  switch (message.role) {
    case 'system':
    case 'developer':
      return { role: 'system', content: textParts(message.content), ...named(message.name) };
    case 'user':
      return {
        role: 'user',
        content: userParts(message.content, `messages[${index}].content`, registry),
        ...named(message.name),
      };
    case 'assistant':
      return { role: 'assistant', content: assistantParts(message, index), ...named(message.name) };
    case 'tool':
      return { role: 'tool', toolCallId: message.tool_call_id, content: textParts(message.content) };
  }
}

function named(name: string | null | undefined): { name?: string } {
  return name === null || name === undefined ? {} : { name };
}

function textParts(content: string | readonly { text: string }[]): TextPart[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  return content.map(({ text }) => ({ type: 'text', text }));
}

type UserContent = Extract<ChatMessage, { role: 'user' }>['content'];

function userParts(content: UserContent, param: string, registry: ModelRegistry): (TextPart | ImagePart)[] {
  if (typeof content === 'string') return textParts(content);
  return content.map((part, index) => {
    if (part.type === 'text') return { type: 'text', text: part.text };
    return parseImageUrl(part.image_url.url, part.image_url.detail, `${param}[${index}].image_url.url`, registry);
  });
}

type AssistantFields = Extract<ChatMessage, { role: 'assistant' }>;

function assistantParts(message: AssistantFields, index: number): AssistantMessage['content'] {
  const { content, refusal, tool_calls, reasoning_content } = message;
  const parts: AssistantMessage['content'][number][] = [];
  if (reasoning_content) parts.push({ type: 'reasoning', text: reasoning_content });
  if (typeof content === 'string') {
    if (content !== '') parts.push({ type: 'text', text: content });
  } else {
    for (const part of content ?? []) {
      parts.push(part.type === 'text' ? { type: 'text', text: part.text } : { type: 'refusal', text: part.refusal });
    }
  }
  if (refusal) parts.push({ type: 'refusal', text: refusal });
  for (const call of tool_calls ?? []) {
    parts.push({ type: 'toolCall', id: call.id, name: call.function.name, arguments: call.function.arguments });
  }
  if (parts.length > 0) return parts;
  if (content !== null && content !== undefined) return [{ type: 'text', text: '' }];
  const param = `messages[${index}].content`;
  throw invalidValueError(
    param,
    `Invalid value for '${param}': expected a string, but got null instead. An assistant message needs content, a refusal or tool calls.`,
  );
}

/** Every tool call is answered, once, right after the message that made it, and nothing else is answered. */
function checkToolAnswers(messages: readonly Message[]): void {
  let open = new Set<string>();
  let asked = -1;
  const close = (): void => {
    if (open.size === 0) return;
    throw invalidValueError(
      `messages[${asked}]`,
      `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ${[...open].slice(0, 10).join(', ').slice(0, 500).toWellFormed()}`,
    );
  };
  for (const [index, message] of messages.entries()) {
    if (message.role === 'tool') {
      if (!open.delete(message.toolCallId)) throw unasked(index);
      continue;
    }
    close();
    if (message.role !== 'assistant') continue;
    asked = index;
    open = callIds(message, index);
  }
  close();
}

function callIds({ content }: AssistantMessage, index: number): Set<string> {
  const ids = new Set<string>();
  const calls = content.filter((part): part is ToolCallPart => part.type === 'toolCall');
  for (const [position, { id }] of calls.entries()) {
    if (ids.has(id)) {
      const param = `messages[${index}].tool_calls[${position}].id`;
      throw invalidValueError(param, `Invalid '${param}': another tool call of this message has the same id.`);
    }
    ids.add(id);
  }
  return ids;
}

function unasked(index: number) {
  return invalidValueError(
    `messages[${index}].role`,
    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
  );
}
