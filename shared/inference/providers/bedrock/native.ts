import {
  type BedrockRuntimeClient,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from '@aws-sdk/client-bedrock-runtime';
import { encodeJson } from '../../../core/encode-json.ts';
import { isObject, omitUndefined } from '../../../core/objects.ts';
import type { GenerationEvent } from '../../generation.ts';
import { MessageEnding } from '../../message-ending.ts';
import { toServiceTier } from './answer.ts';
import { bedrockError, incompleteStreamError, wasAccepted } from './errors.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A call of Claude in the format of its own API. */
export interface NativeCall {
  readonly modelId: string;
  readonly body: Fields;
  readonly serviceTier: 'default' | 'flex' | 'priority' | undefined;
}

/**
 * Sends the call by InvokeModel and yields the answer as one native event.
 * @throws UpstreamError as a Converse call
 */
export async function* invokeBuffered(
  client: BedrockRuntimeClient,
  call: NativeCall,
  abortSignal: AbortSignal,
): AsyncGenerator<GenerationEvent> {
  const output = await client.send(new InvokeModelCommand(toInput(call)), { abortSignal }).catch((thrown: unknown) => {
    throw bedrockError(thrown, false);
  });
  const event = parse(output.body);
  const end = new MessageEnding();
  end.readMessage(event);
  if (!end.isComplete) throw incompleteStreamError();
  yield { type: 'native', event };
  yield end.finish(toServiceTier(output.serviceTier));
}

/**
 * Sends the call by InvokeModelWithResponseStream and yields the stream's events. The first ones say nothing about the
 * answer, so they wait for the next: until then, another target can be tried.
 * @throws UpstreamError as a Converse call
 */
export async function* invokeStreamed(
  client: BedrockRuntimeClient,
  call: NativeCall,
  abortSignal: AbortSignal,
): AsyncGenerator<GenerationEvent> {
  const command = new InvokeModelWithResponseStreamCommand(toInput(call));
  const output = await client.send(command, { abortSignal }).catch((thrown: unknown) => {
    throw bedrockError(thrown, wasAccepted(thrown));
  });
  if (!output.body) throw incompleteStreamError();
  const end = new MessageEnding();
  const waiting: Fields[] = [];
  try {
    for await (const { chunk } of output.body) {
      if (chunk?.bytes === undefined) continue;
      // Bedrock adds its own metrics to the last event.
      const { 'amazon-bedrock-invocationMetrics': _, ...event } = parse(chunk.bytes);
      if (event['type'] === 'error') throw incompleteStreamError();
      end.read(event);
      waiting.push(event);
      if (event['type'] === 'message_start' || event['type'] === 'ping') continue;
      for (const each of waiting.splice(0)) yield { type: 'native', event: each };
    }
  } catch (thrown) {
    throw bedrockError(thrown, true);
  }
  if (!end.isComplete) throw incompleteStreamError();
  yield end.finish(toServiceTier(output.serviceTier));
}

function toInput({ modelId, body, serviceTier }: NativeCall) {
  return {
    modelId,
    contentType: 'application/json',
    accept: 'application/json',
    body: encodeJson(body),
    ...omitUndefined({ serviceTier }),
  };
}

function parse(bytes: Uint8Array): Fields {
  const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
  return isObject(value) ? value : {};
}
