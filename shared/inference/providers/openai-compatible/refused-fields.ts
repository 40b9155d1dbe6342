import type { WireError } from './errors.ts';
import type { WireObject } from './wire.ts';

/** How an upstream refuses a field that OpenAI's API doesn't have. */
export interface FieldRefusal {
  readonly field: string;
  /** The beginning of what it says then. Its name somewhere in a text means nothing: upstreams quote callers' schemas. */
  readonly messagePattern: RegExp;
  /** Whether nothing may be asked without it. What is not needed changes no answer. */
  readonly isRequired: boolean;
}

const REFUSES_FIELD = /unsupported|not supported|unrecognized|unknown|unexpected|extra|not permitted|not allowed/i;

const OUTPUT_LIMITS = ['max_tokens', 'max_completion_tokens'] as const;

/**
 * The field that an upstream refuses, where a request may do without it or call it otherwise, or should not have been refused.
 * @param sent the body that it answered
 * @param without names of fields that it has refused before
 * @param known how it refuses fields that OpenAI's API doesn't have
 * @returns undefined when nothing of the kind can be told from the error
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
