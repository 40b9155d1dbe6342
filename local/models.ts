import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import * as v from 'valibot';
import { LambentError } from '../shared/core/errors.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { type Alias, parseModelRegistry } from '../shared/inference/registry.ts';
import { GUIDE_MODEL } from './bedrock/guide.ts';
import { userCredentials } from './credentials.ts';
import { describeLocalFleet } from './engine/local-fleet.ts';
import type { LocalWorker } from './engine/workers.ts';
import { getJson } from './get-json.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface DiscoverOptions {
  readonly env: Environment;
  /** Where the registry is written that says what was found. */
  readonly stateDir: string;
  /** What `MODELS_FILE` is relative to; the current directory when absent. */
  readonly cwd?: string;
  /** The registry whose Bedrock models are served when AWS credentials are found; the repository's when absent. */
  readonly repositoryModels?: string;
  /** Milliseconds to wait for whoever might be there. */
  readonly fetchTimeoutMs?: number;
  /** Finds the user's AWS credentials, or throws; the AWS SDK's own chain when absent. */
  readonly credentials?: () => Promise<unknown>;
  /** Serve the model `gpu`, beside what is found. */
  readonly gpuWorkers?: () => Promise<readonly LocalWorker[]>;
}

export interface Discovery {
  /** Path of the registry to serve. */
  readonly file: string;
  /** One line for a person: what was chosen, why, and how to choose something else. */
  readonly description: string;
  /** Where Bedrock targets of the registry are to be called: at the stand-in, or at AWS with the user's credentials. */
  readonly bedrock: 'local' | 'aws';
}

/** Models as a `models.json` writes them: what has a default may be left out. */
type WrittenModels = Record<string, unknown>;

/** What one place has to offer, or why it has nothing. */
type Finding =
  | { readonly models: WrittenModels; readonly text: string; readonly bedrock: 'local' | 'aws' }
  | { readonly note: string }
  | undefined;

/**
 * Finds out what `npm start` can serve: what `MODELS_FILE` says; else an OpenAI-compatible endpoint from
 * `OPENAI_BASE_URL` or `OPENAI_API_KEY`; else Bedrock with the user's AWS credentials; else a running Ollama; else the
 * built-in guide. What is found always has a model `default`, and beside all but AWS the guide is there as `guide`;
 * `gpu` is there when there are workers for it.
 * @throws LambentError `configuration` when what the user set is wrong
 */
export async function discoverModels(options: DiscoverOptions): Promise<Discovery> {
  const { env, stateDir } = options;
  if (env['MODELS_FILE']) return fromFile(resolve(options.cwd ?? process.cwd(), env['MODELS_FILE']), options);
  const timeoutMs = options.fetchTimeoutMs ?? 2_000;
  const notes: string[] = [];
  for (const look of [
    () => openai(env, timeoutMs),
    () => aws(env, timeoutMs, options),
    () => ollama(env, timeoutMs),
    guide,
  ]) {
    const found = await look();
    if (found && 'note' in found) notes.push(found.note);
    if (!found || !('models' in found)) continue;
    const file = await writeRegistry(stateDir, found.models, (await options.gpuWorkers?.()) ?? []);
    return { file, description: [...notes, found.text].join(' '), bedrock: found.bedrock };
  }
  throw new LambentError('internal', 'There is always the guide');
}

async function fromFile(file: string, { credentials = awsCredentials }: DiscoverOptions): Promise<Discovery> {
  const registry = readModelRegistry(file);
  const targets = Object.values(registry.models).flatMap((alias) => alias.targets);
  const bedrock = targets.some(({ provider, model }) => provider === 'bedrock' && model !== GUIDE_MODEL);
  // Else every request would be a 500, whose cause is in no function's log: none can start.
  if (bedrock) await credentials().catch((cause: unknown) => refuse(file, cause));
  const withoutDefault = Object.hasOwn(registry.models, 'default')
    ? ''
    : ' None is named default: name yours in requests.';
  return {
    file,
    description: `Models: ${list(Object.keys(registry.models))}, as MODELS_FILE says (${file}).${withoutDefault}`,
    bedrock: bedrock ? 'aws' : 'local',
  };
}

function refuse(file: string, cause: unknown): never {
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `${file} has models on Amazon Bedrock, which need AWS credentials (AWS_PROFILE, for instance): ${why}`;
  throw new LambentError('configuration', message, { cause });
}

async function writeRegistry(
  stateDir: string,
  found: WrittenModels,
  gpuWorkers: readonly LocalWorker[],
): Promise<string> {
  const file = join(stateDir, 'models.json');
  const { models, fleets } = describeLocalFleet(gpuWorkers);
  const text = `${JSON.stringify({ models: { ...models, ...found }, fleets }, null, 2)}\n`;
  parseModelRegistry(text, file);
  await mkdir(stateDir, { recursive: true });
  await writeFile(file, text);
  return file;
}

