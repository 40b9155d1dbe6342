import type { ResponseObject } from '../openai/responses/response.ts';
import type { ResponsesBody } from '../openai/responses/schema.ts';
import type { JobInput, JobOutput } from './ports.ts';

// What a record holds was written by this service and opened by the vault: it is told apart here, not validated again.

/** Whether an opened record is what a job was asked. */
export function isJobInput(body: unknown): body is JobInput {
  return isObject(body) && isObject(body['generation']) && 'body' in body;
}

/** Whether an opened record is what a job answered. */
export function isJobOutput(body: unknown): body is JobOutput {
  return isObject(body) && isObject(body['answer']);
}

/** Whether what a job was asked is a body of `POST /v1/responses`. */
export function isResponsesBody(body: unknown): body is ResponsesBody {
  return isObject(body) && typeof body['model'] === 'string' && 'input' in body;
}

/** Whether what a job answered is a response. */
export function isResponse(answer: unknown): answer is ResponseObject {
  return isObject(answer) && answer['object'] === 'response';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
