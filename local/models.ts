import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import * as v from 'valibot';
import { LambentError } from '../shared/core/errors.ts';
import { isObject } from '../shared/core/objects.ts';
import { CAPABILITIES, type Capability } from '../shared/inference/capabilities.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { type Alias, parseModelRegistry } from '../shared/inference/registry.ts';
import { GUIDE_MODEL } from './bedrock/guide.ts';
import { createUserCredentialProvider } from './credentials.ts';
import { describeLocalFleet } from './engine/local-fleet.ts';
import type { LocalWorker } from './engine/workers.ts';
import { getJson } from './get-json.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface DiscoverOptions {
  readonly env: Environment;
  /** Folder into which the registry of the models that were found is written. */
  readonly stateDir: string;
  /** Folder that `MODELS_FILE` is relative to; the current directory when absent. */
  readonly cwd?: string;
  /**
   * Path of the registry whose Bedrock models are served if there are AWS credentials; the repository's when absent.
   */
  readonly repositoryModels?: string;
  /** Milliseconds to wait for a server, or for credentials. */
  readonly fetchTimeoutMs?: number;
  /** Finds the user's AWS credentials, or throws; the AWS SDK's own chain when absent. */
  readonly credentials?: () => Promise<unknown>;
  /** Returns the GPU workers that serve the model `gpu`. */
  readonly gpuWorkers?: () => Promise<readonly LocalWorker[]>;
}

export interface Discovery {
  /** Path of the registry to serve. */
  readonly file: string;
  /** A line to print: which models are served, from which source, and how to change it. */
  readonly description: string;
  /**
   * `local` if Bedrock targets are called on the stand-in, `aws` if they are called in AWS with the user's credentials.
   */
  readonly bedrock: 'local' | 'aws';
}

/** Models as they are written in a `models.json`, where fields with a default can be absent. */
type WrittenModels = Record<string, unknown>;

/** The models of one source, or a note why it has none. Undefined if nothing indicates that the source exists. */
type Finding =
  | { readonly models: WrittenModels; readonly text: string; readonly bedrock: 'local' | 'aws' }
  | { readonly note: string }
  | undefined;

/**
 * Finds the models that `npm start` serves. The first of these sources that has models is used:
 * 1. `MODELS_FILE`;
 * 2. an OpenAI-compatible endpoint, if `OPENAI_BASE_URL` or `OPENAI_API_KEY` is set;
 * 3. Bedrock, with the user's AWS credentials;
 * 4. a running Ollama;
 * 5. the built-in guide.
 *
 * All sources but `MODELS_FILE` have a model `default`. All but `MODELS_FILE` and Bedrock also have the guide, as
 * `guide`, and all but `MODELS_FILE` have `gpu` if there are GPU workers.
 * @throws LambentError `configuration` if one of the user's settings is invalid
 */
export async function discoverModels(options: DiscoverOptions): Promise<Discovery> {
  const { env, stateDir } = options;
  if (env['MODELS_FILE']) return useFile(resolve(options.cwd ?? process.cwd(), env['MODELS_FILE']), options);
  const timeoutMs = options.fetchTimeoutMs ?? 2_000;
  const notes: string[] = [];
  for (const find of [
    () => findOpenAI(env, timeoutMs),
    () => findBedrock(env, timeoutMs, options),
    () => findOllama(env, timeoutMs),
    useGuide,
  ]) {
    const found = await find();
    if (found && 'note' in found) notes.push(found.note);
    if (!found || !('models' in found)) continue;
    const file = await writeRegistry(stateDir, found.models, (await options.gpuWorkers?.()) ?? []);
    return { file, description: [...notes, found.text].join(' '), bedrock: found.bedrock };
  }
  throw new LambentError('internal', 'The guide was not found');
}

