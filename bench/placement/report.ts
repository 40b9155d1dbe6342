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

/** What the budgets are: on which trace, against whom, and how many times theirs Lambent's capacity must be. */
const BUDGETS: readonly { readonly trace: string; readonly against: PolicyName; readonly limit: number }[] = [
  { trace: 'conversation', against: 'round-robin', limit: 2.5 },
  { trace: 'conversation', against: 'least-connections', limit: 1.4 },
  { trace: 'conversation', against: 'perfect-index', limit: 0.97 },
  // No worse, as far as can be told: a capacity is known to a percent.
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

/** Makes a report of what was found on traces, and of bulk work beside the first of them. */
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
        close: { ...study.close, results: Object.fromEntries(study.close.results) },
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
  '**Every figure is simulated**: no GPU took part. Lambent’s side runs the very code of `shared/fleet/` that is deployed (placement, leasing, directory, heartbeats, waiting) on virtual time and a table in memory; the workers are the engine of `local/engine/`: continuous batching, prompts in chunks, a prefix cache that drops what is unused for longest, preemption when memory runs out. What other machines share with this page is the code, the traces and the seeds: the same ones give the same figures everywhere.',
  `A step of an engine takes max(${h100.memoryBaseMs} + ${h100.memoryMsPerToken}·n, ${h100.computeBaseMs} + ${h100.computeMsPerToken}·n) ms + ${h100.cacheReadUsPerToken} µs a cached token read + ${h100.attentionNsPerHalfPair} ns·Σ(2k·done + k²) on an H100 with Llama 3 8B and room for ${formatNumber(h100.cacheTokens)} tokens; \`local/engine/step-model.ts\` says where that is from. A step takes ${formatNumber(ENGINE.stepTokens)} tokens, an engine ${ENGINE.maxSequences} sequences. A request to the table takes ${TABLE_LATENCY.leastMs} to ${TABLE_LATENCY.mostMs} ms, so that those who decide at once don’t see each other, as they don’t in DynamoDB. A worker has slots for twice as many of the trace’s requests as its memory would have room for, were each alone and at its end, and for no more than half as many again as the engine takes at once; who finds none waits outside, 10 s at most.`,
  `All other policies know everything at the moment of deciding and take no time for it, which flatters them: none of their requests is sent on counts that are old. Least tokens counts prompts without a first token. Consistent hashing takes a prompt’s first ${formatNumber(HASHED_BLOCKS * BLOCK_TOKENS)} tokens, with which it does best, and KubeAI’s bound of 1.25 times the mean. llm-d is its router’s default configuration: prefix 3, free memory 2, queue 2. The perfect index is Lambent’s own score on what caches and queues really hold. Lambent knows of an answer’s length what it knows in earnest, which is nothing.`,
  `An answer is good when its first token comes within ${TARGETS.firstTokenMs / 1000} s and the others within ${TARGETS.perTokenMs} ms each on average; length-scaled, when the first comes within ${TARGETS.scaled.ms / 1000} s and ${TARGETS.scaled.times} times what the prompt takes alone on an idle worker. A refused request is not good. **Capacity** is the largest rate of arrivals, as a multiple of the trace’s, at which ${100 * GOOD_SHARE}% still are. The longest prompts of the conversation trace can’t keep 5 s even alone.`,
  '“conversation” is Mooncake’s trace (`conversation_trace.jsonl` of its repository; 12,031 requests of an hour, 12,000 tokens of prompt on average, 37% of them seen before), its times spread over the 3 s that they are rounded to; “azure” is Azure’s conversation trace of 2023 (`AzureLLMInferenceTrace_conv.csv` of AzurePublicDataset; 19,366 requests, 1,150 tokens, no prefixes); “synthetic” is made up by `synthetic.ts`: conversations of twelve applications that grow turn by turn, in bursts. All requests are one tenant’s, and no answer is part of a later prompt’s prefix. Fleets of more than eight workers take a trace several times at once, each from another place in it and with prefixes of its own, and no more than twice its requests in all: a fleet of 128 sees an eighth of the hour.',
];

const limits = [
  `**What was tried.** The score as it was designed, pending + uncached tokens + 500 a lease, had 95% of the perfect index’s capacity. Others’ prompts count in full until their first token, so that a worker with the prefix looks busier than it is: counting the request’s own uncached tokens ${PLACEMENT_SETTINGS.uncachedWeight} times gave 1 to 2% (2 gave less, 5 no more). It helps a perfect index, too, which is compared with the same weight. Naming holders for ${PLACEMENT_SETTINGS.directoryMs / 60_000} minutes instead of an hour gave 1%: a busy H100’s cache turns over within the minute, and believing in what it has lost sends work to the wrong worker. Half as many slots cost 1 to 2%, and on Azure’s trace, whose prompts are short, 64 slots cost 20% and 256 half a percent: a fleet near its capacity then has slots for no one, and who waits outside looks again too late. Leasing the best worker without regard to who leased it meanwhile sent all requests that came in the same millisecond to one: with jitter that made no difference, and without it there was no rate at which 95% were good. More slots, more holders, other costs a lease (20 to 1,000), more or no jitter, and counting a prompt’s attention by its square made no difference beyond that between seeds.`,
  'These settings were chosen on the conversation trace; the synthetic one had no part in that. llm-d’s weights on an exact index come as close to the perfect one as Lambent does. What Lambent adds is that it needs neither an index nor metrics from the engines, and no process that keeps them.',
  'What is left to the perfect index: prefixes are named at geometric depths, so that up to a third of one goes unseen; how far a worker has come with its prompts isn’t known before their first token; and to decide takes two requests to the table, 12 ms, in which others decide on the same view. On Azure’s trace that is all of the difference to least tokens: with a table that answers at once there is none.',
  'Percentiles are of requests that were served. A refused one waited 10 s for a slot and is nobody’s first token.',
];

