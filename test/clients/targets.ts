import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { startCloud } from '../../local/cloud.ts';
import { readModelRegistry } from '../../shared/inference/read-registry.ts';
import type { Target as ModelTarget } from '../../shared/inference/registry.ts';
import { startUpstream } from '../upstreams/openai-upstream.ts';
import { scriptedUpstream } from './model/chat.ts';
import { scriptedConverse } from './model/converse.ts';
import { refuseBeyond } from './model/limits.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/**
 * What serves the model `default`: the built-in guide, an OpenAI-compatible upstream that can do everything, models on
 * Bedrock's stand-in, and upstreams with the capabilities of DeepSeek and Qwen in `models.json`.
 */
export const KINDS = [
  'guide',
  'upstream',
  'claude',
  'nova',
  'deepseek',
  'qwen',
  'bedrock-deepseek',
  'bedrock-qwen',
] as const;
export type Kind = (typeof KINDS)[number];

/** The kind that all clients' checks pass with. */
export const FULL_KIND: Kind = 'upstream';

/** The first target of these models of `models.json`, or a target that it doesn't have. */
const TARGETS: Readonly<Record<Exclude<Kind, 'guide' | 'upstream'>, string | object>> = {
  claude: 'default',
  nova: 'small',
  deepseek: 'deepseek-chat',
  qwen: 'Qwen/Qwen3-8B',
  'bedrock-deepseek': { provider: 'bedrock', model: 'deepseek.v3.2' },
  'bedrock-qwen': { provider: 'bedrock', model: 'qwen.qwen3-32b-v1:0' },
};

export interface Target extends AsyncDisposable {
  /** The API's base URL, with `/v1`. */
  readonly url: string;
}

/** Starts the whole service with a model `default` of the kind. */
export async function startTarget(kind: Kind): Promise<Target> {
  const cleanup = new AsyncDisposableStack();
  const stateDir = await mkdtemp(join(tmpdir(), 'lambent-clients-'));
  cleanup.defer(() => rm(stateDir, { recursive: true, force: true }));
  const url = await startParts(kind, stateDir, cleanup);
  return { url, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}

async function startParts(kind: Kind, stateDir: string, cleanup: AsyncDisposableStack): Promise<string> {
  if (kind === 'guide') return runStart(stateDir, {}, cleanup);
  if (kind === 'upstream') {
    const { baseUrl } = cleanup.use(await startUpstream(scriptedUpstream));
    return runStart(stateDir, { OPENAI_BASE_URL: baseUrl }, cleanup);
  }
  const models = readModelRegistry(join(ROOT, 'models.json')).models;
  const named = TARGETS[kind];
  const target = typeof named === 'string' ? models[named]?.targets[0] : named;
  if (target === undefined) throw new Error(`models.json has no model ${named}`);
  // Without fallbacks, which would answer in place of a target that can't.
  const registry = {
    models: { default: { targets: [await serveTarget(target, cleanup)] }, embeddings: models['embeddings'] },
  };
  const file = join(stateDir, 'matrix.json');
  await writeFile(file, JSON.stringify(registry));
  const cloud = await startCloud({
    stateDir,
    bedrock: scriptedConverse,
    schedules: false,
    managedFunctions: 'interactive',
    environment: { MODELS_FILE: file },
  });
  cleanup.defer(() => cloud.close());
  return cloud.url;
}

/** Returns the target with the address of a stand-in that refuses what the target's capabilities lack. */
async function serveTarget(target: object | ModelTarget, cleanup: AsyncDisposableStack): Promise<object> {
  if (!('provider' in target) || target.provider !== 'openai-compatible' || !('capabilities' in target)) return target;
  const { apiKey: _, capabilities = [], ...rest } = target as ModelTarget & { readonly apiKey?: unknown };
  const { baseUrl } = cleanup.use(await startUpstream(refuseBeyond(capabilities, scriptedUpstream)));
  return { ...rest, capabilities, baseUrl };
}

/** Runs the command of `npm start`, without this shell's variables that would select a model. */
async function runStart(
  stateDir: string,
  environment: Readonly<Record<string, string>>,
  cleanup: AsyncDisposableStack,
): Promise<string> {
  const fixed = { HOME: stateDir, STATE_DIR: stateDir, PORT: '0', GPU_WORKERS: '0' };
  // At this address no Ollama listens.
  const env = { PATH: process.env['PATH'], ...fixed, OLLAMA_HOST: '127.0.0.1:1', ...environment };
  const child = spawn(process.execPath, ['local/start.js'], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  cleanup.defer(async () => {
    child.kill('SIGINT');
    await exited;
  });
  let output = '';
  return new Promise<string>((ready, reject) => {
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      const address = /^ready (\S+)$/m.exec(output)?.[1];
      if (address !== undefined) ready(address);
    });
    child.on('exit', (code) => reject(new Error(`npm start exited with ${code}: ${output}`)));
  });
}
