import { InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { type WarmEvent, type WarmResult, warmResultSchema } from './warm-event.ts';
import type { SendWarmEvent } from './warm-functions.ts';

/**
 * Calls functions through Lambda's Invoke API, the one door that lets a warm event in.
 * @param holdMs milliseconds each environment stays busy, so that calls made together don't share one
 */
export function createWarmEventSender(client: LambdaClient, holdMs: number): SendWarmEvent {
  const event: WarmEvent = { lambent: 'warm', holdMs };
  const Payload = new TextEncoder().encode(JSON.stringify(event));
  return async ({ functionName, qualifier }) => {
    const answer = await client.send(new InvokeCommand({ FunctionName: functionName, Qualifier: qualifier, Payload }));
    if (answer.FunctionError !== undefined)
      throw new LambentError('internal', `${functionName} failed: ${answer.FunctionError}`);
    return parseWarmAnswer(new TextDecoder().decode(answer.Payload), functionName);
  };
}

/** A buffered function's answer is JSON text inside a JSON string; a streaming one's is the text itself. */
function parseWarmAnswer(payload: string, functionName: string): WarmResult {
  const outer: unknown = JSON.parse(payload);
  const result = v.safeParse(warmResultSchema, typeof outer === 'string' ? JSON.parse(outer) : outer);
  if (!result.success) throw new LambentError('internal', `${functionName} did not answer the warm event as one`);
  return result.output;
}
