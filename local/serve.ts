import { writeFile } from 'node:fs/promises';
import { flushCompileCache } from 'node:module';
import { resolve } from 'node:path';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { createGuide } from './bedrock/guide.ts';
import { readOwnDocuments } from './bedrock/library.ts';
import { type Cloud, type LateSettings, startCloud } from './cloud.ts';
import type { Workers } from './engine/workers.ts';
import type { HeadStart } from './head-start.ts';
import type { LogLine } from './lambda/environment.ts';
import { discoverModels } from './models.ts';
import { describeMissingKeys, findNamedKeys, selectNamedKeys } from './named-keys.ts';
import { listPhases, runPhase } from './phases.ts';
import type { Settings } from './settings.ts';

const ROOT = resolve(import.meta.dirname, '..');

/**
 * Serves the API until the process ends. Resolves when everything has started.
 * @param headStart the parts that started while this module was loaded
 */
export async function serve(settings: Settings, { bundles, workers }: HeadStart): Promise<void> {
  const stateDir = resolve(ROOT, settings.STATE_DIR);
  const starting = startCloud({
    port: settings.PORT,
    hosts: settings.ALLOWED_HOSTS,
    stateDir,
    bedrock: createGuide(),
    prepare: async () => {
      const [late] = await Promise.all([prepare(stateDir, settings, workers), bundles.first]);
      return late;
    },
    whenBundled: bundles.whenBundled,
    managedFunctions: settings.LAMBDA_MODE === 'managed' ? 'interactive' : [],
    ...(settings.LOG === '' ? {} : { onLog: printLogLine }),
    ...(settings.CONCURRENCY === undefined ? {} : { concurrency: settings.CONCURRENCY }),
    ...(settings.IDLE_SECONDS === undefined ? {} : { idleMs: settings.IDLE_SECONDS * 1000 }),
  });
  endOnSignal(starting);
  const cloud = await starting;
  for (const notice of cloud.notices) console.log(notice);
  const readyMs = performance.now();
  console.log(`ready ${cloud.url}`);
  await runPhase('bundle the other functions', () => bundles.bundleRest());
  // Indexes the documents now, so that the guide's first answer doesn't wait for it.
  await runPhase("index the guide's documents", readOwnDocuments);
  // Node writes the compile cache when the process exits. If it is killed, the cache would be lost.
  flushCompileCache();
  if (settings.START_PHASES !== undefined) {
    const times = { startedAt: performance.timeOrigin, readyMs, phases: listPhases() };
    await writeFile(settings.START_PHASES, JSON.stringify(times));
  }
  if (process.stdout.isTTY) await showStatusLine(cloud);
}

/** Finds the models, on which the functions' settings depend, and prints them. */
async function prepare(stateDir: string, settings: Settings, workers: Promise<Workers>): Promise<LateSettings> {
  const { env } = process;
  const listWorkers = async () => (await workers).workers;
  const [gpuWorkers, models] = await Promise.all([
    workers,
    runPhase('find models', () => discoverModels({ env, stateDir, gpuWorkers: listWorkers })),
  ]);
  console.log(models.description);
  const workersLine = describeWorkers(gpuWorkers, settings.GPU_WORKERS);
  if (workersLine !== undefined) console.log(workersLine);
  const keys = findNamedKeys(readModelRegistry(models.file));
  for (const line of describeMissingKeys(env, keys)) console.log(line);
  return {
    gpuWorkers,
    environment: {
      MODELS_FILE: models.file,
      ...selectNamedKeys(env, keys),
      ...(settings.LOG_LEVEL === undefined ? {} : { LOG_LEVEL: settings.LOG_LEVEL }),
    },
    ...(models.bedrock === 'aws' ? { bedrock: 'aws', ...readUserRegion(env) } : {}),
  };
}

function describeWorkers({ workers }: Workers, requested = 0): string | undefined {
  if (workers.length === 0) {
    return requested === 0
      ? undefined
      : `GPU: GPU_WORKERS=${requested} is ignored because MODELS_FILE is set. See docs/gpu.md.`;
  }
  const [subject, they] =
    workers.length === 1 ? ['a stand-in', 'it computes'] : [`${workers.length} stand-ins`, 'they compute'];
  return [
    `GPU: the model gpu is served by ${subject} on this machine; ${they} no real model.`,
    'docs/gpu.md says how to connect engines. GPU_WORKERS=0 turns this off.',
  ].join(' ');
}

function readUserRegion(env: NodeJS.ProcessEnv): { region?: string } {
  const region = env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'];
  return region === undefined ? {} : { region };
}

function printLogLine({ function: name, text }: LogLine): void {
  console.error(`${name} | ${text}`);
}

/** Shows what the cloud is doing in the terminal's last line. Loaded late because no request needs it. */
async function showStatusLine(cloud: Cloud): Promise<void> {
  const { startStatusLine } = await import('./status-line.ts');
  const line = startStatusLine(cloud, process.stdout, process.stderr.isTTY ? [process.stderr] : []);
  process.once('exit', () => line.close());
}

/** Closes the cloud at the first signal. Exits at once at the second; function processes then end by themselves. */
function endOnSignal(starting: Promise<Cloud>): void {
  let isEnding = false;
  const end = async (): Promise<void> => {
    if (isEnding) process.exit(1);
    isEnding = true;
    const cloud = await starting.catch(() => undefined);
    await cloud?.close();
    process.exit(0);
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
}
