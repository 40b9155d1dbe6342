import * as v from 'valibot';
import {
  hintParameters,
  maxTokens,
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
  functionName,
  ignored,
  integer,
  jsonObject,
  object,
  oneOf,
  storedId,
  string,
  supportedIf,
  textOrParts,
  unsupported,
  variant,
} from '../schema.ts';
import { INCLUDES, SUPPORTED_INCLUDES } from './includes.ts';
import { inputItem } from './items.ts';

const tool = variant(
  'type',
  {
    function: object({
      type: v.literal('function'),
      name: functionName,
      description: optional(string),
      parameters: optional(jsonObject),
      strict: optional(boolean),
      allowed_callers: optional(
        v.pipe(
          arrayOf(oneOf(['direct', 'programmatic']), 'strings'),
          supportedIf((callers) => callers.includes('direct'), "supports only ['direct']."),
        ),
      ),
      async: optional(
        v.pipe(
          boolean,
          supportedIf((asynchronous) => !asynchronous, 'supports only false.'),
        ),
      ),
      defer_loading: optional(
        v.pipe(
          boolean,
          supportedIf((deferred) => !deferred, 'supports only false.'),
        ),
      ),
      output_schema: ignored,
    }),
  },
  [
    'apply_patch',
    'code_interpreter',
    'computer',
    'computer_use_preview',
    'custom',
    'file_search',
    'image_generation',
    'local_shell',
    'mcp',
    'namespace',
    'programmatic_tool_calling',
    'shell',
    'tool_search',
    'web_search',
    'web_search_2025_08_26',
    'web_search_preview',
    'web_search_preview_2025_03_11',
  ],
);

const namedFunction = object({ type: v.literal('function'), name: string });
const toolChoiceObject = variant(
  'type',
  {
    function: namedFunction,
    allowed_tools: object({
      type: v.literal('allowed_tools'),
      mode: oneOf(['auto', 'required']),
      tools: arrayOf(variant('type', { function: namedFunction }, ['custom', 'mcp', 'image_generation']), 'objects', {
        min: 1,
      }),
    }),
  },
  [
    'apply_patch',
    'code_interpreter',
    'computer',
    'computer_use',
    'computer_use_preview',
    'custom',
    'file_search',
    'image_generation',
    'mcp',
    'programmatic_tool_calling',
    'shell',
    'web_search_preview',
    'web_search_preview_2025_03_11',
  ],
);
const toolChoiceMode = oneOf(['none', 'auto', 'required']);

const format = variant('type', {
  text: object({ type: v.literal('text') }),
  json_object: object({ type: v.literal('json_object') }),
  json_schema: object({
    type: v.literal('json_schema'),
    name: functionName,
    description: optional(string),
    schema: jsonObject,
    strict: optional(boolean),
  }),
});

const include = v.pipe(
  oneOf(INCLUDES),
  supportedIf(
    (value) => SUPPORTED_INCLUDES.some((supported) => supported === value),
    `supports only ${SUPPORTED_INCLUDES.map((value) => `'${value}'`).join(' and ')}.`,
  ),
);

const summary = optional(oneOf(['auto', 'concise', 'detailed']));

const conversationObject = object({ id: storedId });

const inputItems = arrayOf(inputItem, 'objects', { min: 1 });

/**
 * The schema of every parameter of `POST /v1/responses` in the official client. Parameters that don't change the
 * response are `ignored`; those that Lambent can't support are `unsupported`, or limited by `supportedIf`.
 */
export const responsesParameters = {
  model: string,
  input: textOrParts(inputItems),
  access_programs: unsupported('is not supported.'),
  background: optional(boolean),
  context_management: unsupported('is not supported.'),
  conversation: optional(v.lazy((input) => (typeof input === 'string' ? storedId : conversationObject))),
  image: optional(
    object({
      context_compression: optional(
        v.pipe(
          oneOf(['auto', 'enabled', 'disabled']),
          supportedIf((value) => value !== 'enabled', "supports only 'auto' and 'disabled'."),
        ),
      ),
    }),
  ),
  include: optional(arrayOf(include, 'strings')),
  instructions: optional(string),
  max_output_tokens: maxTokens,
  // Limits calls of built-in tools, which Lambent doesn't have.
  max_tool_calls: optional(integer(1, Number.MAX_SAFE_INTEGER)),
  moderation: unsupported('is not supported.'),
  parallel_tool_calls: optional(boolean),
  previous_response_id: optional(storedId),
  prompt: unsupported('is not supported. Lambent stores no prompts.'),
  reasoning: optional(
    object({
      effort: reasoningEffort,
      summary,
      generate_summary: summary,
      context: optional(
        v.pipe(
          oneOf(['auto', 'current_turn', 'all_turns']),
          supportedIf((value) => value === 'auto', "supports only 'auto'."),
        ),
      ),
      mode: optional(
        v.pipe(
          string,
          supportedIf((mode) => mode === 'standard', "supports only 'standard'."),
        ),
      ),
    }),
  ),
  service_tier: serviceTier(['scale', 'fast', 'ultrafast']),
  store: optional(boolean),
  stream,
  stream_options: optional(object({ include_obfuscation: ignored })),
  temperature,
  text: optional(object({ format: optional(format), verbosity })),
  tool_choice: optional(v.lazy((input) => (typeof input === 'string' ? toolChoiceMode : toolChoiceObject))),
  tools: optional(arrayOf(tool, 'objects', { max: 128 })),
  top_logprobs: topLogprobs,
  top_p: topP,
  truncation: optional(oneOf(['disabled', 'auto'])),
  ...hintParameters,
};

export const responsesRequestSchema = object(responsesParameters);
export type ResponsesBody = v.InferOutput<typeof responsesRequestSchema>;

/** Nested schemas, for the test that compares them with the official client's types. */
export const responsesParts = { tool };
