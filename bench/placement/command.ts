import { parseArgs } from 'node:util';
import { STEP_MODELS } from '../../local/engine/step-model.ts';
import { findCapacity } from '../../test/simulation/placement/capacity.ts';
import {
  type GpuName,
  loadTrace,
  type Run,
  type RunResult,
  type TraceSource,
} from '../../test/simulation/placement/run.ts';
import { POLICIES, type PolicyName } from '../../test/simulation/placement/simulate.ts';
import { startPlacementThreads } from '../../test/simulation/placement/threads.ts';

/** Single simulations, one for each policy. */
export interface SimulationRequest {
  readonly policies: readonly PolicyName[];
  readonly run: Omit<Run, 'policy'>;
  /** True to find the highest scale with 95% of good answers instead of simulating the given scale. */
  readonly capacity: boolean;
  /** True to print a JSON object for each policy. */
  readonly json: boolean;
}

/** A run of the whole benchmark. */
export interface BenchmarkRequest {
  /** Trace files, in addition to the synthetic trace. */
  readonly traces: readonly string[];
  readonly quick: boolean;
  readonly seeds: number | undefined;
  readonly publish: boolean;
}

/** Reports an invalid command line. */
export class UsageError extends Error {}

const USAGE = `npm run bench -- placement [--trace FILE]…
  the whole benchmark: [--quick] [--runs SEEDS] [--publish]
  single simulations: [--policy P,P…] [--scale X] [--workers N] [--gpu ${Object.keys(STEP_MODELS).join('|')}]
    [--seed S] [--no-jitter] [--capacity] [--json]
  policies: ${POLICIES.join(' ')}`;

/** Options of single simulations only. */
const SINGLE = ['policy', 'scale', 'workers', 'gpu', 'seed', 'no-jitter', 'capacity', 'json'] as const;

/**
 * Parses the arguments after `placement`.
 * @throws UsageError that names the invalid argument
 */
export function parseCommand(words: readonly string[]): SimulationRequest | BenchmarkRequest {
  const values = parseWords(words);
  const isSingle = SINGLE.some((option) => values[option] !== undefined);
  const isWhole = values.quick || values.publish || values.runs !== undefined;
  if (isSingle && isWhole) throw new UsageError('--quick, --runs and --publish apply to the whole benchmark only');
  const traces = values.trace ?? [];
  if (!isSingle) {
    const seeds = values.runs === undefined ? undefined : parseWholeNumber('--runs', values.runs, 1);
    return { traces, quick: values.quick ?? false, seeds, publish: values.publish ?? false };
  }
  const [file, ...more] = traces;
  if (more.length > 0) throw new UsageError('single simulations accept one --trace');
  const seed = parseWholeNumber('--seed', values.seed ?? '1', 0);
  const trace: TraceSource = file === undefined ? { synthetic: seed } : { file };
  return {
    policies: values.policy === undefined ? POLICIES : values.policy.split(',').map(parsePolicy),
    run: {
      trace,
      load: { scale: parseScale(values.scale ?? '1'), jitter: !values['no-jitter'], seed },
      workers: parseWholeNumber('--workers', values.workers ?? '8', 1),
      gpu: parseGpu(values.gpu ?? 'h100'),
    },
    capacity: values.capacity ?? false,
    json: values.json ?? false,
  };
}

function parseWords(words: readonly string[]) {
  try {
    return parseArgs({
      args: [...words],
      options: {
        trace: { type: 'string', multiple: true },
        quick: { type: 'boolean' },
        runs: { type: 'string' },
        publish: { type: 'boolean' },
        policy: { type: 'string' },
        scale: { type: 'string' },
        workers: { type: 'string' },
        gpu: { type: 'string' },
        seed: { type: 'string' },
        'no-jitter': { type: 'boolean' },
        capacity: { type: 'boolean' },
        json: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${message}\n\n${USAGE}`, { cause: error });
  }
}

function parsePolicy(name: string): PolicyName {
  const known = POLICIES.find((policy) => policy === name);
  if (known === undefined) throw new UsageError(`unknown policy ${name}; known: ${POLICIES.join(', ')}`);
  return known;
}

function parseGpu(name: string): GpuName {
  if (name === 'h100' || name === 'a10g') return name;
  throw new UsageError(`unknown GPU ${name}; known: ${Object.keys(STEP_MODELS).join(', ')}`);
}

function parseWholeNumber(option: string, text: string, least: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < least)
    throw new UsageError(`${option} must be a whole number of at least ${least}, not ${text}`);
  return value;
}

function parseScale(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new UsageError(`--scale must be a number above 0, not ${text}`);
  return value;
}

/**
 * Runs the simulations and passes a line for each policy to `print`.
 * @throws Error with the file and line of an invalid trace
 */
export async function runSimulations(
  { policies, run, capacity, json }: SimulationRequest,
  print: (line: string) => void,
): Promise<void> {
  // Loaded here before the threads load it, so that an invalid trace is reported once.
  await loadTrace(run.trace);
  await using threads = startPlacementThreads();
  const lines = policies.map(async (policy) => {
    const runAtScale = (scale: number) => threads.run({ ...run, policy, load: { ...run.load, scale } });
    if (!capacity) return { policy, simulated: true, ...run, ...(await runAtScale(run.load.scale)) };
    const scale = await findCapacity(async (tried) => (await runAtScale(tried)).goodput, run.load.scale);
    return { policy, simulated: true, ...run, load: { ...run.load, scale }, capacity: scale };
  });
  for (const { policy, ...rest } of await Promise.all(lines)) {
    print(json ? JSON.stringify({ policy, ...rest }) : `${policy.padEnd(18)} ${describeResult(rest)}`);
  }
}

function describeResult(found: RunResult | { readonly capacity: number }): string {
  if ('capacity' in found) return `95% good answers up to ${found.capacity.toFixed(3)} times the trace’s rate`;
  const formatPercent = (share: number) => `${(100 * share).toFixed(1)}%`;
  const { firstTokenMs, perTokenMs } = found;
  return [
    `good ${formatPercent(found.goodput)}, length-scaled ${formatPercent(found.scaledGoodput)}`,
    `first token p50 ${firstTokenMs.p50.toFixed(0)} p99 ${firstTokenMs.p99.toFixed(0)} ms`,
    `per token p50 ${perTokenMs.p50.toFixed(1)} p99 ${perTokenMs.p99.toFixed(1)} ms`,
    `cached ${formatPercent(found.prefixHitRate)}, busy ${formatPercent(found.utilisation)}, refused ${found.refused}`,
  ].join('; ');
}
