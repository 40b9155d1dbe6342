import { type BedrockRuntimeClient, InvokeModelCommand } from '@aws-sdk/client-bedrock-runtime';
import { mapInParallel } from '../../../core/map-in-parallel.ts';
import { isObject } from '../../../core/objects.ts';
import { estimateTokens } from '../../../core/token-estimate.ts';
import type { Embedder, EmbeddingRequest, Vector } from '../../embedding.ts';
import { UpstreamError } from '../../model.ts';
import type { Alias, BedrockTarget } from '../../registry.ts';
import { bedrockError } from './errors.ts';

type InputType = NonNullable<Alias['embeddings']>['inputType'];

/** How a family of models takes texts by InvokeModel, and returns their vectors. */
interface Family {
  /** The most texts of one call. */
  readonly texts: number;
  /** The lengths of vectors that a caller may choose. */
  readonly dimensions: readonly number[];
  readonly toBody: (texts: readonly string[], dimensions: number | undefined, inputType: InputType) => object;
  readonly readVectors: (body: Readonly<Record<string, unknown>>) => unknown;
}

/** @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html */
const TITAN_2: Family = {
  texts: 1,
  dimensions: [256, 512, 1_024],
  toBody: ([inputText], dimensions) => ({ inputText, normalize: true, ...(dimensions && { dimensions }) }),
  readVectors: ({ embedding }) => [embedding],
};
const TITAN_1: Family = { ...TITAN_2, dimensions: [], toBody: ([inputText]) => ({ inputText }) };

/** @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html */
const COHERE_3: Family = {
  texts: 96,
  dimensions: [],
  toBody: (texts, _, inputType) => ({ texts, input_type: inputType, truncate: 'NONE' }),
  readVectors: ({ embeddings }) => (isObject(embeddings) ? embeddings['float'] : embeddings),
};
/** @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v4.html */
const COHERE_4: Family = {
  ...COHERE_3,
  dimensions: [256, 512, 1_024, 1_536],
  toBody: (texts, dimensions, inputType) => ({
    ...COHERE_3.toBody(texts, undefined, inputType),
    embedding_types: ['float'],
    ...(dimensions && { output_dimension: dimensions }),
  }),
};

const FAMILIES: readonly (readonly [id: RegExp, Family])[] = [
  [/amazon\.titan-embed-text-v2/, TITAN_2],
  [/amazon\.titan-embed-(text-v1|g1-text)/, TITAN_1],
  [/cohere\.embed-v4/, COHERE_4],
  [/cohere\.embed-(english|multilingual)-v3/, COHERE_3],
];

/** Calls of one request at a time. Titan takes one text a call. */
const PARALLEL_CALLS = 8;

/**
 * Creates the embedder behind a Titan or Cohere model of Amazon Bedrock.
 * @param client a client of the target's region that doesn't retry
 */
export function createBedrockEmbedder(
  { model }: Pick<BedrockTarget, 'model'>,
  client: BedrockRuntimeClient,
  { inputType }: { readonly inputType: InputType },
): Embedder {
  const family = FAMILIES.find(([id]) => id.test(model))?.[1];
  /** What earlier attempts at a request have embedded, so that a retry pays for the rest only. */
  const done = new WeakMap<EmbeddingRequest, Map<number, Batch>>();

  async function embedTexts(texts: readonly string[], dimensions: number | undefined, signal: AbortSignal) {
    if (family === undefined) throw unknownFormatError();
    const body = family.toBody(texts, dimensions, inputType);
    const { vectors, inputTokens } = await invoke(client, model, body, family, signal);
    if (vectors.length !== texts.length) throw malformedError();
    return { vectors, inputTokens: inputTokens ?? texts.reduce((sum, text) => sum + estimateTokens(text), 0) };
  }

  return {
    async embed(request, { signal }) {
      signal.throwIfAborted();
      if (family === undefined) throw unknownFormatError();
      const { dimensions } = request;
      const texts = request.inputs.map(requireText);
      if (dimensions !== undefined && !family.dimensions.includes(dimensions))
        throw dimensionsError(dimensions, family);
      const batches = done.get(request) ?? new Map<number, Batch>();
      done.set(request, batches);
      const starts = Array.from({ length: Math.ceil(texts.length / family.texts) }, (_, index) => index * family.texts);
      const missing = starts.filter((start) => !batches.has(start));
      await mapInParallel(missing, PARALLEL_CALLS, async (start) => {
        const part = texts.slice(start, start + family.texts);
        batches.set(start, await embedTexts(part, dimensions, signal));
      });
      const all = starts.flatMap((start) => batches.get(start) ?? []);
      return {
        vectors: all.flatMap(({ vectors }) => vectors),
        inputTokens: all.reduce((sum, { inputTokens }) => sum + inputTokens, 0),
      };
    },
  };
}

interface Batch {
  readonly vectors: readonly Vector[];
  readonly inputTokens: number;
}

async function invoke(
  client: BedrockRuntimeClient,
  modelId: string,
  body: object,
  family: Family,
  signal: AbortSignal,
): Promise<{ readonly vectors: readonly Vector[]; readonly inputTokens: number | undefined }> {
  const command = new InvokeModelCommand({ modelId, contentType: 'application/json', body: JSON.stringify(body) });
  let counted: number | undefined;
  // Cohere's answers have no usage; Bedrock sends it as a header, which the SDK doesn't return.
  command.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const headers = isObject(result.response) ? result.response['headers'] : undefined;
      const count = isObject(headers) ? Number(headers['x-amzn-bedrock-input-token-count']) : Number.NaN;
      if (Number.isSafeInteger(count)) counted = count;
      return result;
    },
    { step: 'deserialize', priority: 'low' },
  );
  const output = await client.send(command, { abortSignal: signal }).catch((thrown: unknown) => {
    signal.throwIfAborted();
    throw bedrockError(thrown, false);
  });
  const answer = parseAnswer(output.body);
  const vectors = family.readVectors(answer);
  if (!Array.isArray(vectors) || !vectors.every(isVector)) throw malformedError();
  const inTitan = answer['inputTextTokenCount'];
  return { vectors, inputTokens: typeof inTitan === 'number' ? inTitan : counted };
}

function parseAnswer(body: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const answer: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    if (isObject(answer)) return answer;
  } catch {
    // Not JSON: the same error.
  }
  throw malformedError();
}

function isVector(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every(Number.isFinite);
}

function requireText(input: EmbeddingRequest['inputs'][number]): string {
  if (typeof input === 'string') return input;
  const message = "Invalid type for 'input': this model takes texts, and no encoding of tokens is set for it.";
  throw new UpstreamError('invalid_type', message, { recovery: 'fail', param: 'input' });
}

function dimensionsError(dimensions: number, { dimensions: allowed }: Family): UpstreamError {
  if (allowed.length === 0) {
    const message = "Unsupported parameter: 'dimensions' is not supported with this model.";
    return new UpstreamError('unsupported_parameter', message, { recovery: 'fail', param: 'dimensions' });
  }
  const message = `Invalid value for 'dimensions': ${dimensions}. This model supports ${allowed.join(', ')}.`;
  return new UpstreamError('invalid_value', message, { recovery: 'fail', param: 'dimensions' });
}

function unknownFormatError(): UpstreamError {
  const message =
    'Embeddings of this Bedrock model are not supported: use a model of Titan Text Embeddings or Cohere Embed';
  return new UpstreamError('upstream_misconfigured', message, { recovery: 'nextTarget' });
}

function malformedError(): UpstreamError {
  return new UpstreamError('upstream_malformed', "Bedrock's response could not be parsed", { recovery: 'retryOnce' });
}
