import * as v from 'valibot';
import { countTokens, embedText } from '../embed-text.ts';

/**
 * InvokeModel of the embedding models. Requests are refused as Bedrock does.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/titan-embedding-models.html
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
 */

/** A response of InvokeModel. */
export interface InvokeResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: object;
}

const TITAN_TOKENS = 8_192;
const TITAN_CHARACTERS = 50_000;

const titan2 = v.strictObject({
  inputText: v.pipe(v.string(), v.minLength(1), v.maxLength(TITAN_CHARACTERS)),
  dimensions: v.optional(v.picklist([256, 512, 1_024]), 1_024),
  normalize: v.optional(v.boolean(), true),
});
const titan1 = v.strictObject({ inputText: titan2.entries.inputText });

const cohere = {
  input_type: v.picklist(['search_document', 'search_query', 'classification', 'clustering']),
  truncate: v.optional(v.picklist(['NONE', 'START', 'END']), 'NONE'),
  embedding_types: v.optional(v.tuple([v.literal('float')])),
};
const cohere3 = v.strictObject({
  ...cohere,
  texts: v.pipe(v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(2_048))), v.minLength(1), v.maxLength(96)),
});
const cohere4 = v.strictObject({
  ...cohere,
  texts: v.pipe(v.array(v.pipe(v.string(), v.minLength(1))), v.minLength(1), v.maxLength(96)),
  output_dimension: v.optional(v.picklist([256, 512, 1_024, 1_536]), 1_536),
});

/** Returns whether the stand-in's InvokeModel embeds with this model. */
export function isEmbeddingModel(modelId: string): boolean {
  return /titan-embed-text|cohere\.embed/.test(modelId);
}

/** Answers a request for embeddings. */
export function invokeEmbeddingModel(modelId: string, body: string): InvokeResponse {
  try {
    const input: unknown = JSON.parse(body);
    if (modelId.includes('titan-embed-text-v2')) {
      const { inputText, dimensions } = v.parse(titan2, input);
      return answerTitan(inputText, dimensions);
    }
    if (modelId.includes('titan-embed')) return answerTitan(v.parse(titan1, input).inputText, 1_536);
    if (!modelId.includes('embed-v4')) {
      const { texts, embedding_types: types } = v.parse(cohere3, input);
      return answerCohere(texts, 1_024, types !== undefined);
    }
    const { texts, output_dimension, embedding_types: types } = v.parse(cohere4, input);
    return answerCohere(texts, output_dimension, types !== undefined);
  } catch (thrown) {
    const message =
      thrown instanceof v.ValiError ? `Malformed input request: ${thrown.message}` : 'Malformed input request';
    return refuse(`${message}, please reformat your input and try again.`);
  }
}

function answerTitan(text: string, dimensions: number): InvokeResponse {
  const tokens = countTokens(text);
  if (tokens > TITAN_TOKENS) {
    return refuse(
      `400 Bad Request: Too many input tokens. Max input tokens: ${TITAN_TOKENS}, request input token count: ${tokens}`,
    );
  }
  return { status: 200, headers: {}, body: { embedding: embedText(text, dimensions), inputTextTokenCount: tokens } };
}

function answerCohere(texts: readonly string[], dimensions: number, byType: boolean): InvokeResponse {
  const vectors = texts.map((text) => embedText(text, dimensions));
  const tokens = texts.reduce((sum, text) => sum + countTokens(text), 0);
  return {
    status: 200,
    headers: { 'x-amzn-bedrock-input-token-count': String(tokens) },
    body: {
      id: 'stand-in',
      texts,
      response_type: byType ? 'embeddings_by_type' : 'embeddings_floats',
      embeddings: byType ? { float: vectors } : vectors,
    },
  };
}

function refuse(message: string): InvokeResponse {
  return { status: 400, headers: { 'x-amzn-errortype': 'ValidationException' }, body: { message } };
}