async function useFile(file: string, { credentials = findAwsCredentials }: DiscoverOptions): Promise<Discovery> {
  const { models } = readModelRegistry(file);
  const targets = Object.values(models).flatMap((alias) => alias.targets);
  const usesAws = targets.some(({ provider, model }) => provider === 'bedrock' && model !== GUIDE_MODEL);
  // Without credentials no function could start, and every request would get a 500 that no log explains.
  if (usesAws) await credentials().catch((cause: unknown) => throwNoCredentials(file, cause));
  const hint = Object.hasOwn(models, 'default') ? '' : ' There is no model "default": name a model in each request.';
  return {
    file,
    description: `Models: ${joinNames(Object.keys(models))}, from MODELS_FILE (${file}).${hint}`,
    bedrock: usesAws ? 'aws' : 'local',
  };
}

function throwNoCredentials(file: string, cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const needs = 'which need AWS credentials (AWS_PROFILE, for instance)';
  const message = `${file} has models on Amazon Bedrock, ${needs}: ${reason}`;
  throw new LambentError('configuration', message, { cause });
}

async function writeRegistry(
  stateDir: string,
  found: WrittenModels,
  gpuWorkers: readonly LocalWorker[],
): Promise<string> {
  const file = join(stateDir, 'models.json');
  const { models, fleets } = describeLocalFleet(gpuWorkers);
  const registry = { models: { ...models, ...found }, patterns: describePatterns(found), fleets };
  const text = `${JSON.stringify(registry, null, 2)}\n`;
  parseModelRegistry(text, file);
  await mkdir(stateDir, { recursive: true });
  await writeFile(file, text);
  return file;
}

/** Other names for embeddings mean the first model that embeds, and all others the default model. */
function describePatterns(models: WrittenModels): Readonly<Record<string, string>> {
  const embedding = Object.entries(models).find(([, alias]) => isObject(alias) && alias['embeddings'] !== undefined);
  return { ...(embedding && { '*embed*': embedding[0] }), '*': 'default' };
}

const OPENAI_URL = 'https://api.openai.com/v1';

async function findOpenAI(env: Environment, timeoutMs: number): Promise<Finding> {
  if (!env['OPENAI_BASE_URL'] && !env['OPENAI_API_KEY']) return undefined;
  const baseUrl = checkUrl(env['OPENAI_BASE_URL'] || OPENAI_URL, 'OPENAI_BASE_URL');
  const key = env['OPENAI_API_KEY'];
  const listed = await getJson(
    `${baseUrl}/models`,
    modelList,
    timeoutMs,
    key ? { authorization: `Bearer ${key}` } : {},
  );
  const chosen = env['OPENAI_MODEL'];
  // Some endpoints list no models. They can be used with a model that the user names, unless they refused the key.
  const isUsable =
    listed.ok || (chosen !== undefined && listed.status !== undefined && ![401, 403].includes(listed.status));
  if (!isUsable) return { note: `OpenAI at ${baseUrl} was skipped: ${listed.problem}.` };
  const listedIds = listed.ok ? listed.value.data.map(({ id }) => id).sort() : [];
  const ids = listedIds.filter(isChatModel);
  const model = chosen ?? PREFERRED.find((id) => ids.includes(id)) ?? ids[0];
  if (model === undefined) return { note: `OpenAI at ${baseUrl} was skipped: it lists no chat model.` };
  const aliases = { default: model, [model]: model, ...Object.fromEntries(ids.map((id) => [id, id])) };
  const target = {
    provider: 'openai-compatible',
    baseUrl,
    ...(key && { apiKey: 'env:OPENAI_API_KEY' }),
    // OpenAI's newer models refuse `max_tokens`.
    ...(baseUrl === OPENAI_URL && {
      maxTokensParameter: 'max_completion_tokens',
      passThrough: ['chat', 'responses'],
    }),
  };
  return {
    bedrock: 'local',
    models: addGuide({
      ...createAliases(aliases, target),
      ...createEmbeddingAliases(listedIds, target, baseUrl === OPENAI_URL ? {} : DECODED),
    }),
    text: [
      `Models: ${baseUrl}, default is ${model}${describeOthers(ids, model)}.`,
      'OPENAI_MODEL chooses another default, MODELS_FILE replaces all of this.',
    ].join(' '),
  };
}

/** The model `default` is the first of these that the endpoint lists. They are cheap and fast. */
const PREFERRED = ['gpt-5-mini', 'gpt-4.1-mini', 'gpt-4o-mini', 'deepseek-chat'];

