import { isObject } from '../../core/objects.ts';
import { encodeCustomInput } from '../../inference/custom-input.ts';
import type {
  AssistantMessage,
  ContentPart,
  Message,
  ReasoningDetail,
  TextPart,
  ToolCallPart,
} from '../../inference/generation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import { markMessage } from '../../wire/mark-message.ts';
import { toMark } from '../cache-marks.ts';
import { parseFileData } from '../documents.ts';
import { parseImageUrl } from '../images.ts';
import { invalidValueError } from '../validation.ts';
import type { ChatMessage } from './schema.ts';
import { readSignature } from './thought-signature.ts';

/**
 * Translates the messages of a chat request into internal messages, which have the same indexes.
 * @throws LambentError `invalid_value` for an unsupported image, an empty assistant message, or tool calls and tool
 * messages that don't match
 */
export function translateChatMessages(messages: readonly ChatMessage[], registry: ModelRegistry): Message[] {
  const translated = messages.map((message, index) =>
    markMessage(translate(message, index, registry), toMark(message)),
  );
  checkToolAnswers(translated);
  return translated;
}

function translate(message: ChatMessage, index: number, registry: ModelRegistry): Message {
  switch (message.role) {
    case 'system':
    case 'developer':
      return { role: 'system', content: toTextParts(message.content), ...toName(message.name) };
    case 'user':
      return {
        role: 'user',
        content: toUserParts(message.content, `messages[${index}].content`, registry),
        ...toName(message.name),
      };
    case 'assistant':
      return { role: 'assistant', content: toAssistantParts(message, index), ...toName(message.name) };
    case 'tool':
      return { role: 'tool', toolCallId: message.tool_call_id, content: toTextParts(message.content) };
  }
}

function toName(name: string | null | undefined): { name?: string } {
  return name === null || name === undefined ? {} : { name };
}

function toTextParts(content: string | readonly ({ text: string } & Parameters<typeof toMark>[0])[]): TextPart[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  return content.map((part) => ({ type: 'text', text: part.text, ...toMark(part) }));
}

type UserContent = Extract<ChatMessage, { role: 'user' }>['content'];

function toUserParts(content: UserContent, param: string, registry: ModelRegistry): ContentPart[] {
  if (typeof content === 'string') return toTextParts(content);
  return content.map((part, index) => {
    const mark = toMark(part);
    if (part.type === 'text') return { type: 'text', text: part.text, ...mark };
    if (part.type === 'file') {
      return {
        ...parseFileData(part.file.file_data, part.file.filename, `${param}[${index}].file.file_data`),
        ...mark,
      };
    }
    const { url, detail } = part.image_url;
    return { ...parseImageUrl(url, detail, `${param}[${index}].image_url.url`, registry), ...mark };
  });
}

type AssistantFields = Extract<ChatMessage, { role: 'assistant' }>;

function toAssistantParts(message: AssistantFields, index: number): AssistantMessage['content'] {
  const { content, refusal, tool_calls } = message;
  const parts: AssistantMessage['content'][number][] = [];
  const reasoning = findReasoning(message);
  const details = listReasoningDetails(message);
  if (reasoning !== '' || details.length > 0) {
    parts.push({ type: 'reasoning', text: reasoning, ...(details.length > 0 && { details }) });
  }
  if (typeof content === 'string') {
    if (content !== '') parts.push({ type: 'text', text: content });
  } else {
    for (const part of content ?? []) {
      parts.push(
        part.type === 'text'
          ? { type: 'text', text: part.text, ...toMark(part) }
          : { type: 'refusal', text: part.refusal },
      );
    }
  }
  if (refusal) parts.push({ type: 'refusal', text: refusal });
  for (const call of tool_calls ?? []) parts.push(toCallPart(call));
  if (parts.length > 0) return parts;
  if (content !== null && content !== undefined) return [{ type: 'text', text: '' }];
  const param = `messages[${index}].content`;
  throw invalidValueError(
    param,
    `Invalid value for '${param}': expected a string, but got null instead. An assistant message must have content, a refusal or tool calls.`,
  );
}

/** Returns the text of the reasoning, by the first of its names that has one; '' without reasoning. */
function findReasoning(message: AssistantFields): string {
  const { reasoning_content, reasoning } = message;
  if (reasoning_content) return reasoning_content;
  if (typeof reasoning === 'string' && reasoning !== '') return reasoning;
  const texts = listReasoningDetails(message).map(({ text, summary }) => text ?? summary);
  return texts.filter((text) => typeof text === 'string').join('');
}

/** Returns the records of the reasoning that an upstream such as OpenRouter wants back. */
function listReasoningDetails({ reasoning_details: details }: AssistantFields): ReasoningDetail[] {
  return Array.isArray(details) ? details.filter(isObject) : [];
}

type ToolCall = NonNullable<AssistantFields['tool_calls']>[number];

function toCallPart(call: ToolCall): ToolCallPart {
  if (call.type === 'function') {
    const { id, function: called } = call;
    return { type: 'toolCall', id, name: called.name, arguments: called.arguments, ...readSignature(call) };
  }
  const { name, input } = call.custom;
  return {
    type: 'toolCall',
    id: call.id,
    name,
    arguments: encodeCustomInput(input),
    isCustom: true,
    ...readSignature(call),
  };
}

/** Checks that each tool call is answered by one tool message, directly after the assistant message with the call. */
function checkToolAnswers(messages: readonly Message[]): void {
  let unansweredIds = new Set<string>();
  let assistantIndex = -1;
  const rejectUnanswered = (): void => {
    if (unansweredIds.size === 0) return;
    throw invalidValueError(
      `messages[${assistantIndex}]`,
      `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ${[...unansweredIds].slice(0, 10).join(', ').slice(0, 500).toWellFormed()}`,
    );
  };
  for (const [index, message] of messages.entries()) {
    if (message.role === 'tool') {
      if (!unansweredIds.delete(message.toolCallId)) throw unexpectedToolMessageError(index);
      continue;
    }
    rejectUnanswered();
    if (message.role !== 'assistant') continue;
    assistantIndex = index;
    unansweredIds = collectCallIds(message, index);
  }
  rejectUnanswered();
}

function collectCallIds({ content }: AssistantMessage, index: number): Set<string> {
  const ids = new Set<string>();
  const calls = content.filter((part): part is ToolCallPart => part.type === 'toolCall');
  for (const [position, { id }] of calls.entries()) {
    if (ids.has(id)) {
      const param = `messages[${index}].tool_calls[${position}].id`;
      throw invalidValueError(param, `Invalid '${param}': another tool call in this message has the same id.`);
    }
    ids.add(id);
  }
  return ids;
}

function unexpectedToolMessageError(index: number) {
  return invalidValueError(
    `messages[${index}].role`,
    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
  );
}
