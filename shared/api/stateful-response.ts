import type { HttpRequest } from '../access/route.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import type { ParsedResponsesBody } from '../openai/responses/request.ts';
import type { ApiState } from './api-state.ts';
import { createBackgroundResponse } from './background-response.ts';
import { createForegroundResponse } from './foreground-response.ts';
import type { StatefulCall } from './stateful-call.ts';

/**
 * Answers a `POST /v1/responses` that stores its response, refers to stored objects, or runs in the background. With an
 * idempotency key, the response's id is that of the operation, so that a repeated request finds it.
 * @throws LambentError as stateless requests do, and for stored objects that don't exist
 */
export async function createStatefulResponse(
  parsed: ParsedResponsesBody,
  request: HttpRequest,
  api: StatefulCall['api'],
  state: ApiState,
): Promise<HttpResponse> {
  const id = `resp_${request.operation?.id ?? api.ids()}`;
  const call = { id, createdAt: api.now(), parsed, request, api, state };
  return parsed.body.background ? createBackgroundResponse(call) : createForegroundResponse(call);
}
