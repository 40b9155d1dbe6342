import type { EmbeddingRequest, Embeddings, Vector } from '../../inference/embedding.ts';

/** OpenAI's `CreateEmbeddingResponse`. */
export interface EmbeddingResponse {
  readonly object: 'list';
  readonly data: readonly EmbeddingObject[];
  readonly model: string;
  readonly usage: { readonly prompt_tokens: number; readonly total_tokens: number };
}

interface EmbeddingObject {
  readonly object: 'embedding';
  readonly index: number;
  /** Numbers, or the base64 of little-endian floats of 32 bits. */
  readonly embedding: readonly number[] | string;
}

/**
 * Encodes embeddings as the request asks for.
 * @param model the caller's name of the model
 */
export function encodeEmbeddings(
  { vectors, inputTokens }: Embeddings,
  model: string,
  encoding: EmbeddingRequest['encoding'],
): EmbeddingResponse {
  const encode = encoding === 'base64' ? encodeBase64 : (vector: Vector) => Array.from(vector);
  return {
    object: 'list',
    data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: encode(vector) })),
    model,
    usage: { prompt_tokens: inputTokens, total_tokens: inputTokens },
  };
}

function encodeBase64(vector: Vector): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString('base64');
}
