/** `npm start`: the whole service on this machine. */
import { readFile } from 'node:fs/promises';
import { relative, resolve } from 'node:path';
import * as v from 'valibot';
import { bundleFunctions } from '../infra/bundle/build.ts';
import { LambentError } from '../shared/runtime/errors.ts';
import { createGuide } from './bedrock/guide.ts';
import { type Cloud, startCloud } from './cloud.ts';
import type { LogLine } from './lambda/environment.ts';
import { discoverModels } from './models.ts';

const ROOT = resolve(import.meta.dirname, '..');
const STATE_DIR = resolve(ROOT, '.local');

/** What `npm start` can be told by environment variables. */
const settingsSchema = v.object({
  /** Port of the API on 127.0.0.1. */
  PORT: v.optional(port(), '3000'),
  /** Shows what functions log; it is kept in `.local/logs` in any case. */
  LOG: v.optional(v.string(), ''),
  LOG_LEVEL: v.optional(v.picklist(['debug', 'info', 'warn', 'error'])),
});

function port() {
  const message = 'must be a port number from 1 to 65535, or 0 for any free one';
  return v.pipe(v.string(), v.regex(/^\d{1,5}$/, message), v.transform(Number), v.maxValue(65_535, message));
}

async function main(): Promise<void> {
  const starting = start();
  endOnSignal(starting);
  const cloud = await starting;
  console.log(`ready ${cloud.url}`);
}

async function start(): Promise<Cloud> {
  const settings = readSettings();
  const [models] = await Promise.all([
    discoverModels({ env: process.env, stateDir: STATE_DIR }),
    bundleFunctions({ outDir: resolve(ROOT, '.build') }),
  ]);
  console.log(models.description);
  const cloud = await startCloud({
    port: settings.PORT,
    stateDir: STATE_DIR,
    bedrock: models.bedrock === 'aws' ? 'aws' : createGuide(),
    environment: {
      MODELS_FILE: models.file,
      ...(await keysNamedIn(models.file)),
      ...(settings.LOG_LEVEL === undefined ? {} : { LOG_LEVEL: settings.LOG_LEVEL }),
    },
    ...(models.bedrock === 'aws' ? userRegion() : {}),
    ...(settings.LOG === '' ? {} : { onLog: show }),
  });
  for (const notice of cloud.notices) console.log(notice);
  return cloud;
}

function readSettings(): v.InferOutput<typeof settingsSchema> {
  const set = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ''));
  const result = v.safeParse(settingsSchema, set);
  if (result.success) return result.output;
  const faults = result.issues.map((issue) => `${v.getDotPath(issue)} ${issue.message}`);
  throw new LambentError('configuration', faults.join('\n'));
}

/** The keys that the models are reached with: a function gets no more of the user's environment than its registry names. */
async function keysNamedIn(modelsFile: string): Promise<Record<string, string>> {
  const text = await readFile(modelsFile, 'utf8');
  const names = [...text.matchAll(/"env:(\w+)"/g)].flatMap(([, name]) => name ?? []);
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
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
  console.error(explain(error).replaceAll(STATE_DIR, relative(process.cwd(), STATE_DIR)));
  process.exit(1);
});
