import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import { addOriginalChat } from '../openai/chat/original.ts';
import { parseChatRequest } from '../openai/chat/request.ts';
import type { ParseContext } from '../openai/parameters.ts';
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
  const { generation, rawInput, streamed, includeContinuations: continuations, isSealed, body } = request;
  for (const param of ['conversation', 'previous_response_id'] as const) {
    if (body[param] == null) continue;
    throw new LambentError('unsupported_parameter', `'${param}' is not supported in queue messages.`, { param });
  }
  const stored = body.store ?? true;
  const parsed = { body, generation, streamed, stored, continuations, ...(rawInput && { rawInput }) };
  return isSealed ? { ...parsed, context: {} } : parsed;
}

function parseQueuedChat(body: unknown, context: ParseContext): QueuedRequest {
  const { generation } = addOriginalChat(parseChatRequest(body, context), body, context.registry);
  // Completions over HTTP are never stored. A queued completion can only be retrieved from its job, so it is stored by
  // default.
  const stored = !(isObject(body) && body['store'] === false);
  // Streams of completions can't be resumed, because their events have no sequence numbers.
  return { body, generation, streamed: false, stored, continuations: false };
}
