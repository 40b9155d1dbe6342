import {
  type BedrockRuntimeClient,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from '@aws-sdk/client-bedrock-runtime';
import { encodeJson } from '../../../core/encode-json.ts';
import { isObject, omitUndefined } from '../../../core/objects.ts';
import type { FinishReason, GenerationEvent, Usage } from '../../generation.ts';
import { toFinishReason } from './answer.ts';
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
  const end = new EndReader();
  end.read({ type: 'message_delta', usage: event['usage'], delta: event });
  yield { type: 'native', event };
  yield end.finish();
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
  const end = new EndReader();
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
  yield end.finish();
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

/** Reads from native events how the answer ended, for the metrics. */
class EndReader {
  #usage: Fields = {};
  #reason: FinishReason | undefined;
  #isComplete = false;

  /** True if the last event has been read. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  read(event: Fields): void {
    const message = event['message'];
    const usage = isObject(message) ? message['usage'] : event['usage'];
    // The counts of a later event are cumulative, and some may be null.
    if (isObject(usage)) {
      const counts = Object.fromEntries(Object.entries(usage).filter(([, value]) => value != null));
      this.#usage = { ...this.#usage, ...counts };
    }
    const { type, delta } = event;
    if (type === 'message_delta' && isObject(delta) && typeof delta['stop_reason'] === 'string')
      this.#reason = toFinishReason(delta['stop_reason']);
    if (type === 'message_stop') this.#isComplete = this.#reason !== undefined;
  }

  finish(): GenerationEvent {
    return { type: 'finish', reason: this.#reason ?? 'stop', usage: this.#toUsage() };
  }

  #toUsage(): Usage {
    const count = (name: string): number => Number(this.#usage[name] ?? 0);
    const written = count('cache_creation_input_tokens');
    const byTtl = this.#usage['cache_creation'];
    const hour = isObject(byTtl) ? Number(byTtl['ephemeral_1h_input_tokens'] ?? 0) : 0;
    const details = this.#usage['output_tokens_details'];
    return {
      inputTokens: count('input_tokens') + count('cache_read_input_tokens') + written,
      cachedInputTokens: count('cache_read_input_tokens'),
      cacheWriteTokens: written,
      hourCacheWriteTokens: hour,
      outputTokens: count('output_tokens'),
      reasoningTokens: isObject(details) ? Number(details['thinking_tokens'] ?? 0) : 0,
    };
  }
}
