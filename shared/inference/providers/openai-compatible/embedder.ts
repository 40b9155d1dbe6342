import { omitUndefined } from '../../../core/objects.ts';
import { estimateTokens } from '../../../core/token-estimate.ts';
import type { Embedder, EmbeddingRequest, Embeddings, Vector } from '../../embedding.ts';
import type { OpenAICompatibleTarget } from '../../registry.ts';
import { findDialect } from './dialect.ts';
import { malformedAnswerError } from './errors.ts';
import { createJsonEndpoint, type JsonEndpointOptions } from './json-endpoint.ts';
import { asCount, asObject, asObjects, type WireObject } from './wire.ts';

/** Creates the embedder behind an endpoint with OpenAI's embeddings API. */
export function createOpenAICompatibleEmbedder(
  target: Pick<OpenAICompatibleTarget, 'model' | 'baseUrl' | 'apiKey' | 'headers'>,
  options: JsonEndpointOptions,
): Embedder {
  const endpoint = createJsonEndpoint(target, 'embeddings', options);
  const { optionalFields, encodesEmbeddings = false } = findDialect(target);

  const toBody = ({ inputs, dimensions, encoding, user }: EmbeddingRequest): WireObject => ({
    model: target.model,
    input: inputs,
    ...(encoding === 'base64' && encodesEmbeddings ? { encoding_format: 'base64' } : {}),
    ...omitUndefined({ dimensions, user: optionalFields.includes('user') ? user : undefined }),
  });

  return {
    embed: async (request, { signal }) => readEmbeddings(await endpoint.post(toBody(request), 'data', signal), request),
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
