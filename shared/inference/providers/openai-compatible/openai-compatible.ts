import { createHash, randomUUID } from 'node:crypto';
import { LambentError } from '../../../core/errors.ts';
import { isSecretReference } from '../../../core/secrets.ts';
import type { GenerationEvent, GenerationRequest } from '../../generation.ts';
import { type Model, type ModelCall, UpstreamError } from '../../model.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';
import { AnswerReader } from './answer.ts';
import { readAnswer, readErrorBody } from './body.ts';
import { getOpenAICompatibleCapabilities } from './dialect.ts';
import {
  cutAnswerError,
  type ErrorContext,
  parseErrorResponse,
  requiredFieldRefusedError,
  toUpstreamError,
} from './errors.ts';
import { type FieldRefusal, findRefusedField } from './refused-fields.ts';
import { createRequestWriter, toCallerParam } from './request.ts';
import { createTransport, type UpstreamResponse } from './transport.ts';
import type { WireObject } from './wire.ts';

export interface OpenAICompatibleOptions {
  /** The alias's limit: sent when a caller gives none, and never exceeded. */
  readonly maxOutputTokens: number;
  /** Resolves `env:…`, `ssm:…` and `secret:…`; asked at each call, so it should remember. */
  readonly secret: (reference: string) => Promise<string>;
  /** Makes an id for a tool call that the upstream gave none. */
  readonly newToolCallId?: () => string;
  /** Fields of the body that OpenAI's API doesn't have and this upstream may. */
  readonly extraFields?: (request: GenerationRequest) => WireObject;
  /** How it refuses them: one that isn't needed is left out from then on. */
  readonly refusals?: readonly FieldRefusal[];
  /** Called once for each field that it is found to refuse, with the call that found it. */
  readonly onRefused?: (field: string, call: ModelCall) => void;
  /** Milliseconds in which there has to be a connection; as long as the caller waits when absent. */
  readonly connectMs?: number;
  /** What tells this upstream's reasoning from another's: the same for all that stand for one another. */
  readonly fingerprint?: string;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

/**
 * The model behind any endpoint that speaks OpenAI's chat completions: OpenAI itself, DeepSeek, vLLM, Ollama,
 * OpenRouter and so on. Strict about what it asks, lenient about how it is answered.
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
  const transport = createTransport(toEndpoint(target), options.connectMs);
  const upstream = options.fingerprint ?? computeFingerprint(target);
  const write = createRequestWriter(target, {
    capabilities: getOpenAICompatibleCapabilities(target),
    maxOutputTokens,
    upstream,
  });
  let refused: readonly string[] = [];
  const told = new Set<string>();

  function tell(field: string, call: ModelCall): void {
    if (!told.has(field)) options.onRefused?.(field, call);
    told.add(field);
  }

  /**
   * Remembers what an accepted request was sent without. Not fields that its caller names too: the error may have quoted them,
   * and all callers would have to do without.
   */
  function learn(without: readonly string[], sent: string, call: ModelCall): void {
    const learnt = without.filter((field) => !refused.includes(field) && !sent.includes(field));
    refused = [...refused, ...learnt];
    for (const field of learnt) tell(field, call);
  }

  /** Sends the request, once more for each thing that the upstream teaches about its dialect, until it is accepted. */
  async function ask(
    request: GenerationRequest,
    call: ModelCall,
    access: Access,
    wording: ErrorContext,
  ): Promise<UpstreamResponse> {
    const headers = {
      ...access.headers,
      accept: call.streamed ? 'text/event-stream, application/json' : 'application/json',
    };
    const extras = extraFields?.(request) ?? {};
    const refusable = refusals.filter(({ field }) => field in extras);
    for (let without = refused; ; ) {
      const all = { ...write(request, call.streamed, without), ...extras };
      const body = Object.fromEntries(Object.entries(all).filter(([name]) => !without.includes(name)));
      const sent = JSON.stringify(body);
      const response = await transport.post(headers, sent, call.signal);
      if (response.status >= 200 && response.status < 300) {
        learn(without, sent, call);
        return response;
      }
      const error = parseErrorResponse(response.status, response.headers, await readErrorBody(response), now());
      const refusal = findRefusedField(error, body, without, refusable);
      if (refusal === undefined) throw toUpstreamError(error, wording);
      if (refusal.isRequired) {
        tell(refusal.field, call);
        throw requiredFieldRefusedError(refusal.field, error, wording);
      }
      without = [...without, refusal.field];
    }
  }

