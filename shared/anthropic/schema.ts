import * as v from 'valibot';
import { isObject } from '../core/objects.ts';

/**
 * The schema of `POST /v1/messages`, betas included. Unknown fields and unknown kinds of blocks and tools are dropped:
 * clients send those of features that change no answer here. As in OpenAI's API, null means absent.
 */

const string = v.string('Input should be a valid string');
const optionalString = v.nullish(string);
const boolean = v.boolean('Input should be a valid boolean');
const object = <const T extends v.ObjectEntries>(entries: T) => v.object(entries, 'Input should be an object');
const integer = (min: number) =>
  v.pipe(
    v.custom<number>((input) => Number.isSafeInteger(input), 'Input should be a valid integer'),
    v.minValue(min, `Input should be greater than or equal to ${min}`),
  );
const fraction = v.pipe(
  v.number('Input should be a valid number'),
  v.minValue(0, 'Input should be greater than or equal to 0'),
  v.maxValue(1, 'Input should be less than or equal to 1'),
);
const array = <T extends v.GenericSchema>(item: T) => v.array(item, 'Input should be a valid list');
const oneOf = <const T extends readonly string[]>(values: T) =>
  v.picklist(values, `Input should be ${values.map((value) => `'${value}'`).join(', ')}`);

const cacheControl = v.nullish(object({ type: oneOf(['ephemeral']), ttl: v.nullish(oneOf(['5m', '1h'])) }));

/** An object of a kind that is not translated. */
const other = v.pipe(
  v.object({ type: string }, 'Input should be an object'),
  v.transform(() => ({ type: 'other' as const })),
);

/** An object whose `type` selects its schema. Any other type is `other`. */
function variant<const T extends Readonly<Record<string, v.GenericSchema>>>(options: T) {
  const schemas = new Map<string, T[keyof T]>();
  for (const kind in options) schemas.set(kind, options[kind]);
  const schema = v.lazy((input): T[keyof T] | typeof other => {
    const type = isObject(input) ? input['type'] : undefined;
    return (typeof type === 'string' ? schemas.get(type) : undefined) ?? other;
  });
  // For the description of the API.
  return Object.assign(schema, { options: [...schemas.values(), other] });
}

/** A string, or a list of blocks. */
function textOr<T extends v.GenericSchema>(block: T) {
  const blocks = array(block);
  return v.lazy((input) => (typeof input === 'string' ? string : blocks));
}

const text = object({ type: v.literal('text'), text: string, cache_control: cacheControl });
/** Whether the answer is to cite a document. Only a target that gets the caller's own body can do it. */
const citations = v.nullish(v.unknown());
const image = object({
  type: v.literal('image'),
  source: variant({
    base64: object({ type: v.literal('base64'), media_type: string, data: string }),
    url: object({ type: v.literal('url'), url: string }),
  }),
  cache_control: cacheControl,
});
const document = object({
  type: v.literal('document'),
  source: variant({
    base64: object({ type: v.literal('base64'), media_type: string, data: string }),
    text: object({ type: v.literal('text'), data: string }),
    content: object({ type: v.literal('content'), content: textOr(variant({ text, image })) }),
  }),
  title: optionalString,
  context: optionalString,
  citations,
  cache_control: cacheControl,
});
const searchResult = object({
  type: v.literal('search_result'),
  source: string,
  title: string,
  content: array(variant({ text })),
  citations,
  cache_control: cacheControl,
});
const toolReference = object({ type: v.literal('tool_reference'), tool_name: string });

const resultContent = textOr(
  variant({ text, image, document, search_result: searchResult, tool_reference: toolReference }),
);
const block = variant({
  text,
  image,
  document,
  search_result: searchResult,
  thinking: object({ type: v.literal('thinking'), thinking: string, signature: v.nullish(string, '') }),
  redacted_thinking: object({ type: v.literal('redacted_thinking'), data: string }),
  tool_use: object({
    type: v.literal('tool_use'),
    id: string,
    name: string,
    input: v.unknown(),
    cache_control: cacheControl,
  }),
  tool_result: object({
    type: v.literal('tool_result'),
    tool_use_id: string,
    content: v.nullish(resultContent, ''),
    is_error: v.nullish(boolean),
    cache_control: cacheControl,
  }),
  compaction: object({ type: v.literal('compaction'), content: optionalString, cache_control: cacheControl }),
});

