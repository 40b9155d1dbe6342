import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import { parseChatRequest } from '../openai/chat/request.ts';
import type { ParseContext } from '../openai/parameters.ts';
import { parseResponsesRequest } from '../openai/responses/request.ts';
import type { Endpoint, ParseQueuedRequest, QueuedRequest } from './endpoints.ts';

/**
 * Parses the body of a request that came by queue.
 * @throws LambentError of status 400 or 404, whatever JSON `body` is
 */
export function parseQueuedRequest(endpoint: Endpoint, body: unknown, context: ParseContext): QueuedRequest {
  return PARSERS[endpoint](body, context);
}

const PARSERS: Readonly<Record<Endpoint, ParseQueuedRequest>> = {
  '/v1/responses': parseQueuedResponse,
  '/v1/chat/completions': parseQueuedChat,
};

function parseQueuedResponse(requestBody: unknown, context: ParseContext): QueuedRequest {
  const { generation, streamed, includeContinuations, body } = parseResponsesRequest(requestBody, context);
  for (const param of ['conversation', 'previous_response_id'] as const) {
    if (body[param] == null) continue;
    throw new LambentError('unsupported_parameter', `'${param}' is not supported in messages.`, { param });
  }
  return { body, generation, streamed, stored: body.store ?? true, continuations: includeContinuations };
}

function parseQueuedChat(body: unknown, context: ParseContext): QueuedRequest {
  const { generation } = parseChatRequest(body, context);
  // Over HTTP completions are not stored unless the caller asks for it. Here only the job leads to one, so it is stored
  // unless the caller refuses.
  const stored = !(isObject(body) && body['store'] === false);
  // A completion's stream can't be resumed: its events carry no numbers.
  return { body, generation, streamed: false, stored, continuations: false };
}
