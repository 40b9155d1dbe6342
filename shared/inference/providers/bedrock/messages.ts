import { createHash } from 'node:crypto';
import type {
  ContentBlock,
  Message as ConverseMessage,
  ImageBlock,
  SystemContentBlock,
  ToolResultContentBlock,
  ToolUseBlock,
} from '@aws-sdk/client-bedrock-runtime';
import type {
  AssistantMessage,
  GenerationRequest,
  ImagePart,
  Message,
  TextPart,
  ToolCallPart,
  ToolMessage,
  UserMessage,
} from '../../generation.ts';
import type { BedrockFamily } from './family.ts';
import { unpackReasoning } from './reasoning.ts';
import { invalidValueError } from './value-errors.ts';

export interface MessageOptions {
  readonly family: BedrockFamily['name'];
  /** True to send earlier reasoning back to the model. Claude refuses it in a call without thinking. */
  readonly sendsReasoning: boolean;
  /** True to write earlier tool calls and results as text, for a call that declares no tools. */
  readonly toolsAsText: boolean;
}

/** Returns the system prompt: all system and developer messages, in order. Converse accepts them only at the front. */
export function toSystemBlocks(messages: readonly Message[]): SystemContentBlock[] {
  return messages.flatMap((message) => (message.role === 'system' ? toTextBlocks(message.content) : []));
}

/**
 * Converts the conversation to Converse's turns. As Converse requires, user and assistant alternate, tool results are
 * part of a user turn, and results of parallel calls share one turn.
 * @throws UpstreamError `invalid_value`, naming the message, for content that Converse doesn't support
 */
export function toConverseMessages(request: GenerationRequest, options: MessageOptions): ConverseMessage[] {
  const names = mapToolNames(request.messages);
  const turns: { role: 'user' | 'assistant'; content: ContentBlock[] }[] = [];
  request.messages.forEach((message, index) => {
    if (message.role === 'system') return;
    const param = `${request.parameterNames['messages'] ?? 'messages'}[${index}]`;
    const content = toContentBlocks(message, param, names, options);
    // Converse refuses blank text. A message that holds nothing else is dropped.
    if (content.length === 0) return;
    const role = message.role === 'assistant' ? 'assistant' : 'user';
    const last = turns.at(-1);
    if (last?.role === role) last.content.push(...content);
    else turns.push({ role, content });
  });
  return startWithUser(turns, request);
}

/**
 * Adds a neutral user message at the front if the conversation doesn't begin with one (an assistant's greeting, a
 * system prompt alone): Converse requires it, OpenAI's API doesn't.
 * @throws UpstreamError `invalid_value` if the last user message is blank, because there is nothing to answer
 */
function startWithUser(turns: ConverseMessage[], request: GenerationRequest): ConverseMessage[] {
  const lastIndex = request.messages.length - 1;
  if (request.messages[lastIndex]?.role === 'user' && turns.at(-1)?.role !== 'user') {
    const param = `${request.parameterNames['messages'] ?? 'messages'}[${lastIndex}]`;
    throw invalidValueError(param, 'the message is blank, and this model needs text or an image to answer');
  }
  if (turns[0]?.role === 'user') return turns;
  return [{ role: 'user', content: [{ text: '(The conversation begins.)' }] }, ...turns];
}

/** Maps each tool call's id to the tool's name, for results that are written as text. */
function mapToolNames(messages: readonly Message[]): ReadonlyMap<string, string> {
  const calls = messages.flatMap((message) => (message.role === 'assistant' ? message.content : []));
  return new Map(calls.flatMap((part) => (part.type === 'toolCall' ? [[part.id, part.name]] : [])));
}

function toContentBlocks(
  message: Exclude<Message, { role: 'system' }>,
  param: string,
  names: ReadonlyMap<string, string>,
  options: MessageOptions,
): ContentBlock[] {
  switch (message.role) {
    case 'user':
      return toUserBlocks(message);
    case 'assistant':
      return toAssistantBlocks(message, param, options);
    case 'tool':
      return options.toolsAsText ? toResultText(message, names) : [{ toolResult: toResultBlock(message) }];
  }
}

function toUserBlocks(message: UserMessage): ContentBlock[] {
  return message.content.flatMap((part): ContentBlock[] =>
    part.type === 'image' ? [{ image: toImageBlock(part) }] : toTextBlocks([part]),
  );
}

function toAssistantBlocks(message: AssistantMessage, param: string, options: MessageOptions): ContentBlock[] {
  return message.content.flatMap((part) => toAssistantBlock(part, param, options));
}

