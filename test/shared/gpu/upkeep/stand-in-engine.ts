import { createServer, type IncomingMessage } from 'node:http';
import { listen } from '../../../../local/listen.ts';
import { readBody } from '../../../../local/read-body.ts';

/** The state of an engine. Tests change it while the engine runs. */
export interface EngineState {
  kind: 'vllm' | 'sglang' | 'llama.cpp' | 'plain';
  /** Names of the listed models. Empty while the engine loads. */
  models: string[];
  /** Identifies this start of the engine. If empty, the engine reports no start. */
  start: string;
  /** If false, a request for a token gets no response. */
  generates: boolean;
  /** Number of requests that fail from now on. */
  failures: number;
  /** The request that fails, as named in `requests`. */
  failsAt: string | undefined;
  /** Loaded adapters. */
  adapters: string[];
  /** True if adapters are listed as models. */
  listsAdapters: boolean;
  /** If defined, every request is redirected to this URL. */
  redirect: string | undefined;
  apiKey: string | undefined;
}

export interface StandInEngine extends AsyncDisposable {
  /** The base URL of the API. */
  readonly url: string;
  readonly state: EngineState;
  /** The requests in order, such as `GET /v1/models`. */
  readonly requests: string[];
  /** Stops listening. `restart` starts it again at the same address. */
  stop(): Promise<void>;
  restart(changes?: Partial<EngineState>): Promise<void>;
}

/** Starts a stand-in for an inference engine with the endpoints that probes use. */
export async function startStandInEngine(changes: Partial<EngineState> = {}): Promise<StandInEngine> {
  const state: EngineState = {
    kind: 'vllm',
    models: ['Qwen/Qwen3-8B'],
    start: '1.8e+09',
    generates: true,
    failures: 0,
    failsAt: undefined,
    adapters: [],
    listsAdapters: true,
    redirect: undefined,
    apiKey: undefined,
    ...changes,
  };
  const requests: string[] = [];
  const serve = (port: number) =>
    listen(
      createServer(async (request, response) => {
        const path = `${request.method} ${request.url}`;
        requests.push(path);
        if (state.redirect !== undefined) return response.writeHead(302, { location: state.redirect }).end();
        if (state.failures > 0) {
          state.failures -= 1;
          return response.writeHead(500).end();
        }
        if (state.failsAt === path) return response.writeHead(500).end();
        const key = request.headers.authorization;
        if (state.apiKey !== undefined && key !== `Bearer ${state.apiKey}`) return response.writeHead(401).end();
        const answer = await respond(path, request, state);
        if (answer === undefined) return undefined;
        const [status, body, headers = {}] = answer;
        return response.writeHead(status, headers).end(body);
      }),
      { port },
    );
  let listening = await serve(0);
  const { port } = listening;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    state,
    requests,
    stop: () => listening.close(),
    async restart(more = {}) {
      await listening.close();
      Object.assign(state, more);
      listening = await serve(port);
    },
    [Symbol.asyncDispose]: () => listening.close(),
  };
}

type Answer = readonly [status: number, body: string, headers?: Record<string, string>];
const NOT_FOUND: Answer = [404, '{"detail":"Not Found"}'];

async function respond(path: string, request: IncomingMessage, state: EngineState): Promise<Answer | undefined> {
  const { kind, models, start, adapters } = state;
  const reportsStart = start !== '';
  switch (path) {
    case 'GET /v1/models': {
      const listed = state.listsAdapters ? [...models, ...adapters] : models;
      return [200, JSON.stringify({ object: 'list', data: listed.map((id) => ({ id, object: 'model' })) })];
    }
    case 'POST /v1/chat/completions':
      if (!state.generates) return undefined;
      return [200, JSON.stringify({ choices: [{ index: 0, message: { role: 'assistant', content: 'Hi' } }] })];
    case 'GET /metrics':
      if (kind === 'vllm' && reportsStart)
        return [200, `# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds ${start}\n`];
      if (kind === 'llama.cpp' && reportsStart) return [200, 'llamacpp:x 1\n', { 'Process-Start-Time-Unix': start }];
      return NOT_FOUND;
    case 'GET /get_server_info':
      return kind === 'sglang' && reportsStart ? [200, JSON.stringify({ random_seed: Number(start) })] : NOT_FOUND;
    case 'GET /props':
      return kind === 'llama.cpp' ? [200, JSON.stringify({ media_marker: '<__media_YoNhud46VdDq__>' })] : NOT_FOUND;
    case 'POST /v1/load_lora_adapter':
      return kind === 'vllm' ? load(request, state) : NOT_FOUND;
    case 'POST /load_lora_adapter':
      return kind === 'sglang' ? load(request, state) : NOT_FOUND;
    default:
      return NOT_FOUND;
  }
}

async function load(request: IncomingMessage, { adapters }: EngineState): Promise<Answer> {
  const { lora_name: name, lora_path: path } = JSON.parse(String(await readBody(request, 10_000)));
  if (adapters.includes(name))
    return [400, `{"error":{"message":"The lora adapter '${name}' has already been loaded."}}`];
  if (path === '/nowhere') return [404, '{"error":{"message":"No adapter found"}}'];
  adapters.push(name);
  return [200, `Success: LoRA adapter '${name}' added successfully.`];
}
