import type { HttpRequest } from '../access/route.ts';
import { computeFingerprint } from '../core/fingerprint.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import type { ParsedResponsesBody } from '../openai/responses/request.ts';
import type { ApiState } from './api-state.ts';
import { createBackgroundResponse } from './background-response.ts';
import { createForegroundResponse } from './foreground-response.ts';
import type { StatefulCall } from './stateful-call.ts';

/**
 * Answers a `POST /v1/responses` that stores its response, refers to stored objects, or runs in the background.
 * @throws LambentError as stateless requests do, and for stored objects that don't exist
 */
export async function createStatefulResponse(
  parsed: ParsedResponsesBody,
  request: HttpRequest,
  api: StatefulCall['api'],
  state: ApiState,
): Promise<HttpResponse> {
  const call = { id: createResponseId(parsed, request, api.ids), createdAt: api.now(), parsed, request, api, state };
  return parsed.body.background ? createBackgroundResponse(call) : createForegroundResponse(call);
}

/**
 * Creates the id of a response. With an idempotency key, the id of a background response is derived from the key and
 * the body. A repeated request then finds the job of the first request, even after a crash or while that request still
 * runs.
 */
function createResponseId(
  { body }: ParsedResponsesBody,
  { headers, principal }: HttpRequest,
  ids: () => string,
): string {
  const key = headers['idempotency-key'];
  if (key === undefined || !body.background) return `resp_${ids()}`;
  return `resp_${computeFingerprint([principal.tenant, key, body]).toString('hex').slice(0, 32)}`;
}
