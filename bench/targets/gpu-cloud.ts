import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import { describeLocalFleet } from '../../local/engine/local-fleet.ts';
import { type LocalWorker, startWorkers, WORKER_DEFAULTS } from '../../local/engine/workers.ts';
import { type JobEnd, JobLogReader } from './job-cloud.ts';

/** The whole local cloud with GPU workers, as `npm start` brings it. */
export interface GpuCloud extends AsyncDisposable {
  readonly cloud: Cloud;
  /** Jobs that ended, by id. */
  readonly ended: ReadonlyMap<string, JobEnd>;
  /** What the engines say of themselves, all together. */
  readEngines(): Promise<EngineMetrics>;
}

export interface EngineMetrics {
  /** Epoch milliseconds. */
  readonly at: number;
  /** Tokens since they started, whoever they were for. */
  readonly generatedTokens: number;
  /** Requests that they are at work on. */
  readonly running: number;
}

/** The model that `npm start` serves, whose fleet keeps the reserve that it has when nothing is said. */
export const DEFAULT_RESERVE = 'gpu';
/** The same workers as fleets of other reserves: shares of slots, by the name of a model and of its fleet. */
const OTHER_RESERVES = { 'gpu-half-reserved': 0.5, 'gpu-unreserved': 0 } as const;
export type ServedModel = typeof DEFAULT_RESERVE | keyof typeof OTHER_RESERVES;

/** Starts it with two workers at a share of a large GPU's pace. */
export async function startGpuCloud(speed: number): Promise<GpuCloud> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const gpuWorkers = started.adopt(await startWorkers({ count: 2, speed }), (each) => each.close());
  const models = join(folder, 'models.json');
  await writeFile(models, JSON.stringify(createRegistry(gpuWorkers.workers)));
  const bundlesDir = join(folder, 'bundles');
  await bundleFunctions({ outDir: bundlesDir, models });
  const watched = new JobLogReader();
  const cloud = started.adopt(
    await startCloud({
      stateDir: join(folder, 'state'),
      bundlesDir,
      gpuWorkers,
      bedrock: async function* silent() {},
      environment: { MODELS_FILE: models },
      onLog: ({ text }) => watched.read(text),
    }),
    (each) => each.close(),
  );
  const running = started.move();
  return {
    cloud,
    ended: watched.ended,
    async readEngines() {
      const all = await Promise.all(gpuWorkers.workers.map(({ url }) => fetchMetrics(url)));
      const sum = (name: string) => all.reduce((total, text) => total + readSample(text, name), 0);
      return {
        at: Date.now(),
        generatedTokens: sum('vllm:generation_tokens_total'),
        running: sum('vllm:num_requests_running'),
      };
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** What `npm start` writes, and the same workers again. A request goes by one of the models; never two at a time. */
function createRegistry(workers: readonly LocalWorker[]): object {
  const { models, fleets } = describeLocalFleet(workers);
  const { model, contextTokens } = WORKER_DEFAULTS;
  const others = Object.entries(OTHER_RESERVES);
  return {
    models: {
      ...models,
      ...Object.fromEntries(
        others.map(([name]) => [name, { targets: [{ provider: 'gpu', model, fleet: name }], contextTokens }]),
      ),
    },
    fleets: { ...fleets, ...Object.fromEntries(others.map(([name, reserve]) => [name, { workers, reserve }])) },
  };
}

async function fetchMetrics(url: string): Promise<string> {
  const answer = await fetch(new URL('/metrics', url));
  return answer.text();
}

/** A sample's value in Prometheus' text format, whatever its labels. */
function readSample(text: string, name: string): number {
  const line = text.split('\n').find((each) => each.startsWith(`${name}{`));
  return Number(line?.slice(line.lastIndexOf(' ') + 1) ?? Number.NaN);
}
