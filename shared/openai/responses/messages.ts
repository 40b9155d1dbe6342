import type { AssistantMessage, ImagePart, Message, ReasoningPart, TextPart } from '../../inference/generation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import { decodeReasoning } from '../../wire/continuation.ts';
import { parseImageUrl } from '../images.ts';
import { invalidValueError, missingParameterError } from '../validation.ts';
import type { ResolvedItem } from './items.ts';

type UserPart = TextPart | ImagePart;
type AssistantPart = AssistantMessage['content'][number];
type ItemOf<T extends ResolvedItem['type']> = Extract<ResolvedItem, { type: T }>;
type MessageItem = Exclude<ResolvedItem, ItemOf<'function_call' | 'function_call_output' | 'reasoning'>>;
type AssistantItem = Extract<MessageItem, { role: 'assistant' }>;

/**
 * Translates the input of a response into messages. Consecutive reasoning, assistant and function call items become one
 * assistant message. The outputs of its calls follow it, wherever they are in the input.
 * @param callerInput the input of the request
 * @param storedItems the items that precede it
 * @throws LambentError `invalid_value` for an unsupported image, or for calls and outputs that don't match
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

  const outputs = groupOutputsByCall(input, formatPath, registry);
  let assistantParts: AssistantPart[] = [];
  const endAssistantMessage = (): void => {
    if (assistantParts.length === 0) return;
    messages.push({ role: 'assistant', content: assistantParts });
    for (const part of assistantParts) {
      if (part.type !== 'toolCall') continue;
      const output = outputs.get(part.id)?.shift();
      if (output === undefined)
        throw invalidValueError('input', `No tool output found for function call ${abbreviate(part.id)}.`);
      messages.push({ role: 'tool', toolCallId: part.id, content: output.content });
    }
    assistantParts = [];
  };

  for (const [index, item] of input.entries()) {
    switch (item.type) {
      case 'function_call':
        if (assistantParts.some((part) => part.type === 'toolCall' && part.id === item.call_id)) {
          const param = `${formatPath(index)}.call_id`;
          throw invalidValueError(param, `Invalid '${param}': another function call in this turn has the same id.`);
        }
        assistantParts.push({ type: 'toolCall', id: item.call_id, name: item.name, arguments: item.arguments });
        break;
      case 'function_call_output':
        endAssistantMessage();
        break;
      case 'reasoning':
        assistantParts.push(...toReasoningParts(item));
        break;
      default:
        if (item.role === 'assistant') {
          assistantParts.push(...toAssistantParts(item.content));
        } else {
          endAssistantMessage();
          messages.push(toMessage(item, `${formatPath(index)}.content`, registry));
        }
    }
  }
  endAssistantMessage();
  rejectUnmatchedOutputs(outputs, formatPath);
  if (messages.length === 0) throw invalidValueError('input', "Invalid 'input': expected at least one message.");
  return messages;
}

/** The output of a function call and its index in the input. */
interface Output {
  readonly index: number;
  readonly content: UserPart[];
}

type FormatPath = (index: number) => string;

function groupOutputsByCall(
  input: readonly ResolvedItem[],
  formatPath: FormatPath,
  registry: ModelRegistry,
): Map<string, Output[]> {
  const outputs = new Map<string, Output[]>();
  for (const [index, item] of input.entries()) {
    if (item.type !== 'function_call_output') continue;
    const output = { index, content: toUserParts(item.output, `${formatPath(index)}.output`, registry) };
    const outputsOfCall = outputs.get(item.call_id);
    if (outputsOfCall === undefined) outputs.set(item.call_id, [output]);
    else outputsOfCall.push(output);
  }
  return outputs;
}

function rejectUnmatchedOutputs(outputs: ReadonlyMap<string, readonly Output[]>, formatPath: FormatPath): void {
  for (const [callId, [output]] of outputs) {
    if (output === undefined) continue;
    throw invalidValueError(
      `${formatPath(output.index)}.call_id`,
      `No tool call found for function call output with call_id ${abbreviate(callId)}.`,
    );
  }
}

function abbreviate(id: string): string {
  return id.slice(0, 100).toWellFormed();
}

function toMessage(item: Exclude<MessageItem, AssistantItem>, param: string, registry: ModelRegistry): Message {
  if (item.role === 'user') return { role: 'user', content: toUserParts(item.content, param, registry) };
  if (typeof item.content === 'string') return { role: 'system', content: [toTextPart(item.content)] };
  return { role: 'system', content: item.content.map(({ text }) => toTextPart(text)) };
}

function toTextPart(text: string): TextPart {
  return { type: 'text', text };
}

function toUserParts(
  content: ItemOf<'function_call_output'>['output'],
  param: string,
  registry: ModelRegistry,
): UserPart[] {
  if (typeof content === 'string') return [toTextPart(content)];
  return content.map((part, index) => {
    if (part.type === 'input_text') return toTextPart(part.text);
    const urlParam = `${param}[${index}].image_url`;
    if (part.image_url == null) throw missingParameterError(urlParam);
    return parseImageUrl(part.image_url, part.detail, urlParam, registry);
  });
}

function toAssistantParts(content: AssistantItem['content']): AssistantPart[] {
  if (typeof content === 'string') return [toTextPart(content)];
  return content.map((part) =>
    part.type === 'output_text' ? toTextPart(part.text) : { type: 'refusal', text: part.refusal },
  );
}

/**
 * Translates earlier reasoning: the encrypted content if Lambent encoded it, or else the plain text. Another service's
 * encrypted content is ignored.
 */
function toReasoningParts({ summary, content, encrypted_content }: ItemOf<'reasoning'>): ReasoningPart[] {
  const decoded = encrypted_content == null ? undefined : decodeReasoning(encrypted_content);
  if (decoded !== undefined) return [decoded];
  const texts = summary != null && summary.length > 0 ? summary : (content ?? []);
  const text = texts.map((part) => part.text).join('\n\n');
  return text === '' ? [] : [{ type: 'reasoning', text }];
}