/** Returns false if a model's id shows that it is not for conversations. */
function isChatModel(id: string): boolean {
  return (
    id.length <= 200 &&
    !/embed|whisper|tts|dall-e|image|audio|realtime|moderation|transcribe|rerank|sora|davinci|babbage|bge-|minilm|instruct$/i.test(
      id,
    )
  );
}

/** Returns true if a model's id shows that it generates embeddings. */
function isEmbeddingModel(id: string): boolean {
  return id.length <= 200 && /embed|bge-|minilm|gte-|\be5-/i.test(id) && !/rerank/i.test(id);
}

/** Clients send token ids of OpenAI's encoding to any model. Only OpenAI's own models can read them. */
const DECODED = { tokens: 'cl100k_base' };

function createEmbeddingAliases(ids: readonly string[], target: object, embeddings: object): WrittenModels {
  const names = ids.filter(isEmbeddingModel);
  return createAliases(Object.fromEntries(names.map((name) => [name, name])), target, { embeddings });
}

const modelList = v.object({ data: v.array(v.object({ id: v.pipe(v.string(), v.minLength(1)) })) });

async function findBedrock(
  env: Environment,
  timeoutMs: number,
  { repositoryModels, credentials = findAwsCredentials }: DiscoverOptions,
): Promise<Finding> {
  if (!mayHaveCredentials(env)) return undefined;
  const file = repositoryModels ?? resolve(import.meta.dirname, '../models.json');
  const models = readBedrockModels(file);
  if (Object.keys(models).length === 0) return { note: `AWS was skipped: ${file} has no Bedrock model.` };
  const problem = await findCredentialsProblem(credentials(), timeoutMs);
  if (problem !== undefined) return { note: `AWS was skipped: ${problem}.` };
  return {
    bedrock: 'aws',
    models,
    text: [
      `Models: ${joinNames(Object.keys(models))} on Amazon Bedrock, with your AWS credentials.`,
      'OPENAI_BASE_URL chooses an OpenAI-compatible endpoint instead, MODELS_FILE replaces all of this.',
    ].join(' '),
  };
}

/**
 * Returns true if a variable or a file indicates that there are credentials. Without one, the SDK would try the
 * metadata service of an EC2 instance last, and wait for a response that never comes on a laptop.
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

async function findAwsCredentials(): Promise<unknown> {
  return (await createUserCredentialProvider())();
}

/** Describes why credentials were not found in time. Returns undefined if they were. */
async function findCredentialsProblem(credentials: Promise<unknown>, timeoutMs: number): Promise<string | undefined> {
  const { promise: late, resolve: expire } = Promise.withResolvers<string>();
  const timer = setTimeout(() => expire('its credentials did not arrive in time'), timeoutMs);
  const outcome = credentials.then(
    () => undefined,
    (error: unknown) => `its credentials can't be used (${error instanceof Error ? error.message : String(error)})`,
  );
  return Promise.race([outcome, late]).finally(() => clearTimeout(timer));
}

/** Returns the aliases of a registry whose targets are all on Bedrock, the first also as `default` if none is. */
function readBedrockModels(file: string): WrittenModels {
  const { models } = readModelRegistry(file);
  const isOnBedrock = ([, alias]: [string, Alias]): boolean =>
    alias.targets.every(({ provider }) => provider === 'bedrock');
  const selected = new Map(Object.entries(models).filter(isOnBedrock));
  const [first] = selected.values();
  if (first && !selected.has('default')) selected.set('default', first);
  return Object.fromEntries(
    [...selected].map(([name, alias]) => [
      name,
      { ...alias, fallbacks: alias.fallbacks.filter((fallback) => selected.has(fallback)) },
    ]),
  );
}

const ollamaTags = v.object({
  models: v.array(v.object({ name: v.pipe(v.string(), v.minLength(1)), modified_at: v.optional(v.string(), '') })),
});

