import * as v from 'valibot';
import { cacheMarkFields } from '../cache-marks.ts';
import {
  hintParameters,
  maxTokens,
  moderation,
  optional,
  reasoningEffort,
  serviceTier,
  stream,
  temperature,
  topLogprobs,
  topP,
  verbosity,
} from '../parameters.ts';
import {
  arrayOf,
  boolean,
  decimal,
  functionName,
  ignored,
  integer,
  jsonObject,
  object,
  oneOf,
  recordOf,
  string,
  supportedIf,
  text,
  textOrParts,
  unsupported,
  variant,
  withoutEffect,
} from '../schema.ts';
import { describeJsonType } from '../validation.ts';

const textPart = object({ type: v.literal('text'), text: string, ...cacheMarkFields });
const imagePart = object({
  type: v.literal('image_url'),
  image_url: object({ url: string, detail: optional(oneOf(['auto', 'low', 'high', 'original'])) }),
  ...cacheMarkFields,
});
const filePart = object({
  type: v.literal('file'),
  file: object({
    file_data: optional(string),
    filename: optional(string),
    file_id: unsupported("is not supported. Use 'file_data' instead."),
  }),
  ...cacheMarkFields,
});
const refusalPart = object({ type: v.literal('refusal'), refusal: string });

const textParts = arrayOf(variant('type', { text: textPart }), 'objects', { min: 1 });
const userParts = arrayOf(
  variant('type', { text: textPart, image_url: imagePart, file: filePart }, ['input_audio']),
  'objects',
  {
    min: 1,
  },
);
const assistantParts = arrayOf(variant('type', { text: textPart, refusal: refusalPart }), 'objects');

/** Where Gemini's compatible API has the signature of a call. */
const extraContent = v.nullish(v.unknown());

const toolCall = object({
  id: text({ min: 1 }),
  extra_content: extraContent,
  type: v.literal('function'),
  function: object({
    // Models invent names, which callers send back.
    name: string,
    arguments: string,
    // Added by the official client's parse helpers to messages, which callers then send back.
    parsed_arguments: ignored,
  }),
});

const customToolCall = object({
  id: text({ min: 1 }),
  extra_content: extraContent,
  type: v.literal('custom'),
  custom: object({ name: string, input: string }),
});

const instructions = object({
  role: v.picklist(['system', 'developer']),
  content: textOrParts(textParts),
  name: optional(string),
  ...cacheMarkFields,
});

const message = variant(
  'role',
  {
    system: instructions,
    developer: instructions,
    user: object({
      role: v.literal('user'),
      content: textOrParts(userParts),
      name: optional(string),
      ...cacheMarkFields,
    }),
    assistant: object({
      role: v.literal('assistant'),
      content: optional(textOrParts(assistantParts)),
      refusal: optional(string),
      name: optional(string),
      tool_calls: optional(
        arrayOf(variant('type', { function: toolCall, custom: customToolCall }), 'objects', { max: 128 }),
      ),
      audio: unsupported('is not supported. Responses have no audio.'),
      function_call: unsupported("is not supported. Use 'tool_calls' instead."),
      // Lambent returns it, as DeepSeek and vLLM do, and callers send the messages back.
      reasoning_content: optional(string),
      // Other names of the same text, in histories that began elsewhere. Any other value of them is ignored.
      reasoning: v.nullish(v.unknown()),
      reasoning_details: v.nullish(v.unknown()),
      annotations: ignored,
      parsed: ignored,
      ...cacheMarkFields,
    }),
    // LangChain sends the tool's name here. OpenAI ignores it.
    tool: object({
      role: v.literal('tool'),
      content: textOrParts(textParts),
      tool_call_id: string,
      name: ignored,
      ...cacheMarkFields,
    }),
  },
  ['function'],
);

const tool = variant('type', {
  function: object({
    type: v.literal('function'),
    function: object({
      name: functionName,
      description: optional(string),
      parameters: optional(jsonObject),
      strict: optional(boolean),
      ...cacheMarkFields,
    }),
    ...cacheMarkFields,
  }),
  custom: object({
    type: v.literal('custom'),
    custom: object({
      name: functionName,
      description: optional(string),
      format: optional(
        variant('type', {
          text: object({ type: v.literal('text') }),
          grammar: object({
            type: v.literal('grammar'),
            grammar: object({ definition: string, syntax: oneOf(['lark', 'regex']) }),
          }),
        }),
      ),
    }),
  }),
});

