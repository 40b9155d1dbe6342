import { isObject } from '../core/objects.ts';
import { asksForCompaction } from '../openai/context-management.ts';
import type { ResponseObject } from '../openai/responses/response.ts';
import type { ResponsesBody } from '../openai/responses/schema.ts';

// Stored bodies were validated and sealed by this service, so these checks only tell their types apart.

/** True if a job's request body is a body of `POST /v1/responses`. */
export function isResponsesBody(body: unknown): body is ResponsesBody {
  return isObject(body) && typeof body['model'] === 'string' && 'input' in body;
}

/** True if a job's request asks for the compaction of a long context. */
export function needsCompaction(body: unknown): boolean {
  return isResponsesBody(body) && asksForCompaction(body);
}

/** True if a job's answer is a response. */
export function isResponse(answer: unknown): answer is ResponseObject {
  return isObject(answer) && answer['object'] === 'response';
}
