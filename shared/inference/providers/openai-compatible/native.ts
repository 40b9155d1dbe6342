import { isObject } from '../../../core/objects.ts';
import { isUnreadableThinking, limitThinking } from '../../claude-thinking.ts';
import type { GenerationRequest, OriginalRequest } from '../../generation.ts';
import { chooseOutputLimit } from '../../model-limits.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';
import { AnswerReader } from './answer.ts';
import type { ChunkReader } from './body.ts';
import { findDialect } from './dialect.ts';
import type { WireError } from './errors.ts';
import { NativeChatReader, NativeMessageReader, NativeResponseReader } from './native-readers.ts';
import { restoreItems } from './native-reasoning.ts';
import type { FieldRefusal } from './refused-fields.ts';
import { findOutputLimitName } from './request.ts';
import type { AnswerOptions } from './tool-calls.ts';
import { asObjects, type WireObject } from './wire.ts';

/** A call that sends the original. */
export interface NativeCall {
  /** The path of the endpoint, after the base URL. */
  readonly path: string;
  /**
   * Finds a field that the upstream refuses and that the answer doesn't depend on.
   * @param refused names of the fields that it has refused before
   */
  findRefusal(error: WireError, refused: readonly string[]): Refusal | undefined;
  /** Returns the headers for this endpoint, from those of the target. */
  toHeaders(headers: Headers): Headers;
  /**
   * Writes the body.
   * @param refused names of the fields that the upstream has refused
   */
  write(refused: readonly string[]): WireObject;
  createReader(options: AnswerOptions): ChunkReader;
  /** Returns whether a translated request may succeed, because the upstream refuses a field that it doesn't know. */
  mayTranslate(error: WireError): boolean;
}

type Refusal = Pick<FieldRefusal, 'field' | 'isRequired'>;
type Headers = Readonly<Record<string, string>>;

export interface NativeOptions {
  readonly maxOutputTokens: number | undefined;
  readonly streamed: boolean;
  /** Fingerprint of the target. */
  readonly upstream: string;
}

/** The value of `include` that asks for reasoning from which the upstream can continue. */
const ENCRYPTED_REASONING = 'reasoning.encrypted_content';

/** Finds a refusal of encrypted reasoning, for models without it: "Encrypted content is not supported with this model." */
function findRefusal({ status, param, message = '' }: WireError, refused: readonly string[]): Refusal | undefined {
  const isRefused = status === 400 && (param?.startsWith('include') || /encrypted.?content/i.test(message));
  return isRefused && !refused.includes(ENCRYPTED_REASONING)
    ? { field: ENCRYPTED_REASONING, isRequired: false }
    : undefined;
}

const UNKNOWN_CODES = /^(unknown_parameter|extra_forbidden)$/;
const UNKNOWN_TEXT =
  /unknown (parameter|field|argument)|unrecognized|additional properties|extra (inputs|fields)|not permitted/i;

function refusesUnknownField({ status, codes, message = '' }: WireError): boolean {
  if (status !== 400 && status !== 422) return false;
  return codes.some((code) => UNKNOWN_CODES.test(code)) || UNKNOWN_TEXT.test(message);
}

/**
 * Prepares a native call. In the original's body, only the model, the output limit, and fields about streaming and storage
 * are replaced.
 */
