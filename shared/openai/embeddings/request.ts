import * as v from 'valibot';
import { LambentError } from '../../core/errors.ts';
import { omitUndefined } from '../../core/objects.ts';
import type { EmbeddingInput, EmbeddingRequest } from '../../inference/embedding.ts';
import type { Alias } from '../../inference/registry.ts';
import { optional, type ParseContext, splitBody } from '../parameters.ts';
import { arrayOf, integer, object, oneOf, string, text } from '../schema.ts';
import { invalidValueError, listUnknownFields, missingParameterError, validate } from '../validation.ts';

/** OpenAI's limits of a request: inputs, and tokens of all of them. */
const MAX_INPUTS = 2_048;
const MAX_TOKENS = 300_000;

const token = integer(0, 0xff_ffff);
const inputText = text({ min: 1 });
const tokens = arrayOf(token, 'integers', { min: 1 });
const inputTexts = arrayOf(inputText, 'strings', { min: 1, max: MAX_INPUTS });
const tokenArrays = arrayOf(tokens, 'arrays of integers', { min: 1, max: MAX_INPUTS });
const inputSchema = v.lazy((input) => {
  if (!Array.isArray(input)) return inputText;
  const [first] = input;
  if (typeof first === 'number') return tokens;
  return Array.isArray(first) ? tokenArrays : inputTexts;
});

const parameters = {
  model: string,
  input: inputSchema,
  dimensions: optional(integer(1, 65_536)),
  encoding_format: optional(oneOf(['float', 'base64'])),
  user: optional(string),
};
export const embeddingRequestSchema = object(parameters);

/** A parsed request, whose token arrays may have to be decoded. */
export interface ParsedEmbeddings {
  /** The model by the caller's name. */
  readonly model: string;
  /** Paths of the fields that have no effect. */
  readonly ignored: readonly string[];
  readonly request: EmbeddingRequest;
  /** The encoding to decode token arrays by. Undefined if there are none or the upstream decodes them. */
  readonly decodeBy: NonNullable<Alias['embeddings']>['tokens'];
}

/**
 * Parses the body of `POST /v1/embeddings`.
 * @throws LambentError with status 400 or 404 for any JSON value that is not a valid request
 */
export function parseEmbeddingRequest(body: unknown, { registry, tenant }: ParseContext): ParsedEmbeddings {
  const { name, alias, known } = splitBody(body, parameters, registry);
  if (known['input'] == null) throw missingParameterError('input');
  const valid = validate(embeddingRequestSchema, known);
  const { model, input, dimensions, encoding_format, user } = valid;
  const inputs = toInputs(input);
  checkTokens(inputs, alias);
  return {
    model,
    ignored: listUnknownFields(known, valid),
    request: {
      tenant,
      model: name,
      inputs,
      encoding: encoding_format ?? 'float',
      ...omitUndefined({ dimensions: dimensions ?? undefined, user: user ?? undefined }),
    },
    decodeBy: inputs.some((each) => typeof each !== 'string') ? alias.embeddings?.tokens : undefined,
  };
}

function toInputs(input: v.InferOutput<typeof inputSchema>): readonly EmbeddingInput[] {
  if (typeof input === 'string') return [input];
  return isTokens(input) ? [input] : input;
}

function isTokens(input: readonly (EmbeddingInput | number)[]): input is readonly number[] {
  return typeof input[0] === 'number';
}

/** Checks the limits of token arrays. The tokens of texts are known to the model alone. */
function checkTokens(inputs: readonly EmbeddingInput[], { embeddings }: Alias): void {
  const limit = embeddings?.maxInputTokens ?? Number.POSITIVE_INFINITY;
  let total = 0;
  for (const input of inputs) {
    if (typeof input === 'string') continue;
    total += input.length;
    if (input.length <= limit) continue;
    const message = `This model's maximum context length is ${limit} tokens, however you requested ${input.length} tokens (${input.length} in your prompt; 0 for the completion). Please reduce your prompt; or completion length.`;
    throw new LambentError('context_length_exceeded', message, { param: 'input' });
  }
  if (total <= MAX_TOKENS) return;
  throw invalidValueError('input', `Requested ${total} tokens, max ${MAX_TOKENS} tokens per request.`);
}
