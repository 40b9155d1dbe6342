import { InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { type WarmEvent, type WarmResult, warmResultSchema } from './warm-event.ts';
import type { SendWarmEvent } from './warm-functions.ts';

/**
 * Creates a function that sends a warm event through Lambda's Invoke API.
 * @param holdMs milliseconds for which each environment stays busy, so that simultaneous events reach different ones
 */
export function createWarmEventSender(client: LambdaClient, holdMs: number): SendWarmEvent {
  const event: WarmEvent = { lambent: 'warm', holdMs };
  const Payload = new TextEncoder().encode(JSON.stringify(event));
  return async ({ functionName, qualifier }) => {
    const response = await client.send(
      new InvokeCommand({ FunctionName: functionName, Qualifier: qualifier, Payload }),
    );
    if (response.FunctionError !== undefined)
      throw new LambentError('internal', `${functionName} failed: ${response.FunctionError}`);
    return parseWarmResult(new TextDecoder().decode(response.Payload), functionName);
  };
}

/**
 * Parses the result of a warm event. A buffered function returns it as JSON text inside a JSON string, a streaming one
 * as plain JSON text.
 */
function parseWarmResult(payload: string, functionName: string): WarmResult {
  const outer: unknown = JSON.parse(payload);
  const result = v.safeParse(warmResultSchema, typeof outer === 'string' ? JSON.parse(outer) : outer);
  if (!result.success)
    throw new LambentError('internal', `${functionName} returned no valid result for the warm event`);
  return result.output;
}