const message = object({
  role: oneOf(['user', 'assistant', 'system']),
  // Only a system message may have none: it then changes settings that are not supported.
  content: v.nullish(textOr(block), ''),
  clear_at: optionalString,
});

const tool = object({
  /** Absent or `custom` for the caller's own tools, or the kind of one that Anthropic defines. */
  type: optionalString,
  name: optionalString,
  description: optionalString,
  input_schema: v.nullish(v.custom<Readonly<Record<string, unknown>>>(isObject, 'Input should be an object')),
  strict: v.nullish(boolean),
  cache_control: cacheControl,
});

const trigger = v.nullish(object({ type: string, value: integer(0) }));
const edit = variant({
  clear_tool_uses_20250919: object({
    type: v.literal('clear_tool_uses_20250919'),
    trigger,
    keep: trigger,
    clear_at_least: trigger,
    exclude_tools: v.nullish(array(string)),
    clear_tool_inputs: v.nullish(v.union([v.boolean(), array(string)], 'Input should be a boolean or a list')),
  }),
  clear_thinking_20251015: object({
    type: v.literal('clear_thinking_20251015'),
    keep: v.nullish(
      v.union(
        [v.literal('all'), v.object({ type: v.literal('all') }), v.object({ type: string, value: integer(0) })],
        "Input should be 'all' or a number of thinking turns",
      ),
    ),
  }),
});

const display = optionalString;
const jsonFormat = v.nullish(
  object({
    type: oneOf(['json_schema']),
    schema: v.custom<Readonly<Record<string, unknown>>>(isObject, 'Input should be an object'),
  }),
);
const EFFORTS = ['low', 'medium', 'high', 'xhigh', 'max'] as const;

/** The parameters that have an effect. */
export const messagesParameters = {
  model: string,
  messages: v.pipe(array(message), v.minLength(1, 'List should have at least 1 item after validation, not 0')),
  max_tokens: integer(1),
  system: v.nullish(textOr(variant({ text }))),
  temperature: v.nullish(fraction),
  top_p: v.nullish(fraction),
  top_k: v.nullish(integer(0)),
  stop_sequences: v.nullish(array(v.pipe(string, v.minLength(1, 'String should have at least 1 character')))),
  stream: v.nullish(boolean),
  metadata: v.nullish(object({ user_id: optionalString })),
  service_tier: v.nullish(oneOf(['auto', 'standard_only'])),
  tools: v.nullish(array(tool)),
  tool_choice: v.nullish(
    object({
      type: oneOf(['auto', 'any', 'tool', 'none']),
      name: optionalString,
      disable_parallel_tool_use: v.nullish(boolean),
    }),
  ),
  thinking: v.nullish(
    variant({
      enabled: object({ type: v.literal('enabled'), budget_tokens: integer(1_024), display }),
      disabled: object({ type: v.literal('disabled') }),
      adaptive: object({ type: v.literal('adaptive'), display }),
    }),
  ),
  output_config: v.nullish(object({ effort: v.nullish(oneOf(EFFORTS)), format: jsonFormat })),
  output_format: jsonFormat,
  cache_control: cacheControl,
  context_management: v.nullish(object({ edits: v.nullish(array(edit)) })),
};

export const messagesRequestSchema = object(messagesParameters);
/** Counting tokens needs no limit. */
export const countTokensSchema = object({ ...messagesParameters, max_tokens: v.nullish(integer(1), 1) });

export type MessagesBody = v.InferOutput<typeof messagesRequestSchema>;
export type MessageParam = MessagesBody['messages'][number];
export type Block = Exclude<MessageParam['content'], string>[number];
export type ResultBlock = Exclude<Extract<Block, { type: 'tool_result' }>['content'], string>[number];
export type ToolParam = NonNullable<MessagesBody['tools']>[number];
export type Edit = NonNullable<NonNullable<MessagesBody['context_management']>['edits']>[number];
export type CacheControl = v.InferOutput<typeof cacheControl>;
