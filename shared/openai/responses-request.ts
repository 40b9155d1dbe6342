import type { GenerationRequest, OutputFormat, Tool } from '../inference/generation.ts';
import { conversationKey } from './conversation-key.ts';
import { checkMaxTokens, checkStreamOptions, hintsOf, opened, present, type RequestContext } from './parameters.ts';
import { responsesMessages } from './responses-messages.ts';
import { type ResponsesBody, responsesParameters, responsesRequest } from './responses-schema.ts';
import { offeredTools, type RequestedChoice } from './tool-choice.ts';
import { validated } from './validation.ts';

/** A response that was asked for, and how it is to be written. */
export interface ResponsesRequest {
  readonly generation: GenerationRequest;
  /** What was asked, which the response repeats. */
  readonly body: ResponsesBody;
  readonly streamed: boolean;
  /** Whether reasoning items carry what the caller has to bring back. */
  readonly includeContinuations: boolean;
}

/**
 * Parses the body of `POST /responses`.
 * @throws LambentError of status 400 or 404, whatever JSON `body` is
 */
export function parseResponsesRequest(body: unknown, { registry, tenant }: RequestContext): ResponsesRequest {
  const { alias, known, unknown } = opened(body, responsesParameters, registry);
  const asked = validated(responsesRequest, known);
  const messages = responsesMessages(asked.instructions, asked.input, registry);
  const streamed = asked.stream ?? false;
  checkStreamOptions(asked.stream_options, streamed);
  checkMaxTokens(asked.max_output_tokens ?? undefined, alias, 'max_output_tokens');
  const includesLogprobs = asked.include?.includes('message.output_text.logprobs') ?? false;
  const wantsLogprobs = includesLogprobs || (asked.top_logprobs ?? 0) > 0;
  return {
    body: asked,
    streamed,
    includeContinuations: asked.include?.includes('reasoning.encrypted_content') ?? false,
    generation: {
      model: asked.model,
      messages,
      ...offeredTools((asked.tools ?? []).map(toolOf), choiceOf(asked.tool_choice)),
      parallelToolCalls: asked.parallel_tool_calls ?? true,
      format: formatOf(asked.text?.format),
      stop: [],
      ...present({
        maxOutputTokens: asked.max_output_tokens,
        temperature: asked.temperature,
        topP: asked.top_p,
        topLogprobs: wantsLogprobs ? (asked.top_logprobs ?? 0) : undefined,
        reasoningEffort: asked.reasoning?.effort,
        verbosity: asked.text?.verbosity,
        serviceTier: asked.service_tier,
      }),
      reasoningSummary: (asked.reasoning?.summary ?? asked.reasoning?.generate_summary) != null,
      conversationKey: conversationKey(tenant, asked.prompt_cache_key ?? undefined, messages),
      hints: hintsOf(asked),
      unknown,
      parameterNames: includesLogprobs ? { ...NAMES, topLogprobs: 'include' } : NAMES,
    },
  };
}

const NAMES = {
  messages: 'input',
  tools: 'tools',
  toolChoice: 'tool_choice',
  parallelToolCalls: 'parallel_tool_calls',
  format: 'text.format',
  maxOutputTokens: 'max_output_tokens',
  temperature: 'temperature',
  topP: 'top_p',
  topLogprobs: 'top_logprobs',
  reasoningEffort: 'reasoning.effort',
  verbosity: 'text.verbosity',
  serviceTier: 'service_tier',
} as const;

/**
 * A function is strict only when its caller says so. OpenAI makes one strict that doesn't say, where its schema
 * allows; since it may then not be, nobody relies on it.
 */
function toolOf({ name, description, parameters, strict }: NonNullable<ResponsesBody['tools']>[number]): Tool {
  return {
    name,
    ...present({ description }),
    parameters: parameters ?? { type: 'object', properties: {} },
    strict: strict ?? false,
  };
}

function choiceOf(choice: ResponsesBody['tool_choice']): RequestedChoice {
  if (choice === undefined || choice === null) return 'auto';
  if (typeof choice === 'string') return choice;
  if (choice.type === 'function') return { name: choice.name };
  return { mode: choice.mode, allowed: choice.tools.map(({ name }) => name) };
}

function formatOf(format: NonNullable<ResponsesBody['text']>['format']): OutputFormat {
  switch (format?.type) {
    case 'json_object':
      return { type: 'json' };
    case 'json_schema': {
      const { name, description, schema, strict } = format;
      return { type: 'jsonSchema', name, ...present({ description }), schema, strict: strict ?? false };
    }
    default:
      return { type: 'text' };
  }
}
