import { STEP_MODELS } from '../../local/engine/step-model.ts';
import { PLACEMENT_SETTINGS } from '../../shared/gpu/placement/settings.ts';
import { GOOD_SHARE } from '../../test/simulation/placement/capacity.ts';
import { TARGETS } from '../../test/simulation/placement/measures.ts';
import type { Capacities, Findings } from '../../test/simulation/placement/plan.ts';
import { HASHED_BLOCKS } from '../../test/simulation/placement/policies.ts';
import { ENGINE, type RunResult, TABLE_LATENCY } from '../../test/simulation/placement/run.ts';
import { POLICIES, type PolicyName } from '../../test/simulation/placement/simulate.ts';
import { BLOCK_TOKENS } from '../../test/simulation/placement/trace.ts';
import { type Budget, type Chart, formatNumber, type Report, type Table } from '../report/report.ts';
import type { Interference } from './interference.ts';

/** Budgets: Lambent's capacity on a trace must be at least `limit` times that of another policy. */
const BUDGETS: readonly { readonly trace: string; readonly against: PolicyName; readonly limit: number }[] = [
  { trace: 'conversation', against: 'round-robin', limit: 2.5 },
  { trace: 'conversation', against: 'least-connections', limit: 1.4 },
  { trace: 'conversation', against: 'perfect-index', limit: 0.97 },
  // Equal within the precision of a capacity, one percent.
  { trace: 'azure', against: 'least-tokens', limit: 0.99 },
];

const NAMES: Readonly<Record<PolicyName, string>> = {
  'round-robin': 'round robin',
  random: 'random',
  'two-choices': 'two choices',
  'least-connections': 'least connections, exact',
  'least-tokens': 'least tokens, exact',
  'bounded-hashing': 'consistent hashing, bounded loads',
  'llm-d': 'llm-d’s weights, exact index',
  lambent: 'Lambent',
  'perfect-index': 'Lambent’s score, perfect index',
};

/** Returns a report on all traces, and on bulk work and chat on the first trace. */
export function toReport(
  studies: readonly Findings[],
  interference: readonly Interference[],
  interferenceScale: number,
): Report {
  return {
    name: 'placement',
    title: 'Placement on GPU workers, simulated',
    method,
    tables: [
      ...studies.flatMap(toTables),
      toInterferenceTable(interference, interferenceScale, studies[0]?.trace ?? ''),
    ],
    budgets: studies.flatMap(toBudgets),
    charts: [toCapacityChart(studies), ...studies.map(toCurveChart)],
    limits,
    data: {
      studies: studies.map((study) => ({
        ...study,
        capacities: Object.fromEntries(study.capacities),
        scaledCapacities: Object.fromEntries(study.scaledCapacities),
        ...(study.unjittered === undefined ? {} : { unjittered: Object.fromEntries(study.unjittered) }),
        nearCapacity: { ...study.nearCapacity, results: Object.fromEntries(study.nearCapacity.results) },
        fleets: study.fleets.map(({ workers, capacities }) => ({
          workers,
          capacities: Object.fromEntries(capacities),
        })),
      })),
      interference,
    },
  };
}

const { h100 } = STEP_MODELS;

const method = [
  '**Every figure is simulated**; no GPU was used. Lambent’s policy runs the deployed code of `shared/gpu/` (placement, leases, directory, heartbeats, wait queue) on virtual time and an in-memory table. The workers are the engine of `local/engine/`: continuous batching, chunked prefill, an LRU prefix cache, and preemption when memory runs out. The same code, traces and seeds give the same figures on every machine.',
  `A step of an engine takes max(${h100.memoryBaseMs} + ${h100.memoryMsPerToken}·n, ${h100.computeBaseMs} + ${h100.computeMsPerToken}·n) ms + ${h100.cacheReadUsPerToken} µs per cached token read + ${h100.attentionNsPerHalfPair} ns·Σ(2k·done + k²) on an H100 with Llama 3 8B and room for ${formatNumber(h100.cacheTokens)} tokens; \`local/engine/step-model.ts\` gives the source. A step takes ${formatNumber(ENGINE.stepTokens)} tokens, and an engine runs ${ENGINE.maxSequences} sequences. A request to the table takes ${TABLE_LATENCY.leastMs} to ${TABLE_LATENCY.mostMs} ms, so that concurrent decisions don’t see each other, as in DynamoDB. A worker has slots for twice as many of the trace’s requests as its memory holds at their full length, and at most 1.5 times the engine’s concurrent sequences. A request without a slot waits outside the engine, 10 s at most.`,
  `All other policies know the exact state at the moment of the decision and decide in no time, which favours them: they never decide on stale counts. Least tokens counts prompts without a first token. Consistent hashing hashes a prompt’s first ${formatNumber(HASHED_BLOCKS * BLOCK_TOKENS)} tokens, its best setting, and uses KubeAI’s bound of 1.25 times the mean load. llm-d is its router’s default configuration: prefix 3, free memory 2, queue 2. The perfect index is Lambent’s score on the actual contents of caches and queues. Lambent does not know the length of an answer in advance, as in production.`,
  `An answer is good when its first token arrives within ${TARGETS.firstTokenMs / 1000} s and its other tokens take at most ${TARGETS.perTokenMs} ms each on average. By the length-scaled target, the first token must arrive within ${TARGETS.scaled.ms / 1000} s plus ${TARGETS.scaled.times} times the time that the prompt takes alone on an idle worker. A refused request is not good. **Capacity** is the highest arrival rate, as a multiple of the trace’s, at which ${100 * GOOD_SHARE}% of answers are good. The longest prompts of the conversation trace exceed 5 s even alone.`,
  '“conversation” is Mooncake’s trace (`conversation_trace.jsonl` of its repository; 12,031 requests in an hour, 12,000 prompt tokens on average, 37% of them seen before), with its times spread over the 3 s to which they are rounded. “azure” is Azure’s conversation trace of 2023 (`AzureLLMInferenceTrace_conv.csv` of AzurePublicDataset; 19,366 requests, 1,150 tokens, no prefixes). “synthetic” is generated by `synthetic.ts`: conversations of twelve applications that grow turn by turn, in bursts. All requests belong to one tenant, and no answer is part of a later prompt’s prefix. Fleets of more than eight workers replay several copies of a trace at once, each from a different position and with its own prefixes, and at most twice its requests in total: a fleet of 128 sees an eighth of the hour.',
];

