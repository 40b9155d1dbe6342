import { isObject, omitUndefined } from '../core/objects.ts';
import type { FinishReason, GenerationEvent, ServiceTier, Usage } from './generation.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Reads how an answer ended, and its usage, from native events of Anthropic's Messages API. */
export class MessageEnding {
  #usage: Fields = {};
  #reason: FinishReason | undefined;
  #isComplete = false;

  /** True if the last event has been read. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Reads an event of a stream. */
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

  /** Reads a whole message, the answer of a call that isn't streamed. */
  readMessage(message: Fields): void {
    this.read({ type: 'message_delta', usage: message['usage'], delta: message });
    this.#isComplete = this.#reason !== undefined;
  }

  /**
   * Returns the last event.
   * @param reportedTier the service tier that the provider reports outside the message, if it does
   */
  finish(reportedTier?: ServiceTier): GenerationEvent {
    const serviceTier = reportedTier ?? SERVICE_TIERS.get(this.#usage['service_tier']);
    return {
      type: 'finish',
      reason: this.#reason ?? 'stop',
      usage: this.#toUsage(),
      ...omitUndefined({ serviceTier }),
    };
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

/** The service tiers by their names at Anthropic. Batches, which have a tier of their own, answer no single calls. */
const SERVICE_TIERS: ReadonlyMap<unknown, ServiceTier> = new Map([
  ['standard', 'default'],
  ['priority', 'priority'],
]);

/** Translates a stop reason of Anthropic's Messages API or of Bedrock's Converse. */
export function toFinishReason(stopReason: string): FinishReason {
  switch (stopReason) {
    case 'tool_use':
      return 'toolCalls';
    case 'max_tokens':
    // The answer reached the end of the context window, which is a length limit, too.
    case 'model_context_window_exceeded':
      return 'length';
    case 'guardrail_intervened':
    case 'content_filtered':
    // Claude's own classifiers stopped the answer.
    case 'refusal':
      return 'contentFilter';
    default:
      return 'stop';
  }
}
