import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import * as v from 'valibot';
import { countTokens, embedText } from '../embed-text.ts';
import { listen } from '../listen.ts';
import { readBody } from '../read-body.ts';
import { BLOCK_TOKENS, handleChat, sendJson } from './chat.ts';
import { type ChatRequest, chatRequestSchema } from './chat-request.ts';
import { Engine } from './engine.ts';
import { formatMetrics } from './engine-metrics.ts';
import { HttpError } from './http-error.ts';
import type { ObserveRequest } from './request-observer.ts';
import { STEP_MODELS } from './step-model.ts';

export interface EngineServerOptions {
  /** Name of the model. */
  readonly model: string;
  /** The GPU whose speed the engine imitates. */
  readonly gpu: keyof typeof STEP_MODELS;
  /** Factor by which the engine is faster than that GPU. */
  readonly speed: number;
  /** Requests that run at once. Further requests wait. */
  readonly slots: number;
  /** Maximum tokens of one request's prompt and answer together. */
  readonly contextTokens: number;
  /** API key for the paths under `/v1`. If absent, none is required. */
  readonly apiKey?: string;
  /** Default 0: any free port. */
  readonly port?: number;
  /** Observes chat completions. */
  readonly observe?: ObserveRequest;
}

export interface EngineServer {
  readonly port: number;
  /** The API's base: `http://127.0.0.1:8000/v1`. */
  readonly url: string;
  /** Stops the server and closes the connections of requests in progress. */
  close(): Promise<void>;
}

/** vLLM's default. */
const STEP_TOKENS = 2_048;
const MAX_BODY_BYTES = 64 * 1024 * 1024;

/**
 * Starts a stand-in for an inference engine on 127.0.0.1. It serves the part of vLLM's HTTP API that Lambent and
 * OpenAI's clients use, and simulates the time that a GPU would take.
 * @throws the system's error (`EADDRINUSE`…) if it can't listen
 */
export async function startEngineServer(options: EngineServerOptions): Promise<EngineServer> {
  const { model, gpu, speed, slots, contextTokens, observe } = options;
  const stepModel = STEP_MODELS[gpu];
  const engine = new Engine({
    // The worker is small: it has no more memory than its slots can fill.
    model: { ...stepModel, cacheTokens: Math.min(stepModel.cacheTokens, slots * contextTokens) },
    maxSequences: slots,
    stepTokens: Math.max(STEP_TOKENS, 2 * slots),
    blockTokens: BLOCK_TOKENS,
    speed,
  });
  /** Paths of the loaded LoRA adapters, by name. */
  const adapters = new Map<string, string>();

  function answerChat(body: ChatRequest, response: ServerResponse): void {
    if (body.model === model || adapters.has(body.model))
      handleChat(body, response, { engine, contextTokens, observe });
    else throw new HttpError(404, 'NotFoundError', `The model \`${body.model}\` does not exist.`);
  }

  function answerEmbeddings(body: v.InferOutput<typeof embeddingsSchema>, response: ServerResponse): void {
    if (body.model !== model) throw new HttpError(404, 'NotFoundError', `The model \`${body.model}\` does not exist.`);
    const inputs = typeof body.input === 'string' ? [body.input] : body.input;
    const texts = inputs.map((each) => (typeof each === 'string' ? each : String(each)));
    const data = texts.map((each, index) => ({ object: 'embedding', index, embedding: embedText(each, DIMENSIONS) }));
    const tokens = texts.reduce((sum, each) => sum + countTokens(each), 0);
    sendJson(response, 200, {
      ...{ object: 'list', model, data },
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    });
  }

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url?.split('?')[0] ?? '';
    if (path.startsWith('/v1/')) checkKey(request, options.apiKey);
    switch (`${request.method} ${path}`) {
      case 'POST /v1/chat/completions':
        return answerChat(await readJson(request, chatRequestSchema), response);
      case 'POST /v1/embeddings':
        return answerEmbeddings(await readJson(request, embeddingsSchema), response);
      case 'GET /v1/models':
        return sendJson(response, 200, listModels(model, contextTokens, adapters));
      case 'POST /v1/load_lora_adapter':
        return sendText(response, loadAdapter(await readJson(request, adapterSchema), model, adapters));
      case 'POST /v1/unload_lora_adapter':
        return sendText(response, unloadAdapter(await readJson(request, adapterNameSchema), adapters));
      case 'GET /health':
        return sendText(response, '');
      case 'GET /metrics':
        return sendText(response, formatMetrics(engine, model));
      default:
        throw new HttpError(404, 'NotFoundError', 'Not Found');
    }
  }

  const server = createServer((request, response) => {
    route(request, response).catch((thrown: unknown) => {
      if (thrown instanceof HttpError) sendJson(response, thrown.status, thrown.body);
      else response.destroy();
    });
  });
  const listening = await listen(server, { port: options.port ?? 0 });
  return {
    port: listening.port,
    url: `http://127.0.0.1:${listening.port}/v1`,
    async close() {
      engine.close();
      await listening.close();
    },
  };
}

