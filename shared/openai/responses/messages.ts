import type { AssistantMessage, ImagePart, Message, ReasoningPart, TextPart } from '../../inference/generation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import { decodeReasoning } from '../continuation.ts';
import { parseImageUrl } from '../images.ts';
import { invalidValueError, missingParameterError } from '../validation.ts';
import type { ResolvedItem } from './items.ts';

type UserPart = TextPart | ImagePart;
type AssistantPart = AssistantMessage['content'][number];
type ItemOf<T extends ResolvedItem['type']> = Extract<ResolvedItem, { type: T }>;
type MessageItem = Exclude<ResolvedItem, ItemOf<'function_call' | 'function_call_output' | 'reasoning'>>;
type AssistantItem = Extract<MessageItem, { role: 'assistant' }>;

/**
 * Translates the input of a response. Items that one turn of a model is made of (its reasoning, its text, its function
 * calls) become one message, followed by the outputs of its calls, wherever in the rest of the input those stand.
 * @param before stored items that come in front of the caller's own
 * @throws LambentError `invalid_value` for an image that can't be taken, or calls and outputs that don't match
 */
export function translateInputItems(
  instructions: string | null | undefined,
  own: string | readonly ResolvedItem[],
  registry: ModelRegistry,
  before: readonly ResolvedItem[] = [],
): Message[] {
  const messages: Message[] = instructions == null ? [] : [{ role: 'system', content: [textPart(instructions)] }];
  const input = [...before, ...(typeof own === 'string' ? [{ role: 'user' as const, content: own }] : own)];
  /** Where an item stands in the caller's own request, which knows nothing of the stored ones. */
  const place = (index: number): string => (index < before.length ? 'input' : `input[${index - before.length}]`);

  const outputs = outputsByCall(input, place, registry);
  let turn: AssistantPart[] = [];
  const endTurn = (): void => {
    if (turn.length === 0) return;
    messages.push({ role: 'assistant', content: turn });
    for (const part of turn) {
      if (part.type !== 'toolCall') continue;
      const output = outputs.get(part.id)?.shift();
      if (output === undefined)
        throw invalidValueError('input', `No tool output found for function call ${quoted(part.id)}.`);
      messages.push({ role: 'tool', toolCallId: part.id, content: output.content });
    }
    turn = [];
  };

  for (const [index, item] of input.entries()) {
    switch (item.type) {
      case 'function_call':
        if (turn.some((part) => part.type === 'toolCall' && part.id === item.call_id)) {
          const param = `${place(index)}.call_id`;
          throw invalidValueError(param, `Invalid '${param}': another function call of this turn has the same id.`);
        }
        turn.push({ type: 'toolCall', id: item.call_id, name: item.name, arguments: item.arguments });
        break;
      case 'function_call_output':
        endTurn();
        break;
      case 'reasoning':
        turn.push(...reasoningParts(item));
        break;
      default:
        if (item.role === 'assistant') {
          turn.push(...assistantParts(item.content));
        } else {
          endTurn();
          messages.push(messageOf(item, `${place(index)}.content`, registry));
        }
    }
  }
  endTurn();
  refuseLeftOver(outputs, place);
  return messages;
}

/** The output of one function call, and where it stood. */
interface Output {
  readonly index: number;
  readonly content: UserPart[];
}

type Place = (index: number) => string;

function outputsByCall(input: readonly ResolvedItem[], place: Place, registry: ModelRegistry): Map<string, Output[]> {
  const outputs = new Map<string, Output[]>();
  for (const [index, item] of input.entries()) {
    if (item.type !== 'function_call_output') continue;
    const output = { index, content: userParts(item.output, `${place(index)}.output`, registry) };
    const others = outputs.get(item.call_id);
    if (others === undefined) outputs.set(item.call_id, [output]);
    else others.push(output);
  }
  return outputs;
}

function refuseLeftOver(outputs: ReadonlyMap<string, readonly Output[]>, place: Place): void {
  for (const [callId, [output]] of outputs) {
    if (output === undefined) continue;
    throw invalidValueError(
      `${place(output.index)}.call_id`,
      `No tool call found for function call output with call_id ${quoted(callId)}.`,
    );
  }
}

function quoted(id: string): string {
  return id.slice(0, 100).toWellFormed();
}

function messageOf(item: Exclude<MessageItem, AssistantItem>, param: string, registry: ModelRegistry): Message {
  if (item.role === 'user') return { role: 'user', content: userParts(item.content, param, registry) };
  if (typeof item.content === 'string') return { role: 'system', content: [textPart(item.content)] };
  return { role: 'system', content: item.content.map(({ text }) => textPart(text)) };
}

function textPart(text: string): TextPart {
  return { type: 'text', text };
}

function userParts(
  content: ItemOf<'function_call_output'>['output'],
  param: string,
  registry: ModelRegistry,
): UserPart[] {
  if (typeof content === 'string') return [textPart(content)];
  return content.map((part, index) => {
    if (part.type === 'input_text') return textPart(part.text);
    const urlParam = `${param}[${index}].image_url`;
    if (part.image_url == null) throw missingParameterError(urlParam);
    return parseImageUrl(part.image_url, part.detail, urlParam, registry);
  });
}

function assistantParts(content: AssistantItem['content']): AssistantPart[] {
  if (typeof content === 'string') return [textPart(content)];
  return content.map((part) =>
    part.type === 'output_text' ? textPart(part.text) : { type: 'refusal', text: part.refusal },
  );
}

/** What can be told of earlier reasoning: our own record of it, or else its text; nothing of what others encrypted. */
function reasoningParts({ summary, content, encrypted_content }: ItemOf<'reasoning'>): ReasoningPart[] {
  const own = encrypted_content == null ? undefined : decodeReasoning(encrypted_content);
  if (own !== undefined) return [own];
  const texts = summary != null && summary.length > 0 ? summary : (content ?? []);
  const text = texts.map((part) => part.text).join('\n\n');
  return text === '' ? [] : [{ type: 'reasoning', text }];
}
