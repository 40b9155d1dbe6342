import * as v from 'valibot';
import { type EngineClient, parseJson } from './engine-http.ts';
import type { Engine } from './fleet-definition.ts';

/**
 * The operations that differ between kinds of engine. docs/gpu-fleet.md lists the flags that each kind needs for them.
 */
interface EngineApi {
  /** Returns a value that changes at each start of the engine; undefined if the engine doesn't report one. */
  readStart(client: EngineClient): Promise<string | undefined>;
  /** How to load LoRA adapters and request them. Absent for an engine that can't load them while it runs. */
  readonly adapters?: {
    readonly path: string;
    /** Returns the model name of a request for the adapter. */
    modelName(adapter: string, base: string): string;
  };
}

const REQUEST_TIMEOUT_MS = 3_000;

/**
 * Reads the start time of the engine's process, a metric of Prometheus' Python client. An engine that serves from
 * several processes doesn't report it.
 * @see https://prometheus.github.io/client_python/
 */
async function readPythonStart(client: EngineClient): Promise<string | undefined> {
  const { status, text } = await client.get('metrics', REQUEST_TIMEOUT_MS);
  if (status !== 200) return undefined;
  return /^process_start_time_seconds (\S+)$/m.exec(text)?.[1];
}

const seedSchema = v.object({ random_seed: v.number() });

/**
 * Reads SGLang's random seed. SGLang draws it at each start unless a seed is given. Its metrics come from several
 * processes and include no start time.
 */
async function readSglangStart(client: EngineClient): Promise<string | undefined> {
  for (const path of ['server_info', 'get_server_info']) {
    const { status, text } = await client.get(path, REQUEST_TIMEOUT_MS);
    if (status === 200) return parseJson(seedSchema, text)?.random_seed.toString();
  }
  return undefined;
}

const markerSchema = v.object({ media_marker: v.pipe(v.string(), v.regex(/^<__media_\w{8,}__>$/)) });

/**
 * Reads the start header that llama.cpp sends with `--metrics` (its value is not a wall-clock time), or else the media
 * marker that newer versions draw at each start.
 */
async function readLlamaStart(client: EngineClient): Promise<string | undefined> {
  const metrics = await client.get('metrics', REQUEST_TIMEOUT_MS);
  const start = metrics.status === 200 ? metrics.headers.get('process-start-time-unix') : null;
  if (start !== null) return start;
  // 501 means that `--metrics` is off. With any other error, an earlier probe may have read the header, and returning
  // the marker now would look like another start.
  if (metrics.status >= 500 && metrics.status !== 501) return undefined;
  const props = await client.get('props', REQUEST_TIMEOUT_MS);
  return props.status === 200 ? parseJson(markerSchema, props.text)?.media_marker : undefined;
}

export const ENGINES: Readonly<Record<Engine, EngineApi>> = {
  vllm: {
    readStart: readPythonStart,
    adapters: { path: 'v1/load_lora_adapter', modelName: (adapter) => adapter },
  },
  sglang: {
    readStart: readSglangStart,
    // SGLang's syntax is base:adapter. It would treat an adapter's bare name as a name of the base model.
    adapters: { path: 'load_lora_adapter', modelName: (adapter, base) => `${base}:${adapter}` },
  },
  // llama.cpp loads its adapters at its start, and applies them to all requests.
  'llama.cpp': { readStart: readLlamaStart },
  other: { readStart: readPythonStart },
};
