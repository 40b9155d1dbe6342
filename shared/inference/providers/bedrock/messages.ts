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
  /** Whether earlier reasoning goes back to the model: not when it won't think, which Claude refuses. */
  readonly sendsReasoning: boolean;
  /** Writes earlier tool calls and results as text, for a call that must declare no tools. */
  readonly toolsAsText: boolean;
}

/**
 * The system prompt: every system and developer message, in order. Converse has one place for them, at the front.
 */
export function toSystemBlocks(messages: readonly Message[]): SystemContentBlock[] {
  return messages.flatMap((message) => (message.role === 'system' ? toTextBlocks(message.content) : []));
}

/**
 * Translates the conversation into Converse's turns: user and assistant alternate, tool results are part of the user's
 * turn, and those of parallel calls share one turn, as Converse demands.
 * @throws UpstreamError `invalid_value`, naming the message, for what Converse can't carry
 */
export function toConverseMessages(request: GenerationRequest, options: MessageOptions): ConverseMessage[] {
  const names = mapToolNames(request.messages);
  const turns: { role: 'user' | 'assistant'; content: ContentBlock[] }[] = [];
  request.messages.forEach((message, index) => {
    if (message.role === 'system') return;
    const param = `${request.parameterNames['messages'] ?? 'messages'}[${index}]`;
    const content = toContentBlocks(message, param, names, options);
    // Nothing but blank text, which Converse refuses, says nothing: the turn is as good without it.
    if (content.length === 0) return;
    const role = message.role === 'assistant' ? 'assistant' : 'user';
    const last = turns.at(-1);
    if (last?.role === role) last.content.push(...content);
    else turns.push({ role, content });
  });
  return startWithUser(turns, request);
}

/**
 * Converse wants the user to speak first, OpenAI doesn't mind who does: an assistant's greeting, or a system prompt
 * alone, gets an opening that adds nothing.
 * @throws UpstreamError `invalid_value` when the caller's last word is blank, because there is nothing to answer
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

/** The name of the tool behind each call id, for results that are written as text. */
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

/** Text without its blank parts: Converse refuses a text block that holds nothing but white space. */
function toTextBlocks(parts: readonly { readonly text: string }[]): { text: string }[] {
  return parts.filter(({ text }) => text.trim() !== '').map(({ text }) => ({ text }));
}

function toToolUseBlock(call: ToolCallPart, param: string): ToolUseBlock {
  if (!isToolName(call.name)) throw invalidValueError(param, `the tool name ${JSON.stringify(call.name)} is not one`);
  return { toolUseId: toToolUseId(call.id), name: call.name, input: parseArguments(call, param) };
}

/**
 * @throws UpstreamError `invalid_value`: Converse takes the arguments as JSON, while OpenAI's API hands on whatever
 *   text a model wrote
 */
function parseArguments(call: ToolCallPart, param: string): Exclude<ToolUseBlock['input'], undefined> {
  if (call.arguments.trim() === '') return {};
  try {
    const input: unknown = JSON.parse(call.arguments, reviveInteger);
    if (isJsonObject(input)) return input;
  } catch {
    // Falls through to the refusal below, which says more than the parser.
  }
  throw invalidValueError(param, `the arguments of the tool call ${call.id} are not a JSON object`);
}

/** Keeps an integer that JavaScript would round: long ids are common, and another id is another thing. */
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
  // A tool may well return nothing, but not every model takes an empty result.
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
  if ('url' in part) throw invalidValueError(part.param, 'this model takes images as data URLs only');
  return { format: IMAGE_FORMATS[part.mediaType], source: { bytes: decodeBase64(part.base64, part.param) } };
}

function decodeBase64(text: string, param: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  // Node skips what is not base64, so the only proof that nothing was skipped is the way back.
  const canonical = (base64: string): string => base64.replace(/=+$/, '');
  if (bytes.length === 0 || bytes.toString('base64').replace(/=+$/, '') !== canonical(text)) {
    throw invalidValueError(param, 'the image is not valid base64');
  }
  return Uint8Array.from(bytes);
}

const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/** Whether Converse takes `text` as the name of a tool, or as the id of a call. */
export function isToolName(text: string): boolean {
  return TOOL_NAME.test(text);
}

/**
 * The id under which Converse knows a call. One that it would refuse (other providers' ids hold dots or colons) is
 * replaced by its hash: call and result still match, and nobody else sees it.
 */
function toToolUseId(id: string): string {
  return isToolName(id) ? id : `call_${createHash('sha256').update(id).digest('hex').slice(0, 32)}`;
}