const OPENAI_URL = 'https://api.openai.com/v1';

async function openai(env: Environment, timeoutMs: number): Promise<Finding> {
  if (!env['OPENAI_BASE_URL'] && !env['OPENAI_API_KEY']) return undefined;
  const baseUrl = checkedUrl(env['OPENAI_BASE_URL'] || OPENAI_URL, 'OPENAI_BASE_URL');
  const key = env['OPENAI_API_KEY'];
  const listed = await getJson(
    `${baseUrl}/models`,
    modelList,
    timeoutMs,
    key ? { authorization: `Bearer ${key}` } : {},
  );
  const chosen = env['OPENAI_MODEL'];
  // An endpoint that answers, but has no list, is good enough for who knows the model's name.
  const usable =
    listed.ok || (chosen !== undefined && listed.status !== undefined && ![401, 403].includes(listed.status));
  if (!usable) return { note: `OpenAI at ${baseUrl} was passed over: ${listed.problem}.` };
  const ids = listed.ok
    ? listed.value.data
        .map(({ id }) => id)
        .filter(isChatModel)
        .sort()
    : [];
  const model = chosen ?? PREFERRED.find((id) => ids.includes(id)) ?? ids[0];
  if (model === undefined) return { note: `OpenAI at ${baseUrl} was passed over: it lists no model to chat with.` };
  const aliases = { default: model, [model]: model, ...Object.fromEntries(ids.map((id) => [id, id])) };
  const target = {
    provider: 'openai-compatible',
    baseUrl,
    ...(key && { apiKey: 'env:OPENAI_API_KEY' }),
    // OpenAI's own newer models refuse the older name.
    ...(baseUrl === OPENAI_URL && { maxTokensParameter: 'max_completion_tokens' }),
  };
  return {
    bedrock: 'local',
    models: withGuide(aliasesTo(aliases, target)),
    text: `Models: ${baseUrl}, default is ${model}${andMore(ids, model)}. OPENAI_MODEL names another one, MODELS_FILE decides everything.`,
  };
}

/** Cheap and quick ones first: whoever wants another names it. */
const PREFERRED = ['gpt-5-mini', 'gpt-4.1-mini', 'gpt-4o-mini', 'deepseek-chat'];

/** Whether a model's id doesn't tell that it is for something else than conversation. */
function isChatModel(id: string): boolean {
  return (
    id.length <= 200 &&
    !/embed|whisper|tts|dall-e|image|audio|realtime|moderation|transcribe|rerank|sora|davinci|babbage|bge-|minilm|instruct$/i.test(
      id,
    )
  );
}

const modelList = v.object({ data: v.array(v.object({ id: v.pipe(v.string(), v.minLength(1)) })) });

async function aws(
  env: Environment,
  timeoutMs: number,
  { repositoryModels, credentials = awsCredentials }: DiscoverOptions,
): Promise<Finding> {
  if (!mayHaveCredentials(env)) return undefined;
  const file = repositoryModels ?? resolve(import.meta.dirname, '../models.json');
  const models = await bedrockModels(file);
  if (Object.keys(models).length === 0) return { note: `AWS was passed over: ${file} has no Bedrock model.` };
  const problem = await settled(credentials(), timeoutMs);
  if (problem !== undefined) return { note: `AWS was passed over: ${problem}.` };
  return {
    bedrock: 'aws',
    models,
    text: `Models: ${list(Object.keys(models))} on Amazon Bedrock, with your AWS credentials. MODELS_FILE decides everything, OPENAI_BASE_URL names another endpoint.`,
  };
}

/**
 * Whether there is any sign of credentials. Without one the SDK's chain would end at the metadata service of a virtual
 * machine, and wait there for an answer that a laptop never gives.
 */
