import { decodeCustomInput } from '../../custom-input.ts';
import type {
  AssistantMessage,
  CacheMark,
  ContentPart,
  ImagePart,
  Message,
  PdfDocument,
  ToolCallPart,
  ToolMessage,
} from '../../generation.ts';
import type { WriteMark } from './cache-marks.ts';
import type { Dialect } from './dialect.ts';
import { type ReasoningPlace, readContinuation } from './reasoning.ts';
import { joinThinking } from './think-tags.ts';
import { asObjects, asText, type WireObject } from './wire.ts';

export interface MessageOptions {
  readonly dialect: Dialect;
  /** Fingerprint of the target, as in `createContinuation`. */
  readonly upstream: string;
  /** Returns the id of a tool call as the upstream accepts it. */
  readonly callId: (id: string) => string;
  /** True if the upstream has refused reasoning in messages. */
  readonly omitsReasoning: boolean;
  /** True if the upstream accepts a system message only as the first message. */
  readonly hasOneSystemMessage: boolean;
  /** Whether calls of custom tools are written as such, and not as functions. */
  readonly hasCustomTools: boolean;
  /** Writes the caller's cache marks; undefined if there are none, or the upstream knows none. */
  readonly writeMark: WriteMark | undefined;
}

/** Converts the conversation. Texts become plain strings where nothing is marked: several dialects refuse an array of them. */
export function toWireMessages(messages: readonly Message[], options: MessageOptions): WireObject[] {
  const wire: WireObject[] = [];
  let files: FilePart[] = [];
  for (const message of joinSystemMessages(messages, options)) {
    if (message.role !== 'tool' && files.length > 0) {
      wire.push(toToolFilesMessage(files));
      files = [];
    }
    if (message.role === 'tool') files.push(...message.content.filter(isFile));
    wire.push(toWireMessage(message, options));
  }
  if (files.length > 0) wire.push(toToolFilesMessage(files));
  return wire;
}

/**
 * Joins the system messages at the front, which says the same to every model: chat templates such as Qwen's accept one only.
 * If the upstream accepts one only, those inside the conversation are moved to the front, too.
 */
function joinSystemMessages(
  messages: readonly Message[],
  { hasOneSystemMessage: all, writeMark }: MessageOptions,
): readonly Message[] {
  const isSystem = (message: Message) => message.role === 'system' && message.name === undefined;
  const end = messages.findIndex((message) => !isSystem(message));
  const front = all ? messages.filter(isSystem) : messages.slice(0, end === -1 ? messages.length : end);
  if (front.length === 0 || (front.length === 1 && messages[0] === front[0])) return messages;
  const texts = front.map(({ content }) => content.filter((part) => part.type === 'text'));
  const text = { type: 'text', text: texts.map(joinText).join('\n\n') } as const;
  const joined: Message = { role: 'system', content: writeMark === undefined ? [text] : texts.flat() };
  return [joined, ...messages.filter((message) => !front.includes(message))];
}

function toWireMessage(message: Message, options: MessageOptions): WireObject {
  switch (message.role) {
    case 'system':
      return { role: 'system', content: toTextContent(message.content, options), ...toNameField(message) };
    case 'user':
      return { role: 'user', content: toUserContent(message.content, options), ...toNameField(message) };
    case 'assistant':
      return toAssistantMessage(message, options);
    case 'tool':
      return {
        role: 'tool',
        tool_call_id: options.callId(message.toolCallId),
        content: toToolContent(message, options),
      };
  }
}

function toNameField({ name }: { readonly name?: string }): WireObject {
  return name === undefined ? {} : { name };
}

/** Joins the texts of a message by line breaks, as vLLM does. */
function joinText(parts: readonly { readonly text: string }[]): string {
  return parts.map(({ text }) => text).join('\n');
}

interface Text {
  readonly text: string;
  readonly cache?: CacheMark | undefined;
}

/**
 * Returns texts as one string, or as parts if the caller marks any part of the request. A message without marks then has parts, too,
 * so that it stays the same when the next request marks another one.
 */
