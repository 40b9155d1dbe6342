import type {
  ContentBlock,
  Message as ConverseMessage,
  DocumentBlock,
  ImageBlock,
  SystemContentBlock,
  ToolResultBlock,
  ToolUseBlock,
} from '@aws-sdk/client-bedrock-runtime';
import type {
  AssistantMessage,
  ContentPart,
  GenerationRequest,
  Message,
  PdfDocument,
  ToolCallPart,
  ToolMessage,
  UserMessage,
} from '../../generation.ts';
import { appendPoint, type CachePlan, dropRefusedPoints } from './cache-points.ts';
import { assignCallIds } from './call-ids.ts';
import { createDocumentNamer, formatTextDocument, toDocumentBlock } from './documents.ts';
import type { BedrockFamily } from './family.ts';
import { toImageBlock } from './images.ts';
import { unpackReasoning } from './reasoning.ts';
import { endWithUser, startWithUser, Turns } from './turns.ts';
import { unsupportedValueError } from './value-errors.ts';

export interface MessageOptions {
  readonly family: BedrockFamily;
  /** True to send earlier reasoning back to the model. Claude refuses it in a call without thinking. */
  readonly sendsReasoning: boolean;
  /** True to write earlier tool calls and results as text, for a call that declares no tools. */
  readonly toolsAsText: boolean;
  readonly cache: CachePlan;
}

/** Returns the system prompt: all system and developer messages, in order. Converse accepts them only at the front. */
export function toSystemBlocks(messages: readonly Message[], { toMarkedPoint }: CachePlan): SystemContentBlock[] {
  const parts = messages.flatMap((message) => (message.role === 'system' ? message.content : []));
  return parts.flatMap((part) => appendPoint<SystemContentBlock>(toTextBlocks([part]), toMarkedPoint(part.cache)));
}

/**
 * Converts the conversation to Converse's turns. As Converse requires, user and assistant alternate, tool results are
 * part of a user turn, and results of parallel calls share one turn.
 * @throws UpstreamError `invalid_value`, naming the message, for content that Converse doesn't support
 */
export function toConverseMessages(request: GenerationRequest, options: MessageOptions): ConverseMessage[] {
  const names = mapToolNames(request.messages);
  const { family } = options;
  const ids = assignCallIds(request.messages, { short: family.toolResults.shortIds });
  const turns = new Turns(family.toolResults.beside);
  const nameDocument = createDocumentNamer();
  /** Images and documents that can't be part of the results that they belong to. */
  let separate: ContentBlock[] = [];
  request.messages.forEach((message, index) => {
    if (message.role === 'system') return;
    const param = `${request.parameterNames['messages'] ?? 'messages'}[${index}]`;
    const blockOptions = { ...options, nameDocument, ids: ids[index] ?? [] };
    const content = toContentBlocks(message, param, names, blockOptions);
    turns.add(message.role === 'assistant' ? 'assistant' : 'user', content.blocks);
    separate.push(...content.separate);
    if (request.messages[index + 1]?.role === 'tool') return;
    turns.add('user', separate);
    separate = [];
  });
  const list = turns.finish((content) => dropRefusedPoints(content, options.cache));
  checkImageCount(list, request);
  // Claude doesn't go on with a message while it thinks.
  const goesOn = family.prefill && !(family.name === 'claude' && options.sendsReasoning);
  return endWithUser(startWithUser(list, request), goesOn);
}

/** The most images in a turn. */
const MAX_IMAGES = 20;

function checkImageCount(turns: readonly ConverseMessage[], request: GenerationRequest): void {
  for (const { content = [] } of turns) {
    const blocks = content.flatMap((block) => [block, ...(block.toolResult?.content ?? [])]);
    if (blocks.filter(({ image }) => image).length > MAX_IMAGES)
      throw unsupportedValueError(request, 'messages', `this model accepts ${MAX_IMAGES} images in a turn`);
  }
}

/** Maps each tool call's id to the tool's name, for results that are written as text. */
function mapToolNames(messages: readonly Message[]): ReadonlyMap<string, string> {
  const calls = messages.flatMap((message) => (message.role === 'assistant' ? message.content : []));
  return new Map(calls.flatMap((part) => (part.type === 'toolCall' ? [[part.id, part.name]] : [])));
}

interface BlockOptions extends MessageOptions {
  /** Returns a document's name, which must be unique within a request. */
  readonly nameDocument: (part: PdfDocument) => string;
  /** The ids of the message's calls, or of the call that it answers. */
  readonly ids: readonly string[];
}

interface Content {
  readonly blocks: ContentBlock[];
  /** What follows all results of the turn. */
  readonly separate: ContentBlock[];
}

function toContentBlocks(
  message: Exclude<Message, { role: 'system' }>,
  param: string,
  names: ReadonlyMap<string, string>,
  options: BlockOptions,
): Content {
  switch (message.role) {
    case 'user':
      return { blocks: toUserBlocks(message, options), separate: [] };
    case 'assistant':
      return { blocks: toAssistantBlocks(message, param, options), separate: [] };
    case 'tool': {
      const { block, separate } = toResultBlock(message, options);
      const blocks = options.toolsAsText ? toResultText(message, names, options) : [{ toolResult: block }];
      const point = options.cache.toMarkedPoint(findResultMark(message));
      return { blocks: appendPoint<ContentBlock>(blocks, point), separate: options.toolsAsText ? [] : separate };
    }
  }
}

