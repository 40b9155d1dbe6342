import { STEP_MODELS } from '../../../local/engine/step-model.ts';
import { SLOT_SETTINGS, type SlotSettings } from '../../../shared/gpu/placement/settings.ts';
import type { EngineSettings } from './fleet.ts';
import { type Measures, measure } from './measures.ts';
import { type BulkLoad, type PolicyName, simulate } from './simulate.ts';
import { syntheticTrace } from './synthetic.ts';
import { readTrace, type Trace } from './trace.ts';
import { arrivals, copiesFor, type Load } from './workload.ts';

export type GpuName = keyof typeof STEP_MODELS;

/** Where requests come from: a file, or made up from a seed. */
export type TraceSource = { readonly file: string } | { readonly synthetic: number };

/** One simulation, as plain data. */
export interface Run {
  readonly trace: TraceSource;
  readonly load: Omit<Load, 'copies'>;
  readonly workers: number;
  readonly gpu: GpuName;
  readonly policy: PolicyName;
  /** Of the trace's requests, from its first on; all when absent. */
  readonly requests?: number;
  /** Bulk work beside it, through leases of the batch tier. */
  readonly bulk?: BulkLoad;
  /** Share of slots that bulk work leaves free; the fleets' usual one when absent. */
  readonly reserve?: number;
}

export interface RunResult extends Measures {
  /** Requests of the trace that are longer than an engine's memory, which were left out. */
  readonly tooLong: number;
}

/** Tokens of an engine's step, and sequences at once: a step of 2,048 keeps 50 ms on an H100, half of what a token may take. */
export const ENGINE = { stepTokens: 2_048, maxSequences: 256 };

/**
 * Milliseconds that a request to DynamoDB takes from a function of the same region: single digits, says AWS, and so do those
 * who measure it.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Introduction.html
 */
export const TABLE_LATENCY = { leastMs: 4, mostMs: 8 };

/** Slots for each sequence that an engine has at once: it never wants for work while whoever waits outside looks again. */
const SLOTS_A_SEQUENCE = 1.5;

/**
 * Requests that a worker takes at once: twice as many of the trace's as its memory would have room for, were each alone and
 * at its end (`docs/gpu.md`), and no more than half as many again as the engine does.
 */
export function slotsFor({ requests }: Trace, gpu: GpuName): number {
  const tokens = requests.reduce((sum, { inputTokens, outputTokens }) => sum + inputTokens + outputTokens, 0);
  const fitting = Math.floor((2 * STEP_MODELS[gpu].cacheTokens * requests.length) / tokens);
  return Math.max(1, Math.min(SLOTS_A_SEQUENCE * ENGINE.maxSequences, fitting));
}

const traces = new Map<string, Promise<Trace>>();

/** Runs a simulation. A trace's file is read once. */
export async function runSimulation(run: Run): Promise<RunResult> {
  const { policy, workers, load, gpu } = run;
  const trace = await traceOf(run.trace);
  const engine: EngineSettings = { model: STEP_MODELS[gpu], ...ENGINE };
  const all = arrivals(
    { ...trace, requests: trace.requests.slice(0, run.requests) },
    { ...load, copies: copiesFor(workers) },
  );
  const fitting = all.filter(({ inputTokens, outputTokens }) => inputTokens + outputTokens <= engine.model.cacheTokens);
  const outcome = await simulate({
    arrivals: fitting,
    workers,
    engine,
    policy,
    seed: load.seed,
    slots: slotsFor(trace, gpu),
    latency: TABLE_LATENCY,
    settings: settingsWith(run.reserve),
    ...(run.bulk === undefined ? {} : { bulk: run.bulk }),
  });
  return { ...measure(fitting, outcome, engine), tooLong: all.length - fitting.length };
}

function settingsWith(reserve: number | undefined): SlotSettings {
  if (reserve === undefined) return SLOT_SETTINGS;
  return { ...SLOT_SETTINGS, defaultLimits: { ...SLOT_SETTINGS.defaultLimits, reserve } };
}

/** The trace of a source. */
export function traceOf(source: TraceSource): Promise<Trace> {
  const key = JSON.stringify(source);
  const known = traces.get(key);
  if (known !== undefined) return known;
  const read = 'file' in source ? readTrace(source.file) : Promise.resolve(syntheticTrace(source.synthetic));
  traces.set(key, read);
  return read;
}