const limits = [
  `**Variants tried.** The original score (pending + uncached tokens + 500 per lease) reached 95% of the perfect index’s capacity. Other requests’ prompts count in full until their first token, so a worker with the prefix looks busier than it is: weighting the request’s own uncached tokens by ${PLACEMENT_SETTINGS.uncachedWeight} gained 1 to 2% (2 gained less, 5 no more). The weight helps a perfect index too, which uses the same weight here. Keeping directory entries for ${PLACEMENT_SETTINGS.directoryMs / 60_000} minutes instead of an hour gained 1%: a busy H100’s cache turns over within a minute, and outdated entries send requests to the wrong worker. Half as many slots cost 1 to 2%. On Azure’s trace, whose prompts are short, 64 slots cost 20% and 256 slots 0.5%: near its capacity such a fleet has no free slots, and waiting requests check for a slot too rarely. Leasing the best worker regardless of concurrent leases sent all requests of the same millisecond to one worker: with jitter this made no difference, and without jitter no rate reached 95% of good answers. More slots, more holders, other costs per lease (20 to 1,000), more or no jitter, and quadratic cost of a prompt’s attention changed less than the seed does.`,
  'These settings were chosen on the conversation trace; the synthetic trace was not used. llm-d’s weights on an exact index come as close to the perfect index as Lambent does. Lambent does so without an index, metrics from the engines, or a process that maintains them.',
  'The gap to the perfect index has three causes: prefixes are named at geometric depths, so that up to a third of a prefix is not recognised; a worker’s progress on its prompts is unknown before their first token; and a decision takes two requests to the table, 12 ms, during which other requests decide on the same state. On Azure’s trace the last cause is the whole difference to least tokens: with a table without latency there is none.',
  'Percentiles cover served requests only. A refused request waited 10 s for a slot and has no first token.',
];

function toTables(study: Findings): Table[] {
  return [
    toCapacityTable(study),
    toNearCapacityTable(study),
    ...(study.fleets.length > 0 ? [toFleetTable(study)] : []),
  ];
}

function toCapacityTable({ trace, slots, capacities, scaledCapacities, unjittered }: Findings): Table {
  const seeds = capacities.get('lambent')?.length ?? 0;
  return {
    caption: `${trace}: capacity of 8 H100 with ${slots} slots each, as a multiple of the trace’s rate (simulated; mean, lowest and highest of ${seeds} seeds; length-scaled${unjittered === undefined ? '' : ' and without jitter'}: one seed)`,
    columns: [
      'policy',
      'capacity',
      'seeds',
      '× round robin',
      'length-scaled',
      '× round robin',
      ...(unjittered === undefined ? [] : ['without jitter', '× round robin']),
    ],
    rows: POLICIES.map((policy) => {
      const found = capacities.get(policy) ?? [];
      return [
        NAMES[policy],
        computeMean(found).toFixed(2),
        `${Math.min(...found).toFixed(2)}–${Math.max(...found).toFixed(2)}`,
        formatRatioToRoundRobin(capacities, policy),
        computeMean(scaledCapacities.get(policy) ?? []).toFixed(2),
        formatRatioToRoundRobin(scaledCapacities, policy),
        ...(unjittered === undefined
          ? []
          : [computeMean(unjittered.get(policy) ?? []).toFixed(2), formatRatioToRoundRobin(unjittered, policy)]),
      ];
    }),
  };
}

