import { encodeJson } from '../shared/core/encode-json.ts';
import { parseJsonBody } from '../shared/core/json-body.ts';
import { getOpenAICompatibleCapabilities } from '../shared/inference/providers/openai-compatible/dialect.ts';
import { createRequestWriter } from '../shared/inference/providers/openai-compatible/request.ts';
import { parseModelRegistry } from '../shared/inference/registry.ts';
import { parseChatRequest } from '../shared/openai/chat/request.ts';
import { computeMedian } from '../test/measure/statistics.ts';
import { createAgentBody } from './targets/agent-requests.ts';
import { MODEL } from './targets/functions.ts';

/** The milliseconds of one stage of a chat request, for bodies of several sizes. */
export interface StageTimes {
  readonly label: string;
  readonly ms: readonly number[];
}

const RUNS = 300;
const TARGET = { provider: 'openai-compatible', model: MODEL, baseUrl: 'http://127.0.0.1/v1' } as const;

/** Measures the stages of a chat request that look at its whole body, each by itself. */
export function measureStages(sizes: readonly number[]): StageTimes[] {
  const columns = sizes.map((size) => measureSize(createAgentBody('chat/completions', size, MODEL, true)));
  return Object.keys(columns[0] ?? {}).map((label) => ({
    label,
    ms: columns.map((column) => column[label] ?? Number.NaN),
  }));
}

function measureSize(body: string): Record<string, number> {
  const registry = parseModelRegistry(JSON.stringify({ models: { [MODEL]: { targets: [TARGET] } } }), 'models');
  const [target] = registry.models[MODEL]?.targets ?? [];
  if (target?.provider !== 'openai-compatible') throw new Error('the model of the benchmark has no target');
  const write = createRequestWriter(target, {
    capabilities: getOpenAICompatibleCapabilities(target),
    maxOutputTokens: undefined,
    upstream: 'bench',
  });
  const parse = () => parseJsonBody({ body, isBase64Encoded: false }, 'application/json');
  const json = parse();
  const translate = () => parseChatRequest(json, { registry, tenant: 'bench' }).generation;
  const generation = translate();
  const wire = write(generation, true, []);
  return {
    'parse JSON, check depth and Unicode': measure(parse),
    'validate, translate to the internal request': measure(translate),
    'translate to the upstream’s request': measure(() => write(generation, true, [])),
    'encode JSON in UTF-8': measure(() => encodeJson(wire)),
  };
}

function measure(run: () => unknown): number {
  const times = Array.from({ length: 2 * RUNS }, () => {
    const startedAt = performance.now();
    run();
    return performance.now() - startedAt;
  });
  // The first half warms up the compilers.
  return computeMedian(times.slice(RUNS));
}
