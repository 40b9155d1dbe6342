import * as v from 'valibot';
import { type ConverseBody, converseRequest } from './converse-request.ts';
import { readConverseCall } from './read-converse.ts';
import { findRefusal } from './rules/all.ts';

/**
 * Validates a request's body: the shapes of Bedrock's API reference, then the rules of the model.
 * @returns the body, or the text of the ValidationException
 */
export function validateRequest(modelId: string, streamed: boolean, json: unknown): ConverseBody | string {
  const result = v.safeParse(converseRequest, json);
  if (!result.success) {
    const [issue] = result.issues;
    return `Value at '${v.getDotPath(issue) ?? 'body'}' failed to satisfy constraint: ${issue.message}`;
  }
  return findRefusal(readConverseCall(modelId, streamed, result.output))?.message ?? result.output;
}
