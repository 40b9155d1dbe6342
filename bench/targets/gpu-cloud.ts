import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import { describeLocalFleet } from '../../local/engine/local-fleet.ts';
import { type LocalWorker, startWorkers, WORKER_DEFAULTS } from '../../local/engine/workers.ts';
import { type JobEnd, JobLogReader } from './job-cloud.ts';

/** The whole local cloud with GPU workers, as `npm start` runs it. */
export interface GpuCloud extends AsyncDisposable {
  readonly cloud: Cloud;
  /** Jobs that ended, by id. */
  readonly ended: ReadonlyMap<string, JobEnd>;
  /** Returns the sum of the engines' metrics. */
  readEngines(): Promise<EngineMetrics>;
}

export interface EngineMetrics {
  /** Epoch milliseconds. */
  readonly at: number;
  /** Tokens of all requests since the engines started. */
  readonly generatedTokens: number;
  /** Requests that the engines are running. */
  readonly running: number;
}

/** The model of `npm start`, whose fleet has the default reserve. */
export const DEFAULT_RESERVE = 'gpu';
/** Reserves, as shares of slots, of further fleets with the same workers, by the name of the fleet and its model. */
const OTHER_RESERVES = { 'gpu-half-reserved': 0.5, 'gpu-unreserved': 0 } as const;
export type ServedModel = typeof DEFAULT_RESERVE | keyof typeof OTHER_RESERVES;

/** Starts the cloud with two workers at `speed` times a large GPU's speed. */
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
      logSubscriptions: false,
      stateDir: join(folder, 'state'),
      bundlesDir,
      gpuWorkers,
      bedrock: async function* silent() {},
      environment: { MODELS_FILE: models },
      onLog: (line) => watched.read(line),
    }),
    (each) => each.close(),
  );
  await cloud.workersRegistered;
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

/**
 * Returns the registry of `npm start`, with further fleets of the same workers. The benchmark uses one of its models at
 * a time.
 */
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

/** Returns a sample's value from Prometheus' text format, ignoring labels. */
function readSample(text: string, name: string): number {
  const line = text.split('\n').find((each) => each.startsWith(`${name}{`));
  return Number(line?.slice(line.lastIndexOf(' ') + 1) ?? Number.NaN);
}