const namedCustom = object({ type: v.literal('custom'), custom: object({ name: string }) });

const namedFunction = object({ type: v.literal('function'), function: object({ name: string }) });
const toolChoiceObject = variant('type', {
  function: namedFunction,
  custom: namedCustom,
  allowed_tools: object({
    type: v.literal('allowed_tools'),
    allowed_tools: object({
      mode: oneOf(['auto', 'required']),
      tools: arrayOf(variant('type', { function: namedFunction, custom: namedCustom }), 'objects', { min: 1 }),
    }),
  }),
});
const toolChoiceMode = oneOf(['none', 'auto', 'required']);

const responseFormat = variant('type', {
  text: object({ type: v.literal('text') }),
  json_object: object({ type: v.literal('json_object') }),
  json_schema: object({
    type: v.literal('json_schema'),
    json_schema: object({
      name: functionName,
      description: optional(string),
      schema: jsonObject,
      strict: optional(boolean),
    }),
  }),
});

const stopSequence = text({ min: 1 });
const stopSequences = arrayOf(stopSequence, 'strings', { max: 4 });

/**
 * The schema of every parameter of `POST /v1/chat/completions` in the official client. Parameters that don't change the
 * response are `ignored`; those that Lambent can't support are `unsupported`, or limited by `supportedIf`.
 */
export const chatParameters = {
  model: string,
  messages: arrayOf(message, 'objects', { min: 1 }),
  // Of effect only with the modality, which is refused.
  audio: withoutEffect(v.unknown()),
  frequency_penalty: optional(decimal(-2, 2)),
  function_call: optional(
    v.pipe(
      v.unknown(),
      supportedIf((choice) => choice === 'none', "is not supported. Use 'tool_choice' instead."),
    ),
  ),
  // Refused by `parseChatRequest`, except beside a `function_call` of `none`.
  functions: withoutEffect(v.unknown()),
  logit_bias: optional(
    recordOf<number>(1_024, (key, value) => {
      if (!/^\d+$/.test(key)) return 'invalid token id. Expected a non-negative integer.';
      if (typeof value !== 'number') return `expected a decimal, but got ${describeJsonType(value)} instead.`;
      return value >= -100 && value <= 100 ? undefined : `expected a value from -100 to 100, but got ${value} instead.`;
    }),
  ),
  logprobs: optional(boolean),
  max_completion_tokens: maxTokens,
  max_tokens: maxTokens,
  modalities: optional(
    v.pipe(
      arrayOf(oneOf(['text', 'audio']), 'strings', { min: 1 }),
      supportedIf((modalities) => !modalities.includes('audio'), "supports only ['text']."),
    ),
  ),
  moderation,
  n: optional(
    v.pipe(
      integer(1, 128),
      supportedIf((n) => n === 1, 'supports only 1. Send one request per completion.'),
    ),
  ),
  parallel_tool_calls: optional(boolean),
  prediction: ignored,
  presence_penalty: optional(decimal(-2, 2)),
  reasoning_effort: reasoningEffort,
  response_format: optional(responseFormat),
  seed: optional(integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)),
  service_tier: serviceTier(['scale', 'fast']),
  stop: optional(
    v.lazy((input) =>
      typeof input === 'string' ? stopSequence : Array.isArray(input) ? stopSequences : notStringOrStrings,
    ),
  ),
  store: optional(boolean),
  stream,
  stream_options: optional(object({ include_usage: optional(boolean), include_obfuscation: ignored })),
  temperature,
  tool_choice: optional(v.lazy((input) => (typeof input === 'string' ? toolChoiceMode : toolChoiceObject))),
  tools: optional(arrayOf(tool, 'objects', { max: 128 })),
  top_logprobs: topLogprobs,
  top_p: topP,
  verbosity,
  web_search_options: optional(jsonObject),
  ...hintParameters,
};

const notStringOrStrings = v.custom<never>(() => false, 'one of a string or array of strings');

export const chatRequestSchema = object(chatParameters);
export type ChatBody = v.InferOutput<typeof chatRequestSchema>;
export type ChatMessage = v.InferOutput<typeof message>;

/** Nested schemas, for the test that compares them with the official client's types. */
export const chatParts = { textPart, imagePart, filePart, refusalPart, toolCall, customToolCall, message, tool };
