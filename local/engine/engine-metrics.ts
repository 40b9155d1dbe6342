import type { Engine } from './engine.ts';

/** Epoch seconds. Changes when the engine is restarted. */
const STARTED_AT = performance.timeOrigin / 1000;

/** Returns an engine's metrics in Prometheus' text format, under vLLM's names where vLLM has them. */
export function formatMetrics(engine: Engine, model: string): string {
  const { totals } = engine;
  const labels = `{model_name=${JSON.stringify(model)}}`;
  const samples: readonly (readonly ['gauge' | 'counter', string, number])[] = [
    ['gauge', `vllm:num_requests_running${labels}`, engine.running],
    ['gauge', `vllm:num_requests_waiting${labels}`, engine.waiting],
    ['gauge', `vllm:kv_cache_usage_perc${labels}`, engine.memoryUse],
    ['counter', `vllm:prompt_tokens_total${labels}`, totals.promptTokens],
    ['counter', `vllm:generation_tokens_total${labels}`, totals.generatedTokens],
    ['counter', `vllm:prefix_cache_queries_total${labels}`, totals.promptTokens],
    ['counter', `vllm:prefix_cache_hits_total${labels}`, totals.cachedTokens],
    ['counter', `vllm:num_preemptions_total${labels}`, totals.preemptions],
    ['counter', `lambent:requests_aborted_total${labels}`, engine.cancelled],
    ['counter', `lambent:tokens_generated_after_abort_total${labels}`, totals.generatedAfterCancel],
    ['gauge', 'process_start_time_seconds', STARTED_AT],
  ];
  return samples
    .map(([type, name, value]) => `# TYPE ${name.replace(/\{.*/, '')} ${type}\n${name} ${value}\n`)
    .join('');
}
