import type { Tier } from '../../../fleet/worker.ts';
import type { Fleet } from '../../registry.ts';

/** What a request tells its engine beyond OpenAI's API: whose turn it is, and whose cache. */
export interface EngineFields {
  readonly tier: Tier;
  /** Keeps a tenant's prompts apart from others' in the engine's prefix cache. */
  readonly cacheSalt: string;
}

/**
 * The fields in the words of each engine. vLLM runs lower priorities first and refuses any but 0 without
 * `--scheduling-policy priority`; SGLang runs higher ones first, by `--enable-priority-scheduling`, and lets one preempt
 * another from a difference of 10 on, which is not wanted: what has a slot may finish. llama.cpp has neither; it keeps a
 * slot's last prompt if asked to.
 * @see https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
 * @see https://docs.sglang.ai/advanced_features/server_arguments.html
 * @see https://github.com/ggml-org/llama.cpp/tree/master/tools/server
 */
export function engineFields(engine: Fleet['engine'], { tier, cacheSalt }: EngineFields): Record<string, unknown> {
  const isInteractive = tier === 'interactive';
  switch (engine) {
    case 'vllm':
      return { priority: isInteractive ? 0 : 1, cache_salt: cacheSalt };
    case 'sglang':
      return { priority: isInteractive ? 1 : 0, cache_salt: cacheSalt };
    case 'llama.cpp':
      return { cache_prompt: true };
    case 'other':
      return {};
  }
}