function toAssistantBlock(
  part: AssistantMessage['content'][number],
  param: string,
  options: MessageOptions,
): ContentBlock[] {
  switch (part.type) {
    case 'text':
    case 'refusal':
      return toTextBlocks([part]);
    case 'reasoning': {
      const block = options.sendsReasoning ? unpackReasoning(part, options.family, param) : undefined;
      return block ? [{ reasoningContent: block }] : [];
    }
    case 'toolCall':
      return options.toolsAsText
        ? [{ text: `[Called the tool ${part.name} with ${part.arguments || '{}'}]` }]
        : [{ toolUse: toToolUseBlock(part, param) }];
  }
}

/** Converts text parts, without blank ones: Converse refuses a text block of only white space. */
function toTextBlocks(parts: readonly { readonly text: string }[]): { text: string }[] {
  return parts.filter(({ text }) => text.trim() !== '').map(({ text }) => ({ text }));
}

function toToolUseBlock(call: ToolCallPart, param: string): ToolUseBlock {
  if (!isToolName(call.name)) throw invalidValueError(param, `${JSON.stringify(call.name)} is not a valid tool name`);
  return { toolUseId: toToolUseId(call.id), name: call.name, input: parseArguments(call, param) };
}

/**
 * Parses the arguments of a tool call, which Converse expects as a JSON object.
 * @throws UpstreamError `invalid_value` for other text, which OpenAI's API allows
 */
function parseArguments(call: ToolCallPart, param: string): Exclude<ToolUseBlock['input'], undefined> {
  if (call.arguments.trim() === '') return {};
  try {
    const input: unknown = JSON.parse(call.arguments, reviveInteger);
    if (isJsonObject(input)) return input;
  } catch {
    // The error below is more helpful than the parser's.
  }
  throw invalidValueError(param, `the arguments of the tool call ${call.id} are not a JSON object`);
}

/** Returns an integer that JavaScript would round as a bigint. Tool arguments often contain long ids. */
function reviveInteger(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const source = context?.source ?? '';
  const rounded = typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(source);
  return rounded ? BigInt(source) : value;
}

function isJsonObject(value: unknown): value is Record<string, NonNullable<ToolUseBlock['input']>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function toResultBlock(message: ToolMessage): { toolUseId: string; content: ToolResultContentBlock[] } {
  const content = message.content.flatMap((part): ToolResultContentBlock[] =>
    part.type === 'image' ? [{ image: toImageBlock(part) }] : toTextBlocks([part]),
  );
  // Tools may return nothing, but some models refuse an empty result.
  return {
    toolUseId: toToolUseId(message.toolCallId),
    content: content.length > 0 ? content : [{ text: '(no output)' }],
  };
}

function toResultText(message: ToolMessage, names: ReadonlyMap<string, string>): ContentBlock[] {
  const tool = names.get(message.toolCallId) ?? message.toolCallId;
  const texts = message.content.filter((part): part is TextPart => part.type === 'text');
  const images = message.content.filter((part): part is ImagePart => part.type === 'image');
  const output = texts.map(({ text }) => text).join('\n');
  return [
    { text: `[The tool ${tool} returned: ${output.trim() === '' ? '(no output)' : output}]` },
    ...images.map((part) => ({ image: toImageBlock(part) })),
  ];
}

const IMAGE_FORMATS = { 'image/png': 'png', 'image/jpeg': 'jpeg', 'image/gif': 'gif', 'image/webp': 'webp' } as const;

function toImageBlock(part: ImagePart): ImageBlock {
  if ('url' in part) throw invalidValueError(part.param, 'this model accepts images as data URLs only');
  return { format: IMAGE_FORMATS[part.mediaType], source: { bytes: decodeBase64(part.base64, part.param) } };
}

function decodeBase64(text: string, param: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  // Node skips characters that are not base64. Encoding the bytes again shows whether it skipped any.
  if (bytes.length === 0 || removePadding(bytes.toString('base64')) !== removePadding(text)) {
    throw invalidValueError(param, 'the image is not valid base64');
  }
  return Uint8Array.from(bytes);
}

/** Removes the `=` at the end. The time of a regular expression would grow with the square of the `=` in a text. */
function removePadding(base64: string): string {
  let end = base64.length;
  while (base64[end - 1] === '=') end -= 1;
  return base64.slice(0, end);
}

const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/** True if Converse accepts `text` as the name of a tool or as the id of a call. */
export function isToolName(text: string): boolean {
  return TOOL_NAME.test(text);
}

/**
 * Returns the id of a call for Converse. An id that Converse would refuse (other providers' ids contain dots or colons)
 * is replaced by its hash, so that call and result still match. The hash never reaches the caller.
 */
function toToolUseId(id: string): string {
  return isToolName(id) ? id : `call_${createHash('sha256').update(id).digest('hex').slice(0, 32)}`;
}
