import type { ContentBlock, Message } from '@anthropic-ai/sdk/resources/messages/messages';
import { isObject } from '../core/objects.ts';
import type { GenerationEvent } from '../inference/generation.ts';
import { missingFinishError } from '../wire/sse.ts';
import { type AnswerBlock, BlockQueue } from './block-queue.ts';
import type { AppliedEdit } from './context-edits.ts';
import { encodeStop, encodeUsage } from './usage.ts';

export interface EncodeMessageOptions {
  /** `msg_…`. */
  readonly id: string;
  /** The model's name as the caller wrote it. */
  readonly model: string;
  /** False if the caller wants thinking blocks without their text. */
  readonly isThinkingShown: boolean;
  readonly appliedEdits: readonly AppliedEdit[] | undefined;
  /** For errors within a stream. */
  readonly requestId: string;
}

/** Anthropic's message object, with the result of `context_management` if the request has it. */
export type MessageObject = Message & { context_management?: { applied_edits: readonly AppliedEdit[] } };

/**
 * Reads all events and encodes them as one message. The answer of a target that speaks this protocol is returned as it is,
 * but for its id and the model's name.
 * @throws LambentError `upstream_cut` if the events end without `finish`, and every error of `events`
 */
export async function encodeMessage(
  events: AsyncIterable<GenerationEvent>,
  options: EncodeMessageOptions,
): Promise<MessageObject | Readonly<Record<string, unknown>>> {
  const content: ContentBlock[] = [];
  const queue = new BlockQueue(
    { beginBlock: () => {}, addText: () => {}, endBlock: (block) => content.push(encodeBlock(block)) },
    options.isThinkingShown,
  );
  let native: Readonly<Record<string, unknown>> | undefined;
  for await (const event of events) {
    if (event.type === 'native') native = event.event;
    else if (event.type !== 'finish') queue.add(event);
    else if (native !== undefined) return { ...native, ...describeMessage(options) };
    else {
      queue.finish();
      return {
        ...emptyMessage(options),
        ...describeMessage(options),
        content,
        ...encodeStop(event, queue.isRefused),
        usage: encodeUsage(event.usage, event.serviceTier),
      };
    }
  }
  throw missingFinishError();
}

/** Returns the fields of a message that the service sets itself. */
export function describeMessage({ id, model, appliedEdits }: EncodeMessageOptions) {
  return { id, model, ...(appliedEdits !== undefined && { context_management: { applied_edits: appliedEdits } }) };
}

/** Returns a message without content: the first event of a stream has it. */
export function emptyMessage({ id, model }: EncodeMessageOptions): Message {
  return {
    id,
    type: 'message',
    role: 'assistant',
    model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    stop_details: null,
    container: null,
    diagnostics: null,
    usage: encodeUsage(undefined),
  };
}

function encodeBlock(block: AnswerBlock): ContentBlock {
  switch (block.type) {
    case 'text':
      return { type: 'text', text: block.text.toWellFormed(), citations: null };
    case 'thinking':
      return {
        type: 'thinking',
        thinking: block.isShown ? block.text.toWellFormed() : '',
        signature: block.signature,
      };
    case 'redacted_thinking':
      return { type: 'redacted_thinking', data: block.data };
    case 'tool_use':
      return {
        type: 'tool_use',
        id: block.id,
        name: block.name,
        input: parseInput(block.text),
        caller: { type: 'direct' },
      };
  }
}

/**
 * Parses a tool's input. Text that is not a JSON object is wrapped, as Anthropic advises its callers to do.
 * @see https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming
 */
function parseInput(text: string): Readonly<Record<string, unknown>> {
  if (text.trim() === '') return {};
  try {
    const input: unknown = JSON.parse(text, keepInteger);
    if (isObject(input)) return input;
  } catch {
    // Wrapped below.
  }
  return { INVALID_JSON: text.toWellFormed() };
}

/** Keeps an integer that JavaScript would round as it was written. Tool inputs often contain long ids. */
function keepInteger(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const source = context?.source ?? '';
  const isRounded = typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(source);
  return isRounded ? createRawJson(source) : value;
}

/** Returns a value that `JSON.stringify` writes as this text. TypeScript's library doesn't declare the function. */
const createRawJson: (text: string) => unknown = Reflect.get(JSON, 'rawJSON');
