/** `npm start`: the whole service on this machine. */
import { resolve } from 'node:path';
import * as v from 'valibot';
import { bundleFunctions } from '../infra/bundle/build.ts';
import { LambentError } from '../shared/core/errors.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { createGuide } from './bedrock/guide.ts';
import { type Cloud, startCloud } from './cloud.ts';
import { forgetStandIns } from './credentials.ts';
import { startWorkers, type Workers } from './engine/workers.ts';
import type { LogLine } from './lambda/environment.ts';
import { type Discovery, discoverModels } from './models.ts';
import { describeMissing, keysIn, namedKeys } from './named-keys.ts';
import { startStatusLine } from './status-line.ts';

const ROOT = resolve(import.meta.dirname, '..');

/** What `npm start` can be told by environment variables. */
const settingsSchema = v.object({
  /** Port of the API on 127.0.0.1. */
  PORT: v.optional(wholeNumber(0, 65_535, 'must be a port number, from 1 to 65535, or 0 for any free one'), '3000'),
  /** Folder of tables, keys and logs, from the project's folder. */
  STATE_DIR: v.optional(v.string(), '.local'),
  /** Shows what functions log; the state folder keeps it in any case. */
  LOG: v.optional(v.string(), ''),
  LOG_LEVEL: v.optional(v.picklist(['debug', 'info', 'warn', 'error'])),
  /** Invocations at once that functions without a reservation share; an account's limit. */
  CONCURRENCY: v.optional(wholeNumber(1, 10_000, 'must be a number from 1 to 10000')),
  /** `managed` serves many invocations of an HTTP function in one process; `standard` starts a process for each. */
  LAMBDA_MODE: v.optional(v.picklist(['managed', 'standard']), 'managed'),
  /** Seconds without work after which a function's process ends. */
  IDLE_SECONDS: v.optional(wholeNumber(1, 86_400, 'must be a number of seconds from 1 to 86400')),
  /** Stand-ins for GPU workers, each a process of its own, that serve the model `gpu`. */
  GPU_WORKERS: v.optional(wholeNumber(0, 8, 'must be a number of workers from 0 to 8')),
});
/** Of them, when nobody says how many. */
const USUAL_GPU_WORKERS = 2;

function wholeNumber(least: number, most: number, message: string) {
  return v.pipe(
    v.string(),
    v.regex(/^\d{1,5}$/, message),
    v.transform(Number),
    v.minValue(least, message),
    v.maxValue(most, message),
  );
}

async function main(): Promise<void> {
  const starting = start();
  endOnSignal(starting);
  const cloud = await starting;
  console.log(`ready ${cloud.url}`);
  if (process.stdout.isTTY) {
    const line = startStatusLine(cloud, process.stdout, process.stderr.isTTY ? [process.stderr] : []);
    process.once('exit', () => line.close());
  }
}

async function start(): Promise<Cloud> {
  forgetStandIns(process.env);
  const settings = readSettings();
  const stateDir = resolve(ROOT, settings.STATE_DIR);
  const [{ models, gpuWorkers }] = await Promise.all([
    prepareModels(stateDir, settings.GPU_WORKERS),
    bundleFunctions({ outDir: resolve(ROOT, '.build') }),
  ]);
  console.log(models.description);
  const workers = describeWorkers(gpuWorkers, settings.GPU_WORKERS);
  if (workers !== undefined) console.log(workers);
  const keys = namedKeys(readModelRegistry(models.file));
  for (const line of describeMissing(process.env, keys)) console.log(line);
  const cloud = await startCloud({
    port: settings.PORT,
    stateDir,
    gpuWorkers,
    bedrock: models.bedrock === 'aws' ? 'aws' : createGuide(),
    environment: {
      MODELS_FILE: models.file,
      ...keysIn(process.env, keys),
      ...(settings.LOG_LEVEL === undefined ? {} : { LOG_LEVEL: settings.LOG_LEVEL }),
    },
    ...(models.bedrock === 'aws' ? userRegion() : {}),
    managedFunctions: settings.LAMBDA_MODE === 'managed' ? 'interactive' : [],
    ...(settings.LOG === '' ? {} : { onLog: show }),
    ...(settings.CONCURRENCY === undefined ? {} : { concurrency: settings.CONCURRENCY }),
    ...(settings.IDLE_SECONDS === undefined ? {} : { idleMs: settings.IDLE_SECONDS * 1000 }),
  });
  for (const notice of cloud.notices) console.log(notice);
  return cloud;
}

/** Workers come first, because the registry names their addresses. With a registry of the user's own there are none. */
async function prepareModels(
  stateDir: string,
  count = USUAL_GPU_WORKERS,
): Promise<{ models: Discovery; gpuWorkers: Workers }> {
  const gpuWorkers = await startWorkers({ count: process.env['MODELS_FILE'] ? 0 : count });
  return { models: await discoverModels({ env: process.env, stateDir, gpuWorkers: gpuWorkers.workers }), gpuWorkers };
}

function describeWorkers({ workers }: Workers, asked = 0): string | undefined {
  if (workers.length === 0) {
    return asked === 0
      ? undefined
      : `GPU: GPU_WORKERS=${asked} is passed over, because MODELS_FILE says everything: the fleets in it name their workers. docs/gpu.md says how.`;
  }
  const [who, they] =
    workers.length === 1 ? ['one worker', 'it computes'] : [`${workers.length} workers`, 'they compute'];
  return `GPU: gpu is ${who} on this machine, a stand-in: ${they} no model. docs/gpu.md puts real engines there, GPU_WORKERS=0 leaves it out.`;
}

function readSettings(): v.InferOutput<typeof settingsSchema> {
  const set = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ''));
  const result = v.safeParse(settingsSchema, set);
  if (result.success) return result.output;
  const faults = result.issues.map((issue) => `${v.getDotPath(issue)} ${issue.message}`);
  throw new LambentError('configuration', faults.join('\n'));
}

function userRegion(): { region?: string } {
  const region = process.env['AWS_REGION'] ?? process.env['AWS_DEFAULT_REGION'];
  return region === undefined ? {} : { region };
}

function show({ function: name, text }: LogLine): void {
  console.error(`${name} | ${text}`);
}

/** The first signal ends everything in order, the second at once; processes of functions then end by themselves. */
function endOnSignal(starting: Promise<Cloud>): void {
  let ending = false;
  const end = async (): Promise<void> => {
    if (ending) process.exit(1);
    ending = true;
    const cloud = await starting.catch(() => undefined);
    await cloud?.close();
    process.exit(0);
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
}

function explain(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    return `Port ${process.env['PORT'] || 3000} is taken by another program. Choose one with PORT=…`;
  }
  if (error instanceof LambentError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

main().catch((error: unknown) => {
  console.error(explain(error));
  process.exit(1);
});
