import { encodeJson } from '../../../core/encode-json.ts';
import { omitUndefined } from '../../../core/objects.ts';
import { estimateTokens } from '../../../core/token-estimate.ts';
import type { Embedder, EmbeddingRequest, Embeddings, Vector } from '../../embedding.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';
import { type Access, rejectOnAbort, resolveAccess, toEndpoint } from './access.ts';
import { parseBody, readErrorBody, readText } from './body.ts';
import { findDialect } from './dialect.ts';
import { findInBandError, malformedAnswerError, parseErrorResponse, toUpstreamError } from './errors.ts';
import { createTransport } from './transport.ts';
import { asCount, asObject, asObjects, type WireObject } from './wire.ts';

export interface EmbedderOptions {
  /** Resolves `env:…`, `ssm:…` and `secret:…`. Called for every request, so it should cache. */
  readonly secret: (reference: string) => Promise<string>;
  /** Milliseconds within which a connection must be made; absent for no limit. */
  readonly connectMs?: number;
}

/** Creates the embedder behind an endpoint with OpenAI's embeddings API. */
export function createOpenAICompatibleEmbedder(
  target: Pick<OpenAICompatibleTarget, 'model' | 'baseUrl' | 'apiKey' | 'headers'>,
  { secret, connectMs }: EmbedderOptions,
): Embedder {
  const transport = createTransport(toEndpoint(target, 'embeddings'), connectMs);
  const { optionalFields, encodesEmbeddings = false } = findDialect(target);

  const toBody = ({ inputs, dimensions, encoding, user }: EmbeddingRequest): WireObject => ({
    model: target.model,
    input: inputs,
    ...(encoding === 'base64' && encodesEmbeddings ? { encoding_format: 'base64' } : {}),
    ...omitUndefined({ dimensions, user: optionalFields.includes('user') ? user : undefined }),
  });

  async function post(
    request: EmbeddingRequest,
    { headers, redact }: Access,
    signal: AbortSignal,
  ): Promise<WireObject> {
    const response = await transport.post(
      { ...headers, accept: 'application/json' },
      encodeJson(toBody(request)),
      signal,
    );
    const context = {
      callerParam: (param: string) => param,
      isQuoted: (words: string) => JSON.stringify(request.inputs).includes(words),
      redact,
    };
    try {
      if (response.status < 200 || response.status >= 300) {
        const text = await readErrorBody(response);
        throw toUpstreamError(parseErrorResponse(response.status, response.headers, text, Date.now()), context);
      }
      const body = parseBody((await readText(response)).replace(/^\uFEFF/, ''));
      const error = findInBandError(body);
      if (error !== undefined && !Array.isArray(body['data'])) throw toUpstreamError(error, context);
      return body;
    } finally {
      response.close();
    }
  }

  return {
    async embed(request, { signal }) {
      signal.throwIfAborted();
      const access = await rejectOnAbort(resolveAccess(target, secret), signal);
      const body = await post(request, access, signal).catch((thrown: unknown) => {
        signal.throwIfAborted();
        throw thrown;
      });
      return readEmbeddings(body, request);
    },
  };
}

/**
 * Reads the vectors of an answer in the order of the inputs.
 * @throws UpstreamError `upstream_malformed` unless there is exactly one vector for each input
 */
function readEmbeddings(body: WireObject, { inputs }: EmbeddingRequest): Embeddings {
  const vectors: Vector[] = [];
  for (const [position, item] of asObjects(body['data']).entries()) {
    const vector = readVector(item['embedding']);
    if (vector !== undefined) vectors[asCount(item['index']) ?? position] = vector;
  }
  if (vectors.length !== inputs.length || vectors.includes(undefined as never))
    throw malformedAnswerError('The upstream answered without an embedding for each input', 'nextTarget');
  const usage = asObject(body['usage']);
  const inputTokens = asCount(usage?.['prompt_tokens']) ?? asCount(usage?.['total_tokens']) ?? countTokens(inputs);
  return { vectors, inputTokens };
}

function readVector(embedding: unknown): Vector | undefined {
  if (typeof embedding === 'string') {
    const bytes = Buffer.from(embedding, 'base64');
    if (bytes.length === 0 || bytes.length % 4 !== 0) return undefined;
    return Float32Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));
  }
  const isVector = Array.isArray(embedding) && embedding.length > 0 && embedding.every(Number.isFinite);
  return isVector ? embedding : undefined;
}

/** Estimates the tokens of texts; counts those of token arrays. */
export function countTokens(inputs: EmbeddingRequest['inputs']): number {
  return inputs.reduce((sum, input) => sum + (typeof input === 'string' ? estimateTokens(input) : input.length), 0);
}
