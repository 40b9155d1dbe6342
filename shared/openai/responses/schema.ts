import * as v from 'valibot';
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
  withoutEffect,
} from '../schema.ts';
import { INCLUDES } from './includes.ts';
import { inputItem } from './items.ts';
import { toolChoice, tools } from './tools.ts';

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

const summary = optional(oneOf(['auto', 'concise', 'detailed']));

const conversationObject = object({ id: storedId });

/** Entries of other types have no effect. */
const contextManagement = object({
  type: string,
  compact_threshold: optional(integer(1_000, Number.MAX_SAFE_INTEGER)),
});

const inputItems = arrayOf(inputItem, 'objects', { min: 1 });

/**
 * The schema of every parameter of `POST /v1/responses` in the official client. Parameters that don't change the
 * response are `ignored`; those that Lambent can't support are `unsupported`, or limited by `supportedIf`.
 */
export const responsesParameters = {
  model: string,
  // Before `input`, which a request with a prompt needs not have at OpenAI.
  prompt: unsupported('is not supported. Lambent stores no prompts.'),
  input: textOrParts(inputItems),
  // `standard` asks for no program.
  access_programs: optional(
    object({
      cyber: optional(
        v.pipe(
          oneOf(['standard', 'daybreak_blue', 'daybreak_red']),
          supportedIf((program) => program === 'standard', "supports only 'standard'."),
        ),
      ),
    }),
  ),
  background: optional(boolean),
  // A job begins as soon as it can, so that it ends within any window.
  background_options: withoutEffect(
    object({ completion_window: optional(oneOf(['soonest', '2h', '8h'])), continuation_id: optional(string) }),
  ),
  context_management: optional(arrayOf(contextManagement, 'objects')),
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
  // Values for tools and items that Lambent doesn't have ask for nothing.
  include: optional(arrayOf(oneOf(INCLUDES), 'strings')),
  instructions: optional(string),
  max_output_tokens: maxTokens,
  // Limits calls of built-in tools, which Lambent doesn't have.
  max_tool_calls: optional(integer(0, Number.MAX_SAFE_INTEGER)),
  moderation,
  parallel_tool_calls: optional(boolean),
  previous_response_id: optional(storedId),
  reasoning: optional(
    object({
      effort: reasoningEffort,
      summary,
      generate_summary: summary,
      context: optional(oneOf(['auto', 'current_turn', 'all_turns'])),
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
  tool_choice: optional(toolChoice),
  tools: optional(tools),
  top_logprobs: topLogprobs,
  top_p: topP,
  truncation: optional(oneOf(['disabled', 'auto'])),
  ...hintParameters,
};

export const responsesRequestSchema = object(responsesParameters);
export type ResponsesBody = v.InferOutput<typeof responsesRequestSchema>;
