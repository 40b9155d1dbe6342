import { encodeCustomInput } from '../../inference/custom-input.ts';
import type { AssistantMessage, Message, ReasoningPart, ToolCallPart } from '../../inference/generation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import { decodeReasoning } from '../../wire/continuation.ts';
import { toMark } from '../cache-marks.ts';
import { invalidValueError } from '../validation.ts';
import { type CallItem, CallOutputs, type FormatPath, isCall, isCallOutput } from './call-outputs.ts';
import { isHostedItem, type ResolvedItem } from './items.ts';
import { toContentParts, toTextPart } from './parts.ts';
import { joinToolName, TOOL_SEARCH } from './tool-names.ts';

type AssistantPart = AssistantMessage['content'][number];
type MessageItem = Extract<ResolvedItem, { role: unknown; content: unknown }>;
type AssistantItem = Extract<MessageItem, { role: 'assistant' }>;

/**
 * Translates the input of a response into messages. Consecutive reasoning, assistant and call items become one assistant
 * message. The outputs of its calls follow it, wherever they are in the input. A call or output of an earlier turn that
 * the input repeats is taken once.
 * @param callerInput the input of the request
 * @param storedItems the items that precede it
 * @throws LambentError `invalid_value` for an unsupported image or file, or for calls and outputs that don't match
 */
export function translateInputItems(
  instructions: string | null | undefined,
  callerInput: string | readonly ResolvedItem[],
  registry: ModelRegistry,
  storedItems: readonly ResolvedItem[] = [],
): Message[] {
  const messages: Message[] = instructions == null ? [] : [{ role: 'system', content: [toTextPart(instructions)] }];
  const callerItems = typeof callerInput === 'string' ? [{ role: 'user' as const, content: callerInput }] : callerInput;
  const input = [...storedItems, ...callerItems];
  /** Returns an item's path in the request. Stored items aren't in the request, so their path is `input`. */
  const formatPath: FormatPath = (index) =>
    index < storedItems.length ? 'input' : `input[${index - storedItems.length}]`;

  const outputs = new CallOutputs(input, formatPath, registry);
  const storedCalls = new Set(storedItems.filter(isCall).map(identifyCall));
  let assistantParts: AssistantPart[] = [];
  const endAssistantMessage = (): void => {
    if (assistantParts.length === 0) return;
    messages.push({ role: 'assistant', content: assistantParts });
    for (const part of assistantParts) {
      if (part.type === 'toolCall') {
        messages.push({ role: 'tool', toolCallId: part.id, content: outputs.take(part.id) });
      }
    }
    assistantParts = [];
  };

  for (const [index, item] of input.entries()) {
    if (isCall(item)) {
      if (index >= storedItems.length && storedCalls.has(identifyCall(item))) continue;
      const part = toCallPart(item);
      if (part !== undefined && !isRepeated(part, assistantParts, formatPath(index))) assistantParts.push(part);
    } else if (isCallOutput(item)) {
      endAssistantMessage();
    } else if (item.type === 'reasoning') {
      assistantParts.push(...toReasoningParts(item));
    } else if (item.type === 'compaction') {
      const path = formatPath(index);
      throw invalidValueError(path, `Invalid '${path}': compaction items are not supported here.`);
    } else if (item.type !== 'additional_tools' && !isHostedItem(item)) {
      if (item.role === 'assistant') {
        assistantParts.push(...toAssistantParts(item.content));
      } else {
        endAssistantMessage();
        messages.push(toMessage(item, `${formatPath(index)}.content`, registry));
      }
    }
  }
  endAssistantMessage();
  outputs.rejectUnmatched();
  if (messages.length === 0) throw invalidValueError('input', "Invalid 'input': expected at least one message.");
  return messages;
}

/** Returns the messages without the reasoning of earlier turns: that before the last user message. */
export function keepCurrentReasoning(messages: readonly Message[]): Message[] {
  const current = messages.findLastIndex(({ role }) => role === 'user');
  return messages.flatMap((message, index): Message[] => {
    if (index > current || message.role !== 'assistant') return [message];
    const content = message.content.filter(({ type }) => type !== 'reasoning');
    return content.length === 0 ? [] : [{ ...message, content }];
  });
}

/** Returns a text that is equal for two items of the same call. */
function identifyCall(item: CallItem): string {
  const part = toCallPart(item);
  return JSON.stringify([part?.id, part?.name, part?.arguments]);
}

/** Returns the call's part; undefined for a search of another service, which had no id and needs no output. */
function toCallPart(item: CallItem): ToolCallPart | undefined {
  if (item.call_id == null) return undefined;
  const call = { type: 'toolCall', id: item.call_id } as const;
  switch (item.type) {
    case 'function_call':
      return { ...call, name: joinToolName(item.namespace, item.name), arguments: item.arguments };
    case 'custom_tool_call':
      return {
        ...call,
        name: joinToolName(item.namespace, item.name),
        arguments: encodeCustomInput(item.input),
        isCustom: true,
      };
    case 'tool_search_call':
      return { ...call, name: TOOL_SEARCH, arguments: encodeArguments(item.arguments) };
  }
}

/** Returns the arguments of a search as JSON. Some clients send them as text. */
function encodeArguments(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? {});
}

/**
 * Returns whether the turn has the call already.
 * @throws LambentError `invalid_value` if it has another call with the same id
 */
function isRepeated(part: ToolCallPart, turn: readonly AssistantPart[], path: string): boolean {
  const same = turn.find((each): each is ToolCallPart => each.type === 'toolCall' && each.id === part.id);
  if (same === undefined) return false;
  if (same.name === part.name && same.arguments === part.arguments) return true;
  const param = `${path}.call_id`;
  throw invalidValueError(param, `Invalid '${param}': another function call in this turn has the same id.`);
}

function toMessage(item: Exclude<MessageItem, AssistantItem>, param: string, registry: ModelRegistry): Message {
  if (item.role === 'user') return { role: 'user', content: toContentParts(item.content, param, registry) };
  if (typeof item.content === 'string') return { role: 'system', content: [toTextPart(item.content)] };
  return { role: 'system', content: item.content.map((part) => ({ ...toTextPart(part.text), ...toMark(part) })) };
}

function toAssistantParts(content: AssistantItem['content']): AssistantPart[] {
  if (typeof content === 'string') return [toTextPart(content)];
  return content.flatMap((part): AssistantPart[] => {
    if (part.type === 'other') return [];
    return [part.type === 'output_text' ? toTextPart(part.text) : { type: 'refusal', text: part.refusal }];
  });
}

/**
 * Translates earlier reasoning: the encrypted content if Lambent encoded it, or else the plain text. Another service's
 * encrypted content is ignored.
 */
function toReasoningParts({
  summary,
  content,
  encrypted_content,
}: Extract<ResolvedItem, { type: 'reasoning' }>): ReasoningPart[] {
  const decoded = encrypted_content == null ? undefined : decodeReasoning(encrypted_content);
  if (decoded !== undefined) return [decoded];
  const texts = summary != null && summary.length > 0 ? summary : (content ?? []);
  const text = texts.map((part) => part.text).join('\n\n');
  return text === '' ? [] : [{ type: 'reasoning', text }];
}
