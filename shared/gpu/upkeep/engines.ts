import * as v from 'valibot';
import { type EngineClient, parseJson } from './engine-http.ts';
import type { Engine } from './fleet-definition.ts';

/** What the kinds of engine do each in their own way. docs/gpu-fleet.md says which flags each needs for it. */
interface EngineApi {
  /** What differs after each start of the engine; undefined when it doesn't tell. */
  readStart(call: EngineClient): Promise<string | undefined>;
  /** How adapters are loaded and then asked for, in an engine that loads them while it runs. */
  readonly adapters?: {
    readonly path: string;
    /** The model name of a request that wants the adapter. */
    nameOf(adapter: string, base: string): string;
  };
}

const QUICK_MS = 3_000;

/** Of Prometheus' Python client, in the one process that serves: https://prometheus.github.io/client_python/ */
async function pythonStart(call: EngineClient): Promise<string | undefined> {
  const { status, text } = await call.get('metrics', QUICK_MS);
  if (status !== 200) return undefined;
  return /^process_start_time_seconds (\S+)$/m.exec(text)?.[1];
}

const seedSchema = v.object({ random_seed: v.number() });

/** Its metrics come from several processes and name none's start; unless it is given a seed, it draws one as it starts. */
async function sglangStart(call: EngineClient): Promise<string | undefined> {
  for (const path of ['server_info', 'get_server_info']) {
    const { status, text } = await call.get(path, QUICK_MS);
    if (status === 200) return parseJson(seedSchema, text)?.random_seed.toString();
  }
  return undefined;
}

const markerSchema = v.object({ media_marker: v.pipe(v.string(), v.regex(/^<__media_\w{8,}__>$/)) });

/** `--metrics` has a header for it, though no time that a clock shows; newer ones draw a marker as they start. */
async function llamaStart(call: EngineClient): Promise<string | undefined> {
  const metrics = await call.get('metrics', QUICK_MS);
  const start = metrics.status === 200 ? metrics.headers.get('process-start-time-unix') : null;
  if (start !== null) return start;
  // 501 without `--metrics`. What fails otherwise has told its start by then, and the marker would look like another one.
  if (metrics.status >= 500 && metrics.status !== 501) return undefined;
  const props = await call.get('props', QUICK_MS);
  return props.status === 200 ? parseJson(markerSchema, props.text)?.media_marker : undefined;
}

export const ENGINES: Readonly<Record<Engine, EngineApi>> = {
  vllm: { readStart: pythonStart, adapters: { path: 'v1/load_lora_adapter', nameOf: (adapter) => adapter } },
  sglang: {
    readStart: sglangStart,
    // An adapter's bare name would be taken for any name of the base model: its syntax is base:adapter.
    adapters: { path: 'load_lora_adapter', nameOf: (adapter, base) => `${base}:${adapter}` },
  },
  // It has its adapters from its start, and applies them to all requests.
  'llama.cpp': { readStart: llamaStart },
  other: { readStart: pythonStart },
};
