import { LambentError } from '../core/errors.ts';
import { addOriginalChat } from '../openai/chat/original.ts';
import { parseChatRequest } from '../openai/chat/request.ts';
import type { ParseContext } from '../openai/parameters.ts';
import { storesAnswer } from '../openai/request-flags.ts';
import { parseResponsesRequest } from '../openai/responses/request.ts';
import type { Endpoint, ParseQueuedRequest, QueuedRequest } from './endpoints.ts';

/**
 * Parses the body of a queued request.
 * @throws LambentError with status 400 or 404 for every invalid JSON value
 */
export function parseQueuedRequest(endpoint: Endpoint, body: unknown, context: ParseContext): QueuedRequest {
  return PARSERS[endpoint](body, context);
}

const PARSERS: Readonly<Record<Endpoint, ParseQueuedRequest>> = {
  '/v1/responses': parseQueuedResponse,
  '/v1/chat/completions': parseQueuedChat,
};

function parseQueuedResponse(requestBody: unknown, context: ParseContext): QueuedRequest {
  const request = parseResponsesRequest(requestBody, context);
  const { generation, rawInput, streamed, stored, includeContinuations: continuations, isSealed, body } = request;
  for (const param of ['conversation', 'previous_response_id'] as const) {
    if (body[param] == null) continue;
    throw new LambentError('unsupported_parameter', `'${param}' is not supported in queue messages.`, { param });
  }
  const parsed = { body, generation, streamed, stored, continuations, ...(rawInput && { rawInput }) };
  return isSealed ? { ...parsed, context: {} } : parsed;
}

function parseQueuedChat(body: unknown, context: ParseContext): QueuedRequest {
  const { generation } = addOriginalChat(parseChatRequest(body, context), body, context.registry);
  // Unlike one over HTTP, a queued completion is stored by default, because it can be retrieved from its job only.
  const stored = storesAnswer(body, true, context.mayStore);
  // Streams of completions can't be resumed, because their events have no sequence numbers.
  return { body, generation, streamed: false, stored, continuations: false };
}
