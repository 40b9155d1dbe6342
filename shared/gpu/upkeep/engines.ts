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
 * A metric of Prometheus' Python client, in an engine that serves from one process:
 * https://prometheus.github.io/client_python/
 */
async function readPythonStart(client: EngineClient): Promise<string | undefined> {
  const { status, text } = await client.get('metrics', REQUEST_TIMEOUT_MS);
  if (status !== 200) return undefined;
  return /^process_start_time_seconds (\S+)$/m.exec(text)?.[1];
}

const seedSchema = v.object({ random_seed: v.number() });

/**
 * SGLang's metrics come from several processes and include no start time. It draws a random seed at its start unless
 * one is given.
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
 * llama.cpp sends a header with `--metrics` (not a time that a clock shows). Newer versions also draw a media marker at
 * their start.
 */
async function readLlamaStart(client: EngineClient): Promise<string | undefined> {
  const metrics = await client.get('metrics', REQUEST_TIMEOUT_MS);
  const start = metrics.status === 200 ? metrics.headers.get('process-start-time-unix') : null;
  if (start !== null) return start;
  // 501 means that `--metrics` is off. With any other error the header may have been read before, and the marker would
  // look like another start.
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
