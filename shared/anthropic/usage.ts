import type { FinishReason, GenerationEvent, ServiceTier, Usage } from '../inference/generation.ts';

type Finish = Extract<GenerationEvent, { type: 'finish' }>;

/** Encodes token usage as Anthropic's object, whose `input_tokens` excludes what was read from or written to the cache. */
export function encodeUsage(usage: Usage | undefined, serviceTier?: ServiceTier) {
  const read = usage?.cachedInputTokens ?? 0;
  const written = usage?.cacheWriteTokens ?? 0;
  const hour = usage?.hourCacheWriteTokens ?? 0;
  return {
    input_tokens: Math.max(0, (usage?.inputTokens ?? 0) - read - written),
    cache_creation_input_tokens: written,
    cache_read_input_tokens: read,
    cache_creation: { ephemeral_5m_input_tokens: written - hour, ephemeral_1h_input_tokens: hour },
    output_tokens: usage?.outputTokens ?? 0,
    output_tokens_details: usage === undefined ? null : { thinking_tokens: usage.reasoningTokens },
    server_tool_use: null,
    service_tier: serviceTier === 'priority' ? ('priority' as const) : ('standard' as const),
    inference_geo: null,
    speed: null,
  };
}

/** Encodes the usage of a stream's end, which has the counts only. */
export function encodeDeltaUsage(usage: Usage | undefined) {
  const { cache_creation: _, service_tier: __, inference_geo: ___, speed: ____, ...counts } = encodeUsage(usage);
  return counts;
}

const STOP_REASONS = {
  stop: 'end_turn',
  length: 'max_tokens',
  toolCalls: 'tool_use',
  contentFilter: 'refusal',
} as const satisfies Record<FinishReason, string>;

/** Encodes how an answer ended. */
export function encodeStop({ reason, stopSequence }: Finish, isRefused: boolean) {
  const isSequence = reason === 'stop' && stopSequence !== undefined;
  const regular = isSequence ? 'stop_sequence' : STOP_REASONS[reason];
  return {
    stop_reason: isRefused && reason === 'stop' ? ('refusal' as const) : regular,
    stop_sequence: isSequence ? stopSequence : null,
    stop_details: null,
  };
}