function toTables(study: Findings): Table[] {
  return [toCapacityTable(study), toCloseTable(study), ...(study.fleets.length > 0 ? [toFleetTable(study)] : [])];
}

function toCapacityTable({ trace, slots, capacities, scaledCapacities, unjittered }: Findings): Table {
  const seeds = capacities.get('lambent')?.length ?? 0;
  return {
    caption: `${trace}: capacity of 8 H100 of ${slots} slots, as a multiple of the trace’s rate (simulated; mean of ${seeds} seeds, and the lowest to the highest; length-scaled${unjittered === undefined ? '' : ' and without jitter'} one seed)`,
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
        mean(found).toFixed(2),
        `${Math.min(...found).toFixed(2)}–${Math.max(...found).toFixed(2)}`,
        formatRatioToRoundRobin(capacities, policy),
        mean(scaledCapacities.get(policy) ?? []).toFixed(2),
        formatRatioToRoundRobin(scaledCapacities, policy),
        ...(unjittered === undefined
          ? []
          : [mean(unjittered.get(policy) ?? []).toFixed(2), formatRatioToRoundRobin(unjittered, policy)]),
      ];
    }),
  };
}

function toCloseTable({ trace, close }: Findings): Table {
  return {
    caption: `${trace}: at ${close.scale} times its rate, 8 H100 (simulated; mean of the seeds, goodput ± half of what is between them)`,
    columns: [
      'policy',
      'good %',
      'length-scaled %',
      'first token p50 ms',
      'p99',
      'a token p50 ms',
      'p99',
      'cached %',
      'busy %',
      'Jain',
      'computed again %',
      'refused',
    ],
    rows: POLICIES.map((policy) => {
      const results = close.results.get(policy) ?? [];
      const percent = (value: (result: RunResult) => number) => (100 * mean(results.map(value))).toFixed(1);
      const number = (value: (result: RunResult) => number) => formatNumber(mean(results.map(value)));
      const good = results.map(({ goodput }) => 100 * goodput);
      return [
        NAMES[policy],
        `${mean(good).toFixed(1)} ± ${((Math.max(...good) - Math.min(...good)) / 2).toFixed(1)}`,
        percent(({ scaledGoodput }) => scaledGoodput),
        number(({ firstTokenMs }) => firstTokenMs.p50),
        number(({ firstTokenMs }) => firstTokenMs.p99),
        number(({ perTokenMs }) => perTokenMs.p50),
        number(({ perTokenMs }) => perTokenMs.p99),
        percent(({ prefixHitRate }) => prefixHitRate),
        percent(({ utilisation }) => utilisation),
        mean(results.map(({ fairness }) => fairness)).toFixed(3),
        percent(({ wastedTokens }) => wastedTokens),
        number(({ refused }) => refused),
      ];
    }),
  };
}

function toFleetTable({ trace, capacities, fleets }: Findings): Table {
  const all = [...fleets, { workers: 8, capacities }].sort((a, b) => a.workers - b.workers);
  const policies = [...(fleets[0]?.capacities.keys() ?? [])];
  return {
    caption: `${trace}: capacity by the fleet’s size, × round robin (simulated; one seed beside 8)`,
    columns: ['policy', ...all.map(({ workers }) => `${workers} H100`)],
    rows: policies.map((policy) => [
      NAMES[policy],
      ...all.map((fleet) => formatRatioToRoundRobin(fleet.capacities, policy)),
    ]),
  };
}

function toInterferenceTable(cases: readonly Interference[], scale: number, trace: string): Table {
  return {
    caption: `Bulk work beside chat, ${trace} at ${scale} times its rate, 8 H100 (simulated)`,
    columns: [
      '',
      'chat, first token p50 ms',
      'p99',
      'a token p50 ms',
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
  const figure = (policy: PolicyName) => ({
    label: NAMES[policy],
    value: mean(capacities.get(policy) ?? []),
    unit: 'times the trace’s rate',
  });
  return BUDGETS.filter((budget) => budget.trace === trace).map(({ against, limit }) => ({
    metric: `${trace}, capacity of 8 H100 (simulated)`,
    ours: figure('lambent'),
    against: figure(against),
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
      bars: POLICIES.map((policy) => ({ label: NAMES[policy], value: mean(capacities.get(policy) ?? []) })),
    })),
  };
}

function toCurveChart({ trace, curves }: Findings): Chart {
  return {
    title: `Good answers over the rate of arrivals (× the trace’s), ${trace}, 8 H100 (simulated)`,
    unit: '%',
    along: '×',
    series: curves.map(({ policy, points }) => ({
      label: NAMES[policy],
      points: points.map(({ scale, goodput }) => ({ seconds: scale, value: 100 * goodput })),
    })),
  };
}

function formatRatioToRoundRobin(capacities: Capacities, policy: PolicyName): string {
  return (mean(capacities.get(policy) ?? []) / mean(capacities.get('round-robin') ?? [])).toFixed(2);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
