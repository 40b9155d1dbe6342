import { createHash } from 'node:crypto';
import { encodeJson } from '../../../core/encode-json.ts';
import { getOrCreate } from '../../../core/get-or-create.ts';
import { newId } from '../../../core/ids.ts';
import type { GenerationEvent, GenerationRequest } from '../../generation.ts';
import { type Model, type ModelCall, UpstreamError } from '../../model.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';
import { servesMessagesOnly } from '../../served-endpoints.ts';
import { type Access, rejectOnAbort, resolveAccess, toEndpoint } from './access.ts';
import { AnswerReader } from './answer.ts';
import { readAnswer, readErrorBody } from './body.ts';
import { type CallIdRule, findDialect, getOpenAICompatibleCapabilities } from './dialect.ts';
import {
  cutAnswerError,
  type ErrorContext,
  parseErrorResponse,
  requiredFieldRefusedError,
  toUpstreamError,
} from './errors.ts';
import type { NativeCall } from './native.ts';
import { CALL_IDS, type FieldRefusal, findRefusedField, MESSAGE_REASONING, SYSTEM_MESSAGES } from './refused-fields.ts';
import { createRequestWriter, toCallerParam } from './request.ts';
import { createTransport, type Transport, type UpstreamResponse } from './transport.ts';
import type { WireObject } from './wire.ts';

