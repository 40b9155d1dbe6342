import type { Tier } from '../../../gpu/registry/worker.ts';
import type { Fleet } from '../../registry.ts';
import type { FieldRefusal } from '../openai-compatible/refusals.ts';

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

/**
 * What vLLM says when it takes one of them not: its engine V0, which 0.11 no longer has, of a priority without
 * `--scheduling-policy priority` and of the salt (in a list of what it found invalid); its engine V1 of a priority at first. Current
 * versions ignore a priority, as SGLang does. Without the salt tenants could learn of each other, so that such an engine is asked
 * nothing.
 * @see https://github.com/vllm-project/vllm/blob/v0.8.5/vllm/engine/async_llm_engine.py
 */
export const ENGINE_REFUSALS: readonly FieldRefusal[] = [
  {
    field: 'priority',
    says: /^(Got priority -?\d+ but Priority scheduling is not enabled|V1 does not support priority)/,
    isNeeded: false,
  },
  {
    field: 'cache_salt',
    says: /^(\[\{'type': 'value_error', 'loc': \('body',\), 'msg': "Value error, )?Parameter 'cache_salt' is not supported/,
    isNeeded: true,
  },
];
