import type { WireError } from './errors.ts';
import type { WireObject } from './wire.ts';

/** How an upstream refuses a field that OpenAI's API doesn't have. */
export interface FieldRefusal {
  readonly field: string;
  /** Matches the beginning of its message. The field's name alone proves nothing: upstreams quote callers' schemas. */
  readonly messagePattern: RegExp;
  /** True if no request may be sent without the field. A field that isn't required doesn't change the answer. */
  readonly isRequired: boolean;
}

const REFUSES_FIELD = /unsupported|not supported|unrecognized|unknown|unexpected|extra|not permitted|not allowed/i;

const OUTPUT_LIMITS = ['max_tokens', 'max_completion_tokens'] as const;

/**
 * Finds the field that an upstream refuses, among those that a request can omit or rename and those of `known`.
 * @param sent the body of the refused request
 * @param without names of the fields that it has refused before
 * @param known how it refuses fields that OpenAI's API doesn't have
 * @returns undefined if the error isn't about such a field
 */
export function findRefusedField(
  { status, param, message = '' }: WireError,
  sent: WireObject,
  without: readonly string[],
  known: readonly FieldRefusal[],
): Pick<FieldRefusal, 'field' | 'isRequired'> | undefined {
  if (status !== 400 && status !== 422) return undefined;
  const extra = known.find(
    ({ field, messagePattern }) => field in sent && (param === field || messagePattern.test(message)),
  );
  if (extra !== undefined) return extra;
  const said = `${param ?? ''} ${message}`;
  if ('stream_options' in sent && /stream_options|include_usage/.test(said))
    return { field: 'stream_options', isRequired: false };
  const limit = OUTPUT_LIMITS.find((name) => name in sent);
  const hasOther = !OUTPUT_LIMITS.some((name) => without.includes(name));
  const refusesLimit = limit !== undefined && REFUSES_FIELD.test(said) && new RegExp(`\\b${limit}\\b`).test(said);
  return refusesLimit && hasOther ? { field: limit, isRequired: false } : undefined;
}