  async function* generate(request: GenerationRequest, call: ModelCall): AsyncGenerator<GenerationEvent> {
    let response: UpstreamResponse | undefined;
    let begun = false;
    try {
      call.signal.throwIfAborted();
      const access = await rejectOnAbort(resolveAccess(target, secret), call.signal);
      const wording = {
        callerParam: (param: string) => toCallerParam(request, param),
        isQuoted: (words: string) => JSON.stringify(request).includes(words),
        redact: access.redact,
      };
      response = await ask(request, call, access, wording);
      const answer = new AnswerReader(upstream, newToolCallId);
      const pieces = readAnswer(response, call.streamed, answer, (error) => toUpstreamError(error, wording));
      let arrived = false;
      for await (const events of call.streamed ? pieces : bufferEvents(pieces)) {
        if (!arrived) call.onFirstChunk?.();
        arrived = true;
        // An abort breaks the connection, which after the finish_reason looks like a whole answer.
        call.signal.throwIfAborted();
        for (const event of events) {
          begun = true;
          yield event;
        }
      }
    } catch (thrown) {
      call.signal.throwIfAborted();
      throw begun ? toCutError(thrown) : thrown;
    } finally {
      response?.close();
    }
  }

  return { generate };
}

/** Holds back all events until the answer is known to be whole. */
async function* bufferEvents(pieces: AsyncIterable<GenerationEvent[]>): AsyncGenerator<GenerationEvent[]> {
  const all: GenerationEvent[][] = [];
  for await (const events of pieces) all.push(events);
  yield all.flat();
}

/** After the first event nothing can be retried: whatever went wrong, the answer was cut. */
function toCutError(thrown: unknown): unknown {
  if (!(thrown instanceof UpstreamError) || thrown.code === 'upstream_cut') return thrown;
  return cutAnswerError(`The upstream failed in the middle of its answer: ${thrown.message}`, thrown);
}

/** The headers of a request, and how to keep what is secret in them out of texts. */
interface Access {
  readonly headers: Readonly<Record<string, string>>;
  readonly redact: (text: string) => string;
}

/** Shorter values are no secrets, and replacing them would garble texts. */
const SHORTEST_SECRET = 8;

async function resolveAccess(
  target: OpenAICompatibleTarget,
  secret: (reference: string) => Promise<string>,
): Promise<Access> {
  const secrets: string[] = [];
  const resolved = async (reference: string): Promise<string> => {
    const value = await resolveSecret(reference, secret);
    if (value.length >= SHORTEST_SECRET) secrets.push(value);
    return value;
  };
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'accept-encoding': 'identity',
    'user-agent': 'lambent',
  };
  for (const [name, value] of Object.entries(target.headers ?? {})) {
    headers[name.toLowerCase()] = isSecretReference(value) ? await resolved(value) : value;
  }
  if (target.apiKey !== undefined) headers['authorization'] = `Bearer ${await resolved(target.apiKey)}`;
  return { headers, redact: (text) => secrets.reduce((clean, value) => clean.replaceAll(value, '[redacted]'), text) };
}

/**
 * What a reference to a key or a header stands for.
 * @throws UpstreamError `upstream_misconfigured` where the operator has to mend it, `upstream_unavailable` where waiting helps
 */
export async function resolveSecret(
  reference: string,
  secret: (reference: string) => Promise<string>,
): Promise<string> {
  try {
    return await secret(reference);
  } catch (cause) {
    // Another target, with another key, may work.
    const transient = cause instanceof LambentError && cause.retryable;
    const message = cause instanceof LambentError ? cause.message : `${reference} could not be resolved`;
    if (transient) throw new UpstreamError('upstream_unavailable', message, { recovery: 'retry', cause });
    throw new UpstreamError('upstream_misconfigured', message, { recovery: 'nextTarget', cause });
  }
}

/** Stops waiting for `work` when the signal aborts; a look-up of a key that hangs must not hold the call. */
export function rejectOnAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** `/chat/completions` under the base, before a query such as Azure's `?api-version=…`. */
function toEndpoint({ baseUrl }: OpenAICompatibleTarget): URL {
  const url = new URL(baseUrl);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/chat/completions`;
  return url;
}

/** Tells targets apart without telling which provider they are: it leaves the service inside of continuations. */
function computeFingerprint({ baseUrl, model }: OpenAICompatibleTarget): string {
  return createHash('sha256').update(`${baseUrl}\n${model}`).digest('base64url').slice(0, 16);
}

function createToolCallId(): string {
  return `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`;
}