function toTextContent(texts: readonly Text[], { writeMark }: MessageOptions): string | WireObject[] {
  const parts = texts.filter(({ text }) => text !== '');
  if (writeMark === undefined || parts.length === 0) return joinText(texts);
  const written = parts.map(({ text, cache }) => ({ type: 'text', text, ...writeMark(cache) }));
  return written.length === 1 && parts[0]?.cache === undefined ? joinText(parts) : written;
}

/** A part that is not text. */
type FilePart = ImagePart | PdfDocument;

function isFile(part: ContentPart): part is FilePart {
  return part.type === 'image' || (part.type === 'document' && part.mediaType === 'application/pdf');
}

function toUserContent(parts: readonly ContentPart[], options: MessageOptions): string | WireObject[] {
  if (!parts.some(isFile)) return toTextContent(toTexts(parts), options);
  const { writeMark } = options;
  return parts.flatMap((part): WireObject[] => {
    if (isFile(part)) return [toFilePart(part)];
    return toTexts([part]).map(({ text, cache }) => ({ type: 'text', text, ...writeMark?.(cache) }));
  });
}

/** Returns the texts and text documents. Only PDFs have a part of their own in this API. */
function toTexts(parts: readonly ContentPart[]): Text[] {
  return parts.flatMap((part) => {
    if (part.type === 'text') return [{ text: part.text, cache: part.cache }];
    if (part.type !== 'document' || part.mediaType !== 'text/plain') return [];
    const { title, text, cache } = part;
    return [{ text: title === undefined ? text : `${title}\n\n${text}`, cache }];
  });
}

function toFilePart(part: FilePart): WireObject {
  if (part.type === 'image') return toImagePart(part);
  const { base64, mediaType, title } = part;
  return {
    type: 'file',
    file: { filename: title ?? 'document.pdf', file_data: `data:${mediaType};base64,${base64}` },
  };
}

function toImagePart(image: ImagePart): WireObject {
  const url = 'url' in image ? image.url : `data:${image.mediaType};base64,${image.base64}`;
  return { type: 'image_url', image_url: image.detail === undefined ? { url } : { url, detail: image.detail } };
}

/** Returns the content of a tool message. A mark on the result or on a part of it marks its end. */
function toToolContent(message: ToolMessage, options: MessageOptions): string | WireObject[] {
  const cache = message.cache ?? message.content.findLast((part) => part.cache !== undefined)?.cache;
  return toTextContent([{ text: toToolText(message), cache }], options);
}

/** Returns the text of a tool result. Tool messages hold text only; files follow the last tool message of the turn. */
function toToolText({ content, isError }: ToolMessage): string {
  const output = joinText(toTexts(content));
  // This API has no field for a failed call.
  const text = isError === true ? `Error: ${output}` : output;
  const files = content.filter(isFile);
  if (files.length === 0) return text;
  const [one, many] = files.every(({ type }) => type === 'image') ? ['An image', 'images'] : ['A file', 'files'];
  const follow = files.length === 1 ? `${one} follows` : `${files.length} ${many} follow`;
  return `${text}${text === '' ? '' : '\n'}(${follow} in the next user message.)`;
}

function toToolFilesMessage(files: readonly FilePart[]): WireObject {
  const kind = files.every(({ type }) => type === 'image') ? 'Images' : 'Files';
  const intro = { type: 'text', text: `${kind} from the tool results above:` };
  return { role: 'user', content: [intro, ...files.map(toFilePart)] };
}

function toAssistantMessage(message: AssistantMessage, options: MessageOptions): WireObject {
  const calls = message.content.filter((part) => part.type === 'toolCall');
  const signatures = findSignatures(message, options);
  // A refusal is sent as text, because most dialects have no field for it.
  const texts = message.content.filter((part) => part.type === 'text' || part.type === 'refusal');
  const { dialect, callId } = options;
  const hasReasoning = calls.length > 0 || dialect.needsAllReasoning;
  const { fields, toContent } = hasReasoning ? toReasoning(message, options) : NO_REASONING;
  const said = { role: 'assistant', ...toNameField(message) };
  const text = joinText(texts);
  const written = toContent(text);
  const content = written === text ? toTextContent(texts, options) : written;
  if (calls.length === 0) return { ...said, content, ...fields };
  return {
    ...said,
    content: content === '' && texts.length === 0 ? null : content,
    ...fields,
    tool_calls: calls.map((call, index) => ({
      id: callId(call.id),
      ...(call.isCustom && options.hasCustomTools ? toCustomCall(call) : toFunctionCall(call)),
      ...toSignatureField(signatures.get(call) ?? (index === 0 ? dialect.unsignedCall : undefined)),
    })),
  };
}

