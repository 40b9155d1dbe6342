import { SHORT_CALL_IDS } from './dialect.ts';
import type { WireError } from './errors.ts';
import { asObjects, asText, type WireObject } from './wire.ts';

/** How an upstream refuses a field that OpenAI's API doesn't have. */
export interface FieldRefusal {
  readonly field: string;
  /** Matches the beginning of its message. The field's name alone proves nothing: upstreams quote callers' schemas. */
  readonly messagePattern: RegExp;
  /** True if no request may be sent without the field. A field that isn't required doesn't change the answer. */
  readonly isRequired: boolean;
}

/** Stands for the reasoning in assistant messages, which strict upstreams refuse, among the names of refused fields. */
export const MESSAGE_REASONING = 'messages[].reasoning';
/** Stands for ids of tool calls that an upstream refuses. They are sent as short ones instead. */
export const CALL_IDS = 'messages[].tool_calls[].id';

/** Stands for system messages inside a conversation, which some chat templates refuse. They go to the front instead. */
export const SYSTEM_MESSAGES = 'messages[].role';

/** The templates of Qwen 3.5 and others. @see https://huggingface.co/Qwen ("System message must be at the beginning.") */
const REFUSES_SYSTEM =
  /system (message|prompt|role)\b.*\b(begin|first|start|once|only)|only .*\bsystem (message|prompt)/is;

const REFUSES_REASONING = /\breasoning(_content|_details)?\b|\bthinking\b/;
const REFUSES_CALL_ID =
  /tool.?call.?ids?\b.*(length|alphanumeric|a-z)|tool_calls\S*[._]id\b.*(length|pattern|too long)|tool_call_id\b.*(length|pattern|too long)/is;

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
  if (hasReasoning(sent) && REFUSES_REASONING.test(said) && (REFUSES_FIELD.test(said) || /does not match/i.test(said)))
    return { field: MESSAGE_REASONING, isRequired: false };
  if (!without.includes(CALL_IDS) && hasLongIds(sent) && REFUSES_CALL_ID.test(said))
    return { field: CALL_IDS, isRequired: false };
  if (!without.includes(SYSTEM_MESSAGES) && hasLaterSystemMessage(sent) && REFUSES_SYSTEM.test(said))
    return { field: SYSTEM_MESSAGES, isRequired: false };
  const limit = OUTPUT_LIMITS.find((name) => name in sent);
  const hasOther = !OUTPUT_LIMITS.some((name) => without.includes(name));
  const refusesLimit = limit !== undefined && REFUSES_FIELD.test(said) && new RegExp(`\\b${limit}\\b`).test(said);
  return refusesLimit && hasOther ? { field: limit, isRequired: false } : undefined;
}

function hasReasoning({ messages }: WireObject): boolean {
  return asObjects(messages).some(
    (message) =>
      'reasoning_content' in message ||
      'reasoning' in message ||
      'reasoning_details' in message ||
      asObjects(message['content']).some(({ type }) => type === 'thinking'),
  );
}

function hasLaterSystemMessage({ messages }: WireObject): boolean {
  return asObjects(messages).some(({ role }, index) => index > 0 && role === 'system');
}

function hasLongIds({ messages }: WireObject): boolean {
  return asObjects(messages)
    .flatMap((message) => asObjects(message['tool_calls']))
    .some(({ id }) => !SHORT_CALL_IDS.pattern.test(asText(id) ?? ''));
}
