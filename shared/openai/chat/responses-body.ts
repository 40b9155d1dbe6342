import { LambentError } from '../../core/errors.ts';
import { classifyUnknownField } from '../../wire/unknown-fields.ts';
import { asksForCompaction } from '../context-management.ts';
import type { ParseContext } from '../parameters.ts';
import {
  includesEncryptedReasoning,
  parseResponsesBody,
  requireResolvedInput,
  toGenerationRequest,
} from '../responses/request.ts';
import { type ResponsesBody, responsesParameters } from '../responses/schema.ts';
import { object } from '../schema.ts';
import { invalidValueError, validate } from '../validation.ts';
import { type ChatRequest, parseChatRequest } from './request.ts';
import { chatParameters } from './schema.ts';

/**
 * Parses a body of `POST /v1/chat/completions` that has `input`. Cursor sends the body of `POST /v1/responses` there, with
 * `input` in place of `messages`, and expects a chat completion.
 * @throws LambentError with status 400 or 404 for any object that is not a valid request of either endpoint, and for a
 * mixture of both
 */
export function parseChatRequestWithInput(body: Readonly<Record<string, unknown>>, context: ParseContext): ChatRequest {
  if (body['messages'] == null) return parseAsResponse(body, context);
  if (!changesAnswer('input', body['input'])) return parseChatRequest(body, context);
  throw invalidValueError('input', "Mutually exclusive parameters: 'messages' and 'input' can not be used together.");
}

function parseAsResponse(chatBody: Readonly<Record<string, unknown>>, context: ParseContext): ChatRequest {
  const { stream_options: streamOptions } = validate(streamOptionsSchema, chatBody);
  rejectChatParameters(chatBody);
  const parsed = parseResponsesBody(chatBody, { registry: context.registry });
  const { body, streamed } = parsed;
  rejectState(body);
  const generation = toGenerationRequest(parsed, context, [], requireResolvedInput(body.input));
  return {
    model: body.model,
    body,
    stored: false,
    streamed,
    includeUsage: streamOptions?.include_usage ?? false,
    ignored: [...parsed.ignored.filter((path) => path !== 'stream_options.include_usage'), ...listIgnored(body)],
    // As in requests of the endpoint's own form.
    generation: { ...generation, reasoningSummary: true, omitsContinuations: true },
  };
}

const streamOptionsSchema = object({ stream_options: chatParameters.stream_options });

/** Rejects the chat parameters on which the answer depends and which a Responses body has under another name. */
function rejectChatParameters(body: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(body)) {
    if (!Object.hasOwn(chatParameters, name) || Object.hasOwn(responsesParameters, name)) continue;
    if (!changesAnswer(name, value)) continue;
    const message = `Unsupported parameter: '${name}' can not be used together with 'input'. A body with 'input' has the parameters of 'POST /v1/responses'.`;
    throw new LambentError('unsupported_parameter', message, { param: name });
  }
}

function changesAnswer(name: string, value: unknown): boolean {
  return classifyUnknownField(name, value, { passUnknown: false }) === 'refuse';
}

/** Rejects what refers to stored objects or makes one: a chat completion has no such state. */
function rejectState({ background, conversation, previous_response_id }: ResponsesBody): void {
  const used = Object.entries({ background: background || null, conversation, previous_response_id });
  const [param] = used.find(([, value]) => value != null) ?? [];
  if (param === undefined) return;
  const message = `Unsupported parameter: '${param}' is only supported by 'POST /v1/responses'.`;
  throw new LambentError('unsupported_parameter', message, { param });
}

/** Lists the valid parameters of responses that have no effect on a chat completion. */
function listIgnored(body: ResponsesBody): string[] {
  return [
    ...(body.store ? ['store'] : []),
    ...(body.truncation === 'auto' ? ['truncation'] : []),
    ...(asksForCompaction(body) ? ['context_management'] : []),
    ...(includesEncryptedReasoning(body) ? ['include'] : []),
  ];
}