function toFunctionCall({ name, arguments: text }: ToolCallPart): WireObject {
  // Chat templates parse the arguments of earlier turns, and fail on an empty text.
  return { type: 'function', function: { name, arguments: text.trim() === '' ? '{}' : text } };
}

function toCustomCall({ name, arguments: text }: ToolCallPart): WireObject {
  return { type: 'custom', custom: { name, input: decodeCustomInput(text) } };
}

function toSignatureField(thought_signature: string | undefined): WireObject {
  return thought_signature === undefined ? {} : { extra_content: { google: { thought_signature } } };
}

/** Returns the thought signatures of calls: those that the caller has, or those that a continuation before the call has. */
function findSignatures({ content }: AssistantMessage, { dialect, upstream }: MessageOptions) {
  const signatures = new Map<ToolCallPart, string>();
  let next: string | undefined;
  for (const part of content) {
    if (part.type === 'reasoning') {
      const origin = part.continuation && readContinuation(part.continuation, upstream);
      if (origin?.place === 'thought_signature') next = asText(origin.details[0]?.['thought_signature']);
    } else if (part.type === 'toolCall') {
      const takesCallers = dialect.returnsRecords || dialect.unsignedCall !== undefined;
      const signature = next ?? (takesCallers ? part.signature : undefined);
      if (signature !== undefined) signatures.set(part, signature);
      next = undefined;
    }
  }
  return signatures;
}

/** The reasoning of a turn: fields of its message, and what becomes of its text. */
interface WireReasoning {
  readonly fields: WireObject;
  readonly toContent: (text: string) => string | WireObject[];
}

const NO_REASONING: WireReasoning = { fields: {}, toContent: (text) => text };

/**
 * Returns the reasoning of a turn where the upstream expects it: the place in which it has sent it, or the places of the
 * dialect if the caller has only the text. In turns without tool calls, DeepSeek's older models answer 400 to reasoning
 * and newer ones ignore it.
 */
function toReasoning(message: AssistantMessage, { dialect, upstream, omitsReasoning }: MessageOptions): WireReasoning {
  const fields: Record<string, unknown> = dialect.requiresReasoning ? { reasoning_content: '' } : {};
  let inText = '';
  let inContent = '';
  for (const part of message.content) {
    if (part.type !== 'reasoning' || (omitsReasoning && !dialect.requiresReasoning)) continue;
    const origin = part.continuation && readContinuation(part.continuation, upstream);
    const details = part.continuation ? origin?.details : dialect.returnsRecords ? part.details : undefined;
    const places = part.continuation ? origin && [origin.place] : listPlaces(dialect, details !== undefined);
    for (const place of places ?? []) {
      if (place === 'think') inText += part.text;
      else if (place === 'content') inContent += part.text;
      else if (place === 'reasoning_details') fields[place] = [...asObjects(fields[place]), ...(details ?? [])];
      else if (place !== 'thought_signature') fields[place] = `${fields[place] ?? ''}${part.text}`;
    }
  }
  return { fields, toContent: (text) => toMistralContent(inContent, joinThinking(inText, text)) };
}

/** Returns the places for reasoning of which the caller has the text, and maybe the upstream's records. */
function listPlaces({ reasoningPlaces = COMMON_PLACES, returnsRecords }: Dialect, hasDetails: boolean) {
  return returnsRecords && hasDetails ? [...reasoningPlaces, 'reasoning_details' as const] : reasoningPlaces;
}

/** SGLang, llama.cpp and most APIs know the first field, vLLM since 0.12 and Ollama the second. */
const COMMON_PLACES: readonly ReasoningPlace[] = ['reasoning_content', 'reasoning'];

function toMistralContent(thinking: string, text: string): string | WireObject[] {
  if (thinking === '') return text;
  const part = { type: 'thinking', thinking: [{ type: 'text', text: thinking }] };
  return text === '' ? [part] : [part, { type: 'text', text }];
}