export interface OpenAICompatibleOptions {
  /** The alias's output limit. Sent if the caller sets no limit, and never exceeded. */
  readonly maxOutputTokens: number | undefined;
  /** Resolves `env:…`, `ssm:…` and `secret:…`. Called for every request, so it should cache. */
  readonly secret: (reference: string) => Promise<string>;
  /** Creates an id for a tool call without one. */
  readonly newToolCallId?: () => string;
  /** Returns additional fields of the body, which OpenAI's API doesn't have and this upstream may accept or refuse. */
  readonly extraFields?: (request: GenerationRequest) => WireObject;
  /** How the upstream refuses those fields. A refused field that isn't required is omitted from then on. */
  readonly refusals?: readonly FieldRefusal[];
  /** Called once for each field that the upstream refuses, with the call that discovered it. */
  readonly onRefused?: (field: string, call: ModelCall) => void;
  /** Milliseconds within which a connection must be made; absent for no limit. */
  readonly connectMs?: number;
  /** Identifies the upstream's reasoning. Share it between upstreams that can replace one another. */
  readonly fingerprint?: string;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

/**
 * Creates a model behind any endpoint with OpenAI's chat completions API: OpenAI, DeepSeek, vLLM, Ollama, OpenRouter
 * and others. Sends strictly valid requests, and reads answers leniently.
 */
export function createOpenAICompatibleModel(target: OpenAICompatibleTarget, options: OpenAICompatibleOptions): Model {
  const {
    maxOutputTokens,
    secret,
    newToolCallId = createToolCallId,
    extraFields,
    refusals = [],
    now = Date.now,
  } = options;
  const transports = new Map<string, Transport>();
  const getTransport = (path: string): Transport =>
    getOrCreate(transports, path, () => createTransport(toEndpoint(target, path), options.connectMs));
  const upstream = options.fingerprint ?? computeFingerprint(target);
  const write = createRequestWriter(target, {
    capabilities: getOpenAICompatibleCapabilities(target),
    maxOutputTokens,
    upstream,
  });
  const { callIds } = findDialect(target);
  let refused: readonly string[] = [];
  const reported = new Set<string>();

  function reportRefused(field: string, call: ModelCall): void {
    if (!reported.has(field)) options.onRefused?.(field, call);
    reported.add(field);
  }

  /**
   * Remembers the fields that an accepted request omitted, so that later requests omit them, too. Skips a field whose
   * name occurs in the request: the error may only have quoted the caller's text.
   */
  function rememberRefused(without: readonly string[], sent: Buffer, call: ModelCall): void {
    const added = without.filter((field) => !refused.includes(field) && !sent.includes(field));
    refused = [...refused, ...added];
    for (const field of added) reportRefused(field, call);
  }

  /** Prepares a native call; undefined if the request is translated. */
  async function prepareNative(request: GenerationRequest, streamed: boolean): Promise<NativeCall | undefined> {
    const { original } = request;
    if (original === undefined || target.passThrough?.includes(original.protocol) !== true) return undefined;
    if (!hasAcceptedCallIds(request, callIds)) return undefined;
    const { prepareNativeCall } = await import('./native.ts');
    return prepareNativeCall(request, original, target, { maxOutputTokens, streamed, upstream });
  }

  /**
   * Sends the request until it is accepted, each time without one more field that the upstream refused. A native request
   * is translated if the upstream refuses a field that it doesn't know.
   */
  async function sendRequest(
    request: GenerationRequest,
    call: ModelCall,
    access: Access,
    context: ErrorContext,
  ): Promise<SentRequest> {
    const accept = call.streamed ? 'text/event-stream, application/json' : 'application/json';
    const extras = extraFields?.(request) ?? {};
    let native = await prepareNative(request, call.streamed);
    for (let without = refused; ; ) {
      const all = native?.write(without) ?? { ...write(request, call.streamed, without), ...extras };
      const body = Object.fromEntries(Object.entries(all).filter(([name]) => !without.includes(name)));
      const sent = encodeJson(body);
      const headers = { ...(native?.toHeaders(access.headers) ?? access.headers), accept };
      const transport = getTransport(native?.path ?? 'chat/completions');
      const response = await transport.post(headers, sent, call.signal);
      if (response.status >= 200 && response.status < 300) {
        rememberRefused(without, sent, call);
        return { response, native };
      }
      const error = parseErrorResponse(response.status, response.headers, await readErrorBody(response), now());
      if (servesMessagesOnly(target)) throw toUpstreamError(error, context);
      const refusable = native === undefined ? refusals.filter(({ field }) => field in extras) : [];
      const refusal = native?.findRefusal(error, without) ?? findRefusedField(error, body, without, refusable);
      if (
        native !== undefined &&
        (refusal === undefined ? native.mayTranslate(error) : IN_MESSAGES.has(refusal.field))
      ) {
        native = undefined;
        continue;
      }
      if (refusal === undefined) throw toUpstreamError(error, context);
      if (refusal.isRequired) {
        reportRefused(refusal.field, call);
        throw requiredFieldRefusedError(refusal.field, error, context);
      }
      without = [...without, refusal.field];
    }
  }

  async function* generate(request: GenerationRequest, call: ModelCall): AsyncGenerator<GenerationEvent> {
    let response: UpstreamResponse | undefined;
    let hasEvents = false;
    try {
      call.signal.throwIfAborted();
      const access = await rejectOnAbort(resolveAccess(target, secret), call.signal);
      const context = {
        callerParam: (param: string) => toCallerParam(request, param),
        isQuoted: (words: string) => JSON.stringify(request).includes(words),
        redact: access.redact,
      };
      const sent = await sendRequest(request, call, access, context);
      response = sent.response;
      const answerOptions = {
        upstream,
        newId: newToolCallId,
        tools: new Set(request.tools.map(({ name }) => name)),
      };
      const answer = sent.native?.createReader(answerOptions) ?? new AnswerReader(answerOptions);
      const chunks = readAnswer(response, call.streamed, answer, (error) => toUpstreamError(error, context));
      let isFirst = true;
      for await (const events of call.streamed ? chunks : bufferEvents(chunks)) {
        if (isFirst) call.onFirstChunk?.();
        isFirst = false;
        // After the finish_reason, a connection that an abort closed looks like the end of a complete answer.
        call.signal.throwIfAborted();
        for (const event of events) {
          hasEvents = true;
          yield event;
        }
      }
    } catch (thrown) {
      call.signal.throwIfAborted();
      throw hasEvents ? toCutError(thrown) : thrown;
    } finally {
      response?.close();
    }
  }

  return { generate };
}

interface SentRequest {
  readonly response: UpstreamResponse;
  /** Undefined if the request was translated. */
  readonly native: NativeCall | undefined;
}

/** The refusals of parts of messages that a translated request writes in another form. */
const IN_MESSAGES: ReadonlySet<string> = new Set([MESSAGE_REASONING, CALL_IDS, SYSTEM_MESSAGES]);

/** Returns whether the upstream accepts the ids of all tool calls. Ids of other targets may be longer. */
function hasAcceptedCallIds({ messages }: GenerationRequest, rule: CallIdRule | undefined): boolean {
  if (rule === undefined) return true;
  return messages.every(({ content }) =>
    content.every((part) => part.type !== 'toolCall' || rule.pattern.test(part.id)),
  );
}

/** Collects the events until the answer is complete, and yields them at once. */
async function* bufferEvents(chunks: AsyncIterable<GenerationEvent[]>): AsyncGenerator<GenerationEvent[]> {
  const all: GenerationEvent[][] = [];
  for await (const events of chunks) all.push(events);
  yield all.flat();
}

/** Converts a failure after the first event to `upstream_cut`: the request can't be retried any more. */
function toCutError(thrown: unknown): unknown {
  if (!(thrown instanceof UpstreamError) || thrown.code === 'upstream_cut') return thrown;
  return cutAnswerError(`The upstream failed during its answer: ${thrown.message}`, thrown);
}

/** Returns a hash that identifies the target. Callers see it in continuations, so it must not reveal the provider. */
function computeFingerprint({ baseUrl, model }: OpenAICompatibleTarget): string {
  return createHash('sha256').update(`${baseUrl}\n${model}`).digest('base64url').slice(0, 16);
}

function createToolCallId(): string {
  return `call_${newId(24)}`;
}