function toNearCapacityTable({ trace, nearCapacity }: Findings): Table {
  return {
    caption: `${trace}: at ${nearCapacity.scale} times its rate, 8 H100 (simulated; mean of the seeds, goodput ± half of their range)`,
    columns: [
      'policy',
      'good %',
      'length-scaled %',
      'first token p50 ms',
      'p99',
      'per token p50 ms',
      'p99',
      'cached %',
      'busy %',
      'Jain',
      'recomputed %',
      'refused',
    ],
    rows: POLICIES.map((policy) => {
      const results = nearCapacity.results.get(policy) ?? [];
      const formatPercent = (value: (result: RunResult) => number) =>
        (100 * computeMean(results.map(value))).toFixed(1);
      const formatMean = (value: (result: RunResult) => number) => formatNumber(computeMean(results.map(value)));
      const good = results.map(({ goodput }) => 100 * goodput);
      return [
        NAMES[policy],
        `${computeMean(good).toFixed(1)} ± ${((Math.max(...good) - Math.min(...good)) / 2).toFixed(1)}`,
        formatPercent(({ scaledGoodput }) => scaledGoodput),
        formatMean(({ firstTokenMs }) => firstTokenMs.p50),
        formatMean(({ firstTokenMs }) => firstTokenMs.p99),
        formatMean(({ perTokenMs }) => perTokenMs.p50),
        formatMean(({ perTokenMs }) => perTokenMs.p99),
        formatPercent(({ prefixHitRate }) => prefixHitRate),
        formatPercent(({ utilisation }) => utilisation),
        computeMean(results.map(({ fairness }) => fairness)).toFixed(3),
        formatPercent(({ wastedTokens }) => wastedTokens),
        formatMean(({ refused }) => refused),
      ];
    }),
  };
}

function toFleetTable({ trace, capacities, fleets }: Findings): Table {
  const all = [...fleets, { workers: 8, capacities }].sort((a, b) => a.workers - b.workers);
  const policies = [...(fleets[0]?.capacities.keys() ?? [])];
  return {
    caption: `${trace}: capacity by fleet size, × round robin (simulated; one seed except for 8)`,
    columns: ['policy', ...all.map(({ workers }) => `${workers} H100`)],
    rows: policies.map((policy) => [
      NAMES[policy],
      ...all.map((fleet) => formatRatioToRoundRobin(fleet.capacities, policy)),
    ]),
  };
}

function toInterferenceTable(cases: readonly Interference[], scale: number, trace: string): Table {
  return {
    caption: `Bulk work and chat, ${trace} at ${scale} times its rate, 8 H100 (simulated)`,
    columns: [
      '',
      'chat, first token p50 ms',
      'p99',
      'per token p50 ms',
      'p99',
      'good %',
      'length-scaled %',
      'bulk tokens/s',
    ],
    rows: cases.map(({ label, chat }) => [
      label,
      formatNumber(chat.firstTokenMs.p50),
      formatNumber(chat.firstTokenMs.p99),
      formatNumber(chat.perTokenMs.p50),
      formatNumber(chat.perTokenMs.p99),
      (100 * chat.goodput).toFixed(1),
      (100 * chat.scaledGoodput).toFixed(1),
      formatNumber(chat.bulkTokensPerSecond),
    ]),
  };
}

function toBudgets({ trace, capacities }: Findings): Budget[] {
  const toFigure = (policy: PolicyName) => ({
    label: NAMES[policy],
    value: computeMean(capacities.get(policy) ?? []),
    unit: 'times the trace’s rate',
  });
  return BUDGETS.filter((budget) => budget.trace === trace).map(({ against, limit }) => ({
    metric: `${trace}, capacity of 8 H100 (simulated)`,
    measured: toFigure('lambent'),
    against: toFigure(against),
    limit,
    isFloor: true,
  }));
}

function toCapacityChart(studies: readonly Findings[]): Chart {
  return {
    title: 'Capacity at 95% of good answers, 8 H100 (simulated)',
    unit: '×',
    groups: studies.map(({ trace, capacities }) => ({
      label: `${trace}, times the trace’s rate`,
      bars: POLICIES.map((policy) => ({ label: NAMES[policy], value: computeMean(capacities.get(policy) ?? []) })),
    })),
  };
}

function toCurveChart({ trace, curves }: Findings): Chart {
  return {
    title: `Good answers by arrival rate (× the trace’s), ${trace}, 8 H100 (simulated)`,
    unit: '%',
    xUnit: '×',
    series: curves.map(({ policy, points }) => ({
      label: NAMES[policy],
      points: points.map(({ scale, goodput }) => ({ x: scale, value: 100 * goodput })),
    })),
  };
}

function formatRatioToRoundRobin(capacities: Capacities, policy: PolicyName): string {
  return (computeMean(capacities.get(policy) ?? []) / computeMean(capacities.get('round-robin') ?? [])).toFixed(2);
}

function computeMean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
