import * as v from 'valibot';
import type { ModerationPart } from '../../inference/moderation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import { parseImageUrl } from '../images.ts';
import { optional } from '../parameters.ts';
import { arrayOf, object, string, variant } from '../schema.ts';
import { listUnknownFields, validate } from '../validation.ts';

/** The most texts of a request, each of which gets a result. */
const MAX_INPUTS = 128;
/** OpenAI's default. */
const DEFAULT_MODEL = 'omni-moderation-latest';

const part = variant('type', {
  text: object({ type: v.literal('text'), text: string }),
  image_url: object({ type: v.literal('image_url'), image_url: object({ url: string }) }),
});
const strings = arrayOf(string, 'strings', { min: 1, max: MAX_INPUTS });
const parts = arrayOf(part, 'objects', { min: 1, max: MAX_INPUTS });
const inputSchema = v.lazy((input) => {
  if (!Array.isArray(input)) return string;
  return typeof input[0] === 'string' ? strings : parts;
});
export const moderationRequestSchema = object({ input: inputSchema, model: optional(string) });

/** A parsed request. */
export interface ParsedModeration {
  /** The caller's name of the model. */
  readonly model: string;
  /** What gets one result each: a text, or the parts of a multi-modal input. */
  readonly inputs: readonly (readonly ModerationPart[])[];
  /** Paths of the fields that have no effect. */
  readonly ignored: readonly string[];
}

/**
 * Parses the body of `POST /v1/moderations`.
 * @throws LambentError with status 400 for any JSON value that is not a valid request
 */
export function parseModerationRequest(body: unknown, registry: ModelRegistry): ParsedModeration {
  const valid = validate(moderationRequestSchema, body);
  const { model, input } = valid;
  const texts = typeof input === 'string' ? [input] : input;
  const parts = texts.map((each, index): ModerationPart => {
    if (typeof each === 'string') return { type: 'text', text: each };
    if (each.type === 'text') return each;
    const { url } = each.image_url;
    const image = parseImageUrl(url, undefined, `input[${index}].image_url.url`, registry);
    return { type: 'image', url: 'url' in image ? image.url : url };
  });
  const isTogether = typeof texts[0] === 'object';
  return {
    model: model ?? DEFAULT_MODEL,
    inputs: isTogether ? [parts] : parts.map((each) => [each]),
    ignored: listUnknownFields(body, valid),
  };
}