function toUserBlocks(message: UserMessage, options: BlockOptions): ContentBlock[] {
  return message.content.flatMap((part) =>
    appendPoint<ContentBlock>(toUserBlock(part, options), options.cache.toMarkedPoint(part.cache)),
  );
}

type UserBlock = { text: string } | { image: ImageBlock } | { document: DocumentBlock };

/** Converts a part of a user message or of a tool result: both have the same kinds of blocks. */
function toUserBlock(part: ContentPart, { nameDocument }: BlockOptions): UserBlock[] {
  switch (part.type) {
    case 'text':
      return toTextBlocks([part]);
    case 'image':
      return [{ image: toImageBlock(part) }];
    case 'document':
      return part.mediaType === 'text/plain'
        ? toTextBlocks([{ text: formatTextDocument(part) }])
        : [{ document: toDocumentBlock(part, nameDocument(part)) }];
  }
}

/** Returns the mark of a tool result. Converse has no cache points within results, so a part's mark counts for all. */
function findResultMark({ cache, content }: ToolMessage) {
  return cache ?? content.findLast((part) => part.cache !== undefined)?.cache;
}

function toAssistantBlocks(message: AssistantMessage, param: string, options: BlockOptions): ContentBlock[] {
  const calls = message.content.filter((part) => part.type === 'toolCall');
  const idOf = new Map<unknown, string | undefined>(calls.map((call, index) => [call, options.ids[index]]));
  return message.content.flatMap((part) =>
    appendPoint<ContentBlock>(
      toAssistantBlock(part, idOf.get(part) ?? '', param, options),
      options.cache.toMarkedPoint('cache' in part ? part.cache : undefined),
    ),
  );
}

function toAssistantBlock(
  part: AssistantMessage['content'][number],
  callId: string,
  param: string,
  options: MessageOptions,
): ContentBlock[] {
  switch (part.type) {
    case 'text':
    case 'refusal':
      return toTextBlocks([part]);
    case 'reasoning': {
      const block = options.sendsReasoning ? unpackReasoning(part, options.family.name, param) : undefined;
      return block ? [{ reasoningContent: block }] : [];
    }
    case 'toolCall':
      return options.toolsAsText
        ? [{ text: `[Called the tool ${part.name} with ${part.arguments || '{}'}]` }]
        : [{ toolUse: toToolUseBlock(part, callId) }];
  }
}

/** Converts text parts, without blank ones: Converse refuses a text block of only white space. */
function toTextBlocks(parts: readonly { readonly text: string }[]): { text: string }[] {
  return parts.filter(({ text }) => text.trim() !== '').map(({ text }) => ({ text }));
}

function toToolUseBlock(call: ToolCallPart, toolUseId: string): ToolUseBlock {
  return { toolUseId, name: toCalledName(call.name), input: parseArguments(call) };
}

/** Replaces what Converse refuses in the name of an earlier call: models invent names of tools that don't exist. */
export function toCalledName(name: string): string {
  return name.replace(/[^a-zA-Z0-9_-]/g, '_').slice(0, 64) || '_';
}

/**
 * Parses the arguments of a tool call. Converse accepts only a JSON object there. Other text, as of a call that the output
 * limit cut off, is put into one.
 */
function parseArguments(call: ToolCallPart): Exclude<ToolUseBlock['input'], undefined> {
  if (call.arguments.trim() === '') return {};
  try {
    const input: unknown = JSON.parse(call.arguments, reviveInteger);
    if (isJsonObject(input)) return input;
  } catch {
    // Below, as for other values that are no object.
  }
  return { invalid_arguments: call.arguments };
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

/** Converts the result of a tool, and returns apart from it what the model accepts outside results only. */
function toResultBlock(
  message: ToolMessage,
  options: BlockOptions,
): { readonly block: ToolResultBlock; readonly separate: ContentBlock[] } {
  const { images, documents, status } = options.family.toolResults;
  const blocks = message.content.flatMap((part) => toUserBlock(part, options));
  const isSeparate = (block: UserBlock): boolean =>
    ('image' in block && !images) || ('document' in block && !documents);
  const separate = blocks.filter(isSeparate);
  const content = blocks.filter((block) => !isSeparate(block));
  // Tools may return nothing, but some models refuse an empty result.
  if (content.length === 0) content.push({ text: separate.length > 0 ? '(see below)' : '(no output)' });
  const block = {
    toolUseId: options.ids[0] ?? '',
    content,
    ...(message.isError === true && status && { status: 'error' as const }),
  };
  return { block, separate };
}

function toResultText(message: ToolMessage, names: ReadonlyMap<string, string>, options: BlockOptions): ContentBlock[] {
  const tool = names.get(message.toolCallId) ?? message.toolCallId;
  const blocks: ContentBlock[] = message.content.flatMap((part) => toUserBlock(part, options));
  const output = blocks.flatMap(({ text }) => text ?? []).join('\n');
  return [
    {
      text: `[The tool ${tool} ${message.isError === true ? 'failed' : 'returned'}: ${output === '' ? '(no output)' : output}]`,
    },
    ...blocks.filter(({ text }) => text === undefined),
  ];
}

const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/** True if Converse accepts `text` as the name of a tool. */
export function isToolName(text: string): boolean {
  return TOOL_NAME.test(text);
}
