import { formatSeconds } from './limit-errors.ts';
import type { LimitState } from './limit-state.ts';

/** The API whose clients read the headers. */
export type HeaderStyle = 'openai' | 'anthropic';

/**
 * Returns the headers that say what is left of a caller's limits.
 * @see https://platform.openai.com/docs/guides/rate-limits
 * @see https://platform.claude.com/docs/en/api/rate-limits
 */
export function encodeLimitHeaders(state: LimitState, style: HeaderStyle, now: number): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [kind, rate] of [
    ['requests', state.requests],
    ['tokens', state.tokens],
  ] as const) {
    if (rate === undefined) continue;
    if (style === 'openai') {
      headers[`x-ratelimit-limit-${kind}`] = String(rate.limit);
      headers[`x-ratelimit-remaining-${kind}`] = String(rate.remaining);
      headers[`x-ratelimit-reset-${kind}`] = formatSeconds(rate.resetMs);
    } else {
      headers[`anthropic-ratelimit-${kind}-limit`] = String(rate.limit);
      headers[`anthropic-ratelimit-${kind}-remaining`] = String(rate.remaining);
      headers[`anthropic-ratelimit-${kind}-reset`] = new Date(now + rate.resetMs).toISOString();
    }
  }
  return headers;
}