function mayHaveCredentials(env: Environment): boolean {
  const named = [
    'AWS_ACCESS_KEY_ID',
    'AWS_PROFILE',
    'AWS_WEB_IDENTITY_TOKEN_FILE',
    'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
    'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  ].some((name) => env[name]);
  const folder = join(env['HOME'] ?? homedir(), '.aws');
  const files = [
    env['AWS_SHARED_CREDENTIALS_FILE'] ?? join(folder, 'credentials'),
    env['AWS_CONFIG_FILE'] ?? join(folder, 'config'),
  ];
  return named || files.some((file) => existsSync(file));
}

async function awsCredentials(): Promise<unknown> {
  return (await userCredentials())();
}

/** What kept `work` from succeeding in time, in words; undefined when it did. */
async function settled(work: Promise<unknown>, timeoutMs: number): Promise<string | undefined> {
  const { promise: late, resolve: expire } = Promise.withResolvers<string>();
  const timer = setTimeout(() => expire('its credentials did not come in time'), timeoutMs);
  const done = work.then(
    () => undefined,
    (thrown: unknown) => `its credentials are no use (${thrown instanceof Error ? thrown.message : String(thrown)})`,
  );
  return Promise.race([done, late]).finally(() => clearTimeout(timer));
}

/** The aliases of a registry that Bedrock alone can serve, with a `default` among them. */
async function bedrockModels(file: string): Promise<WrittenModels> {
  const { models } = readModelRegistry(file);
  const only = ([, alias]: [string, Alias]): boolean => alias.targets.every(({ provider }) => provider === 'bedrock');
  const kept = new Map(Object.entries(models).filter(only));
  const [first] = kept.values();
  if (first && !kept.has('default')) kept.set('default', first);
  return Object.fromEntries(
    [...kept].map(([name, alias]) => [
      name,
      { ...alias, fallbacks: alias.fallbacks.filter((other) => kept.has(other)) },
    ]),
  );
}

const tags = v.object({
  models: v.array(v.object({ name: v.pipe(v.string(), v.minLength(1)), modified_at: v.optional(v.string(), '') })),
});

async function ollama(env: Environment, timeoutMs: number): Promise<Finding> {
  const host = env['OLLAMA_HOST'] || '127.0.0.1:11434';
  const url = checkedUrl(host.includes('://') ? host : `http://${host}`, 'OLLAMA_HOST').replace(
    '//0.0.0.0',
    '//127.0.0.1',
  );
  const listed = await getJson(`${url}/api/tags`, tags, timeoutMs);
  if (!listed.ok) {
    // Nobody said that there was one: its absence is no news.
    return env['OLLAMA_HOST'] ? { note: `Ollama at ${url} was passed over: ${listed.problem}.` } : undefined;
  }
  // The one that was pulled last comes first: most likely it is the one in use.
  const names = listed.value.models
    .sort((a, b) => b.modified_at.localeCompare(a.modified_at) || a.name.localeCompare(b.name))
    .map(({ name }) => name)
    .filter(isChatModel);
  const [model] = names;
  if (model === undefined) return { note: `Ollama at ${url} was passed over: it has no model yet (ollama pull …).` };
  const aliases = { default: model, ...Object.fromEntries(names.map((name) => [name, name])) };
  // A model that is not in memory yet takes its time to load.
  const patience = { firstTokenTimeoutMs: 180_000 };
  return {
    bedrock: 'local',
    models: withGuide(aliasesTo(aliases, { provider: 'openai-compatible', baseUrl: `${url}/v1` }, patience)),
    text: `Models: Ollama at ${url}, default is ${model}${andMore(names, model)}. MODELS_FILE decides everything, OPENAI_BASE_URL names another endpoint.`,
  };
}

function guide(): Promise<Finding> {
  return Promise.resolve({
    bedrock: 'local',
    models: withGuide({ default: GUIDE }),
    text: 'Models: default is the built-in guide, which answers questions about Lambent from its documentation and is no language model. For a real one set OPENAI_API_KEY or OPENAI_BASE_URL, sign in to AWS, start Ollama, or set MODELS_FILE.',
  });
}

/** The guide answers whatever it is sent, so that a new user's first client works: it says so where it can't do more. */
const GUIDE = {
  targets: [{ provider: 'bedrock', model: GUIDE_MODEL, capabilities: ['images', 'tools', 'stop'] }],
};

function withGuide(models: WrittenModels): WrittenModels {
  return { guide: GUIDE, ...models };
}

function aliasesTo(aliases: Readonly<Record<string, string>>, target: object, settings: object = {}): WrittenModels {
  const entries = Object.entries(aliases);
  return Object.fromEntries(entries.map(([name, model]) => [name, { targets: [{ ...target, model }], ...settings }]));
}

/** @throws LambentError `configuration` naming the variable */
function checkedUrl(text: string, variable: string): string {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password) {
    throw new LambentError('configuration', `${variable} must be an http or https URL without credentials in it`);
  }
  return text.replace(/\/+$/, '');
}

function andMore(names: readonly string[], model: string): string {
  const others = names.filter((name) => name !== model).length;
  return others === 0 ? '' : `, and ${others} more under their own names`;
}

function list(names: readonly string[]): string {
  return names.length <= 5 ? names.join(', ') : `${names.slice(0, 4).join(', ')} and ${names.length - 4} more`;
}
