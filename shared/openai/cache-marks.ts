import * as v from 'valibot';
import { isObject } from '../core/objects.ts';
import type { CacheMark } from '../inference/generation.ts';

/**
 * The fields by which clients mark the end of a prefix that is worth caching: OpenAI's, and Anthropic's, which clients send
 * to any endpoint in front of Claude. They are hints, so any other value has no effect.
 */
export const cacheMarkFields = {
  prompt_cache_breakpoint: v.nullish(v.unknown()),
  cache_control: v.nullish(v.unknown()),
};

interface Marked {
  readonly prompt_cache_breakpoint?: unknown;
  readonly cache_control?: unknown;
}

/** Returns the mark that a part, message or tool has, to be spread into the internal one. */
export function toMark({ prompt_cache_breakpoint: breakpoint, cache_control: control }: Marked): { cache?: CacheMark } {
  if (isObject(control) && control['type'] === 'ephemeral') {
    const { ttl } = control;
    return { cache: ttl === '5m' || ttl === '1h' ? { ttl } : {} };
  }
  if (!isObject(breakpoint) || breakpoint['mode'] !== 'explicit') return {};
  // The longest time that other providers have.
  return { cache: breakpoint['ttl'] === '12h' ? { ttl: '1h' } : {} };
}
