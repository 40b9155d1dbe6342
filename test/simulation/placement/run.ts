import { STEP_MODELS } from '../../../local/engine/step-model.ts';
import { SLOT_SETTINGS, type SlotSettings } from '../../../shared/gpu/placement/settings.ts';
import type { EngineSettings } from './fleet.ts';
import { computeMeasures, type Measures } from './measures.ts';
import { type BulkLoad, type PolicyName, simulate } from './simulate.ts';
import { generateTrace } from './synthetic.ts';
import { readTrace, type Trace } from './trace.ts';
import { countCopies, generateArrivals, type Load } from './workload.ts';

export type GpuName = keyof typeof STEP_MODELS;

/** Source of requests: a file, or a seed for a synthetic trace. */
export type TraceSource = { readonly file: string } | { readonly synthetic: number };

/** One simulation, as plain data. */
export interface Run {
  readonly trace: TraceSource;
  readonly load: Omit<Load, 'copies'>;
  readonly workers: number;
  readonly gpu: GpuName;
  readonly policy: PolicyName;
  /** Number of the trace's requests, from the first one. Absent: all. */
  readonly requests?: number;
  /** Bulk work beside chat, through batch leases. */
  readonly bulk?: BulkLoad;
  /** Share of slots that bulk work may not use. Absent: the default of fleets. */
  readonly reserve?: number;
}

export interface RunResult extends Measures {
  /** Number of requests left out because they exceed an engine's memory. */
  readonly tooLong: number;
}

/** Engine settings. A step of 2,048 tokens takes 50 ms on an H100: half of the target per token. */
export const ENGINE = { stepTokens: 2_048, maxSequences: 256 };

/**
 * Latency of a DynamoDB request from a function of the same region: single-digit milliseconds, as AWS says and others
 * measure.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Introduction.html
 */
export const TABLE_LATENCY = { leastMs: 4, mostMs: 8 };

/** Slots per concurrent sequence. More than 1, so that an engine has work while waiting requests poll for a slot. */
const SLOTS_A_SEQUENCE = 1.5;

/**
 * Returns the slots of a worker: twice as many of the trace's requests as its memory holds at their full length
 * (`docs/gpu.md`), and at most 1.5 times the engine's concurrent sequences.
 */
export function countSlots({ requests }: Trace, gpu: GpuName): number {
  const tokens = requests.reduce((sum, { inputTokens, outputTokens }) => sum + inputTokens + outputTokens, 0);
  const fitting = Math.floor((2 * STEP_MODELS[gpu].cacheTokens * requests.length) / tokens);
  return Math.max(1, Math.min(SLOTS_A_SEQUENCE * ENGINE.maxSequences, fitting));
}

const traces = new Map<string, Promise<Trace>>();

/** Runs a simulation and returns its measures. Each trace is loaded once. */
export async function runSimulation(run: Run): Promise<RunResult> {
  const { policy, workers, load, gpu } = run;
  const trace = await loadTrace(run.trace);
  const engine: EngineSettings = { model: STEP_MODELS[gpu], ...ENGINE };
  const all = generateArrivals(
    { ...trace, requests: trace.requests.slice(0, run.requests) },
    { ...load, copies: countCopies(workers) },
  );
  const fitting = all.filter(({ inputTokens, outputTokens }) => inputTokens + outputTokens <= engine.model.cacheTokens);
  const outcome = await simulate({
    arrivals: fitting,
    workers,
    engine,
    policy,
    seed: load.seed,
    slots: countSlots(trace, gpu),
    latency: TABLE_LATENCY,
    settings: createSettings(run.reserve),
    ...(run.bulk === undefined ? {} : { bulk: run.bulk }),
  });
  return { ...computeMeasures(fitting, outcome, engine), tooLong: all.length - fitting.length };
}

function createSettings(reserve: number | undefined): SlotSettings {
  if (reserve === undefined) return SLOT_SETTINGS;
  return { ...SLOT_SETTINGS, defaultLimits: { ...SLOT_SETTINGS.defaultLimits, reserve } };
}

/** Returns the trace of a source. */
export function loadTrace(source: TraceSource): Promise<Trace> {
  const key = JSON.stringify(source);
  const known = traces.get(key);
  if (known !== undefined) return known;
  const read = 'file' in source ? readTrace(source.file) : Promise.resolve(generateTrace(source.synthetic));
  traces.set(key, read);
  return read;
}