export function prepareNativeCall(
  request: GenerationRequest,
  original: OriginalRequest,
  target: OpenAICompatibleTarget,
  options: NativeOptions,
): NativeCall {
  const { streamed, upstream } = options;
  const common: WireObject = { ...omitStream(original.body), model: target.model };
  const maxTokens = chooseOutputLimit(request.maxOutputTokens, options.maxOutputTokens);
  const call = {
    findRefusal: () => undefined,
    toHeaders: (headers: Headers) => headers,
    mayTranslate: refusesUnknownField,
  };
  switch (original.protocol) {
    case 'chat':
      return {
        ...call,
        path: 'chat/completions',
        write: (refused) => writeChat(common, original.body, { target, maxTokens, streamed, refused }),
        createReader: (answer) => new NativeChatReader(new AnswerReader(answer), streamed),
      };
    case 'responses':
      return {
        ...call,
        path: 'responses',
        findRefusal,
        write: (refused) => ({
          ...common,
          ...(Array.isArray(common['input']) && { input: restoreItems(common['input'], upstream) }),
          ...toInclude(request, common['include'], refused),
          ...(maxTokens !== undefined && { max_output_tokens: maxTokens }),
          store: false,
          ...(streamed && { stream: true, ...pick(original.body, 'stream_options') }),
        }),
        createReader: () => new NativeResponseReader(upstream, streamed),
      };
    case 'messages':
      return {
        ...call,
        path: 'messages',
        toHeaders: (headers) => toMessagesHeaders(headers, original),
        write: () => ({ ...writeMessages(common, maxTokens), ...(streamed && { stream: true }) }),
        createReader: () => new NativeMessageReader(streamed),
      };
  }
}

interface ChatOptions {
  readonly target: OpenAICompatibleTarget;
  readonly maxTokens: number | undefined;
  readonly streamed: boolean;
  readonly refused: readonly string[];
}

function writeChat(
  { max_tokens: _, max_completion_tokens: __, ...common }: WireObject,
  original: WireObject,
  { target, maxTokens, streamed, refused }: ChatOptions,
): WireObject {
  const options = original['stream_options'];
  return {
    ...common,
    ...(maxTokens !== undefined && { [findOutputLimitName(target, findDialect(target), refused)]: maxTokens }),
    ...(streamed && {
      stream: true,
      // The service counts the usage even if the caller doesn't ask for it.
      stream_options: { ...(isObject(options) && options), include_usage: true },
    }),
  };
}

/** Returns the body without the fields about streaming: whether a call is streamed doesn't depend on the caller alone. */
function omitStream({ stream: _, stream_options: __, ...body }: WireObject): WireObject {
  return body;
}

/** Returns `include`, with encrypted reasoning if the next turn of the response may need it. */
function toInclude({ omitsContinuations }: GenerationRequest, include: unknown, refused: readonly string[]) {
  const others = (Array.isArray(include) ? include : []).filter((each) => each !== ENCRYPTED_REASONING);
  if (omitsContinuations !== true && !refused.includes(ENCRYPTED_REASONING)) {
    return { include: [...others, ENCRYPTED_REASONING] };
  }
  return Array.isArray(include) ? { include: others } : {};
}

function pick(fields: WireObject, name: string): WireObject {
  return fields[name] == null ? {} : { [name]: fields[name] };
}

/** Anthropic's API takes the key in a header of its own. */
function toMessagesHeaders({ authorization, ...headers }: Headers, { betas = [] }: OriginalRequest): Headers {
  const key = authorization?.replace('Bearer ', '');
  return {
    'anthropic-version': '2023-06-01',
    ...(key !== undefined && { 'x-api-key': key }),
    ...(betas.length > 0 && { 'anthropic-beta': betas.join(',') }),
    ...headers,
  };
}

/** Writes the body of a message, without the tools that no model gets and without thinking that another target sealed. */
function writeMessages({ tools, messages, ...body }: WireObject, maxTokens: number | undefined): WireObject {
  const kept = asObjects(messages).map((message) => {
    const { content } = message;
    return Array.isArray(content)
      ? { ...message, content: content.filter((block) => !isUnreadableThinking(block)) }
      : message;
  });
  return {
    ...body,
    max_tokens: maxTokens,
    messages: kept,
    ...(Array.isArray(tools) && { tools: asObjects(tools) }),
    ...('thinking' in body && {
      thinking: limitThinking(body['thinking'], kept, maxTokens ?? Number.POSITIVE_INFINITY),
    }),
  };
}
