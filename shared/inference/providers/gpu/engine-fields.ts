import type { Tier } from '../../../gpu/registry/worker.ts';
import type { Fleet } from '../../registry.ts';
import type { FieldRefusal } from '../openai-compatible/refused-fields.ts';

/** The scheduling values that an engine gets with a request. OpenAI's API has no fields for them. */
export interface EngineFieldValues {
  readonly tier: Tier;
  /** Separates a tenant's prompts from other tenants' prompts in the engine's prefix cache. */
  readonly cacheSalt: string;
}

/**
 * Returns the extra request fields for an engine. vLLM runs lower priorities first and refuses any priority other than
 * 0 without `--scheduling-policy priority`. SGLang runs higher priorities first with `--enable-priority-scheduling`,
 * and preempts a running request if the difference is 10 or more. The priorities here differ by 1, so they preempt no
 * request that has a slot. llama.cpp has neither field; with `cache_prompt` it keeps a slot's last prompt in its cache.
 * @see https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
 * @see https://docs.sglang.ai/advanced_features/server_arguments.html
 * @see https://github.com/ggml-org/llama.cpp/tree/master/tools/server
 */
export function toEngineFields(
  engine: Fleet['engine'],
  { tier, cacheSalt }: EngineFieldValues,
): Record<string, unknown> {
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
 * The errors by which vLLM refuses these fields. Its engine V0 (removed in 0.11) refuses a priority without
 * `--scheduling-policy priority`, and the salt within a list of validation errors; the first versions of engine V1
 * refuse a priority. Current versions of vLLM and SGLang ignore a priority that they can't use. Without the salt,
 * tenants could learn about each other from the cache, so an engine that refuses it gets no requests.
 * @see https://github.com/vllm-project/vllm/blob/v0.8.5/vllm/engine/async_llm_engine.py
 */
export const ENGINE_REFUSALS: readonly FieldRefusal[] = [
  {
    field: 'priority',
    messagePattern: /^(Got priority -?\d+ but Priority scheduling is not enabled|V1 does not support priority)/,
    isRequired: false,
  },
  {
    field: 'cache_salt',
    messagePattern:
      /^(\[\{'type': 'value_error', 'loc': \('body',\), 'msg': "Value error, )?Parameter 'cache_salt' is not supported/,
    isRequired: true,
  },
];