async function findOllama(env: Environment, timeoutMs: number): Promise<Finding> {
  const host = env['OLLAMA_HOST'] || '127.0.0.1:11434';
  const url = checkUrl(host.includes('://') ? host : `http://${host}`, 'OLLAMA_HOST').replace(
    '//0.0.0.0',
    '//127.0.0.1',
  );
  const listed = await getJson(`${url}/api/tags`, ollamaTags, timeoutMs);
  if (!listed.ok) {
    // A user who set no OLLAMA_HOST doesn't expect Ollama.
    return env['OLLAMA_HOST'] ? { note: `Ollama at ${url} was skipped: ${listed.problem}.` } : undefined;
  }
  // The model that was pulled last is most likely the one in use.
  const pulled = listed.value.models
    .sort((a, b) => b.modified_at.localeCompare(a.modified_at) || a.name.localeCompare(b.name))
    .map(({ name }) => name);
  const names = pulled.filter(isChatModel);
  const [model] = names;
  if (model === undefined) return { note: `Ollama at ${url} was skipped: it has no model yet (ollama pull …).` };
  const aliases = { default: model, ...Object.fromEntries(names.map((name) => [name, name])) };
  const target = { provider: 'openai-compatible', baseUrl: `${url}/v1` };
  // Ollama loads a model into memory at its first request.
  const timeouts = { firstTokenTimeoutMs: 180_000 };
  return {
    bedrock: 'local',
    models: addGuide({
      ...createAliases(aliases, target, timeouts),
      ...createEmbeddingAliases(pulled, target, DECODED),
    }),
    text: [
      `Models: Ollama at ${url}, default is ${model}${describeOthers(names, model)}.`,
      'OPENAI_BASE_URL chooses another endpoint, MODELS_FILE replaces all of this.',
    ].join(' '),
  };
}

function useGuide(): Promise<Finding> {
  return Promise.resolve({
    bedrock: 'local',
    models: addGuide({ default: GUIDE, embeddings: STAND_IN_EMBEDDINGS }),
    text: [
      'Models: default is the built-in guide.',
      'It answers questions about Lambent from its documentation and is not a language model.',
      'Embeddings are made of the words of a text, not of its meaning.',
      'For a language model, set OPENAI_API_KEY or OPENAI_BASE_URL, sign in to AWS, start Ollama, or set MODELS_FILE.',
    ].join(' '),
  });
}

/** What the guide, or Bedrock's API on its way, can't do. */
const NOT_OF_GUIDE: readonly Capability[] = ['imageUrls', 'logprobs', 'names', 'serviceTiers'];

/** The guide accepts every kind of request, so that a new user's first client works; it says what it can't do. */
const GUIDE = {
  targets: [
    {
      provider: 'bedrock',
      model: GUIDE_MODEL,
      capabilities: CAPABILITIES.filter((capability) => !NOT_OF_GUIDE.includes(capability)),
    },
  ],
};

/** The stand-in for Bedrock computes the vectors. */
const STAND_IN_EMBEDDINGS = {
  targets: [{ provider: 'bedrock', model: 'amazon.titan-embed-text-v2:0' }],
  embeddings: DECODED,
};

function addGuide(models: WrittenModels): WrittenModels {
  return { guide: GUIDE, ...models };
}

/** Returns aliases whose targets differ only in their model. */
function createAliases(
  modelsByAlias: Readonly<Record<string, string>>,
  target: object,
  settings: object = {},
): WrittenModels {
  const entries = Object.entries(modelsByAlias);
  return Object.fromEntries(entries.map(([name, model]) => [name, { targets: [{ ...target, model }], ...settings }]));
}

/**
 * Returns a URL without trailing slashes.
 * @throws LambentError `configuration`, naming the variable, if the text is not an http or https URL
 */
function checkUrl(text: string, variable: string): string {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password) {
    throw new LambentError('configuration', `${variable} must be an http or https URL without credentials in it`);
  }
  return text.replace(/\/+$/, '');
}

/** Returns how a sentence about one model ends: `, and 3 more under their own names`; empty if there are no others. */
function describeOthers(names: readonly string[], model: string): string {
  const others = names.filter((name) => name !== model).length;
  return others === 0 ? '' : `, and ${others} more under their own names`;
}

function joinNames(names: readonly string[]): string {
  return names.length <= 5 ? names.join(', ') : `${names.slice(0, 4).join(', ')} and ${names.length - 4} more`;
}
