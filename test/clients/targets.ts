import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { startCloud } from '../../local/cloud.ts';
import { startUpstream } from '../upstreams/openai-upstream.ts';
import { scriptedUpstream } from './model/chat.ts';
import { scriptedConverse } from './model/converse.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** What serves the model `default`: the built-in guide, an OpenAI-compatible upstream, or Bedrock's stand-in. */
export type Kind = 'guide' | 'upstream' | 'bedrock';
export const KINDS: readonly Kind[] = ['guide', 'upstream', 'bedrock'];

export interface Target extends AsyncDisposable {
  /** The API's base URL, with `/v1`. */
  readonly url: string;
}

/** Starts the whole service with a model `default` of the kind. */
export async function startTarget(kind: Kind): Promise<Target> {
  const stateDir = await mkdtemp(join(tmpdir(), 'lambent-clients-'));
  const parts = await startParts(kind, stateDir);
  return {
    url: parts.url,
    async [Symbol.asyncDispose]() {
      await parts.close();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

interface Parts {
  readonly url: string;
  readonly close: () => Promise<void>;
}

async function startParts(kind: Kind, stateDir: string): Promise<Parts> {
  if (kind === 'guide') return runStart(stateDir, {});
  if (kind === 'bedrock') return startWithBedrock(stateDir);
  const upstream = await startUpstream(scriptedUpstream);
  const service = await runStart(stateDir, { OPENAI_BASE_URL: upstream.baseUrl });
  return { url: service.url, close: () => service.close().then(upstream.close) };
}

/** Runs the command of `npm start`, without this shell's variables that would select a model. */
async function runStart(stateDir: string, environment: Readonly<Record<string, string>>): Promise<Parts> {
  const fixed = { HOME: stateDir, STATE_DIR: stateDir, PORT: '0', GPU_WORKERS: '0' };
  // At this address no Ollama listens.
  const env = { PATH: process.env['PATH'], ...fixed, OLLAMA_HOST: '127.0.0.1:1', ...environment };
  const child = spawn(process.execPath, ['local/start.js'], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  let output = '';
  const url = await new Promise<string>((ready, reject) => {
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      const address = /^ready (\S+)$/m.exec(output)?.[1];
      if (address !== undefined) ready(address);
    });
    child.on('exit', (code) => reject(new Error(`npm start exited with ${code}: ${output}`)));
  });
  return {
    url,
    async close() {
      child.kill('SIGINT');
      await exited;
    },
  };
}

/** Serves the repository's `models.json`, whose `default` is a Claude model on Bedrock. */
async function startWithBedrock(stateDir: string): Promise<Parts> {
  const cloud = await startCloud({
    stateDir,
    bedrock: scriptedConverse,
    schedules: false,
    managedFunctions: 'interactive',
    environment: { MODELS_FILE: join(ROOT, 'models.json') },
  });
  return { url: cloud.url, close: () => cloud.close() };
}
