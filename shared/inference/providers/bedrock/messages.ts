import { createHash } from 'node:crypto';
import type {
  ContentBlock,
  Message as ConverseMessage,
  DocumentBlock,
  ImageBlock,
  SystemContentBlock,
  ToolResultBlock,
  ToolResultContentBlock,
  ToolUseBlock,
} from '@aws-sdk/client-bedrock-runtime';
import type {
  AssistantMessage,
  ContentPart,
  GenerationRequest,
  ImagePart,
  Message,
  PdfDocument,
  TextDocument,
  ToolCallPart,
  ToolMessage,
  UserMessage,
} from '../../generation.ts';
import { appendPoint, type CachePlan } from './cache-points.ts';
import type { BedrockFamily } from './family.ts';
import { unpackReasoning } from './reasoning.ts';
import { invalidValueError } from './value-errors.ts';

export interface MessageOptions {
  readonly family: BedrockFamily['name'];
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
  const turns: { role: 'user' | 'assistant'; content: ContentBlock[] }[] = [];
  const nameDocument = createDocumentNamer();
  request.messages.forEach((message, index) => {
    if (message.role === 'system') return;
    const param = `${request.parameterNames['messages'] ?? 'messages'}[${index}]`;
    const content = toContentBlocks(message, param, names, { ...options, nameDocument });
    // Converse refuses blank text. A message that holds nothing else is dropped.
    if (content.length === 0) return;
    const role = message.role === 'assistant' ? 'assistant' : 'user';
    const last = turns.at(-1);
    if (last?.role === role) last.content.push(...content);
    else turns.push({ role, content });
  });
  for (const { content } of turns) addDocumentIntro(content);
  return startWithUser(turns, request);
}

/** Adds a text to a turn that has documents and no text: Converse refuses a document without one. */
function addDocumentIntro(content: ContentBlock[]): void {
  if (!content.some(({ document }) => document) || content.some(({ text }) => text !== undefined)) return;
  content.push({ text: '(See the documents.)' });
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
  options: BlockOptions,
): ContentBlock[] {
  switch (message.role) {
    case 'user':
      return toUserBlocks(message, options);
    case 'assistant':
      return toAssistantBlocks(message, param, options);
    case 'tool': {
      const blocks = options.toolsAsText
        ? toResultText(message, names, options)
        : [{ toolResult: toResultBlock(message, options) }];
      return appendPoint<ContentBlock>(blocks, options.cache.toMarkedPoint(findResultMark(message)));
    }
  }
}

interface BlockOptions extends MessageOptions {
  /** Returns a document's name, which must be unique within a request. */
  readonly nameDocument: (part: PdfDocument) => string;
}

function toUserBlocks(message: UserMessage, options: BlockOptions): ContentBlock[] {
  return message.content.flatMap((part) =>
    appendPoint<ContentBlock>(toUserBlock(part, options), options.cache.toMarkedPoint(part.cache)),
  );
}

/** Converts a part of a user message or of a tool result: both have the same kinds of blocks. */
function toUserBlock(
  part: ContentPart,
  { nameDocument }: BlockOptions,
): ({ text: string } | { image: ImageBlock } | { document: DocumentBlock })[] {
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

function toAssistantBlocks(message: AssistantMessage, param: string, options: MessageOptions): ContentBlock[] {
  return message.content.flatMap((part) =>
    appendPoint<ContentBlock>(
      toAssistantBlock(part, param, options),
      options.cache.toMarkedPoint('cache' in part ? part.cache : undefined),
    ),
  );
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

function toResultBlock(message: ToolMessage, options: BlockOptions): ToolResultBlock {
  const content = message.content.flatMap((part): ToolResultContentBlock[] => toUserBlock(part, options));
  return {
    toolUseId: toToolUseId(message.toolCallId),
    // Tools may return nothing, but some models refuse an empty result.
    content: content.length > 0 ? content : [{ text: '(no output)' }],
    ...(message.isError === true && STATUS_FAMILIES.has(options.family) && { status: 'error' }),
  };
}

/**
 * The families that accept a result's status. Others only get the result's text.
 * @see https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolResultBlock.html
 */
const STATUS_FAMILIES: ReadonlySet<BedrockFamily['name']> = new Set(['claude', 'nova']);

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

const IMAGE_FORMATS = { 'image/png': 'png', 'image/jpeg': 'jpeg', 'image/gif': 'gif', 'image/webp': 'webp' } as const;

function toImageBlock(part: ImagePart): ImageBlock {
  if ('url' in part) throw invalidValueError(part.param, 'this model accepts images as data URLs only');
  return { format: IMAGE_FORMATS[part.mediaType], source: { bytes: decodeBase64(part.base64, 'image', part.param) } };
}

function toDocumentBlock({ base64, param }: PdfDocument, name: string): DocumentBlock {
  return { format: 'pdf', name, source: { bytes: decodeBase64(base64, 'document', param) } };
}

/**
 * Creates a function that names the documents of a request: by their titles, as far as Converse allows their characters.
 * @see https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html
 */
function createDocumentNamer(): (part: PdfDocument) => string {
  const used = new Set<string>();
  return ({ title = '' }) => {
    const allowed = title.replace(/[^A-Za-z0-9()[\]-]+/g, ' ').trim();
    const base = allowed.slice(0, MAX_DOCUMENT_NAME) || 'Document';
    let name = base;
    for (let number = 2; used.has(name); number += 1) name = `${base} (${number})`;
    used.add(name);
    return name;
  };
}

/** The limit is 200 characters; the rest is for a number. */
const MAX_DOCUMENT_NAME = 180;

function formatTextDocument({ title, text }: TextDocument): string {
  return title === undefined ? text : `${title}\n\n${text}`;
}

function decodeBase64(text: string, kind: 'image' | 'document', param: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  // Node skips characters that are not base64. Encoding the bytes again shows whether it skipped any.
  if (bytes.length === 0 || removePadding(bytes.toString('base64')) !== removePadding(text)) {
    throw invalidValueError(param, `the ${kind} is not valid base64`);
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