/** Length of the vectors, as those of Qwen3-Embedding-0.6B. */
const DIMENSIONS = 1_024;
const embeddingsSchema = v.looseObject({
  model: v.string(),
  input: v.union([v.string(), v.array(v.string()), v.array(v.number()), v.array(v.array(v.number()))]),
});

const adapterNameSchema = v.looseObject({ lora_name: v.pipe(v.string(), v.minLength(1)) });
const adapterSchema = v.looseObject({
  ...adapterNameSchema.entries,
  lora_path: v.pipe(v.string(), v.minLength(1)),
});

/**
 * Loads an adapter and returns vLLM's message.
 * @see https://docs.vllm.ai/en/latest/features/lora/#dynamically-serving-lora-adapters
 */
function loadAdapter(
  { lora_name: name, lora_path: path }: v.InferOutput<typeof adapterSchema>,
  model: string,
  adapters: Map<string, string>,
): string {
  if (name === model || adapters.has(name)) {
    throw new HttpError(400, 'InvalidUserInput', `The lora adapter '${name}' has already been loaded.`);
  }
  adapters.set(name, path);
  return `Success: LoRA adapter '${name}' added successfully.`;
}

function unloadAdapter({ lora_name: name }: v.InferOutput<typeof adapterNameSchema>, adapters: Map<string, string>) {
  if (!adapters.delete(name)) throw new HttpError(404, 'NotFoundError', `The lora adapter '${name}' cannot be found.`);
  return `Success: LoRA adapter '${name}' removed successfully.`;
}

function listModels(model: string, contextTokens: number, adapters: ReadonlyMap<string, string>): object {
  const common = { object: 'model', created: Math.floor(performance.timeOrigin / 1000), owned_by: 'lambent' };
  const loaded = [...adapters].map(([id, root]) => ({ ...common, id, root, parent: model }));
  const base = { ...common, id: model, root: model, parent: null, max_model_len: contextTokens };
  return { object: 'list', data: [base, ...loaded] };
}

function checkKey({ headers }: IncomingMessage, apiKey: string | undefined): void {
  if (apiKey === undefined || headers.authorization === `Bearer ${apiKey}`) return;
  throw new HttpError(401, 'AuthenticationError', 'Unauthorized');
}

async function readJson<Schema extends v.GenericSchema>(
  request: IncomingMessage,
  schema: Schema,
): Promise<v.InferOutput<Schema>> {
  const body = await readBody(request, MAX_BODY_BYTES);
  if (body === undefined) throw new HttpError(413, 'BadRequestError', 'The request is too large.');
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), body.toString('utf8'));
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new HttpError(400, 'BadRequestError', `${v.getDotPath(issue) ?? 'body'}: ${issue.message}`);
}

function sendText(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
  response.end(text);
}
