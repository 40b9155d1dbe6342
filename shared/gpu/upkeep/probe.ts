import * as v from 'valibot';
import type { UpkeepTimings } from '../fleet-timings.ts';
import { createEngineClient, type EngineClient, parseJson } from './engine-http.ts';
import { ENGINES } from './engines.ts';
import type { FleetDefinition } from './fleet-definition.ts';

export type ProbeResult = HealthyResult | UnhealthyResult;

export interface HealthyResult {
  readonly healthy: true;
  /** The names that the engine serves. */
  readonly models: readonly string[];
  /** Changes at each start of the engine; undefined if the engine doesn't report it or this probe could not read it. */
  readonly start: string | undefined;
  /** Configured adapters that the engine could not load. */
  readonly missingAdapters: readonly string[];
}

export interface UnhealthyResult {
  readonly healthy: false;
  readonly reason: string;
}

/** Probes workers. Never throws: an error is an unhealthy result. */
export interface Probe {
  /** Lists the worker's models, which an engine reports once they are loaded, and loads the configured adapters. */
  checkModels(url: string): Promise<ProbeResult>;
  /**
   * Generates one token. Only this shows that the engine works, because its HTTP server answers most other requests
   * alone.
   * @returns undefined if a token was generated
   */
  checkGeneration(url: string, model: string): Promise<UnhealthyResult | undefined>;
}

export type ProbeTimings = Pick<UpkeepTimings, 'listModelsMs' | 'generateTokenMs' | 'loadAdapterMs'>;

const modelsSchema = v.object({ data: v.array(v.object({ id: v.string() })) });

/** The settings of a fleet that its probe needs. */
export type ProbedFleet = Pick<FleetDefinition, 'engine' | 'apiKey' | 'lora'>;

/**
 * Returns a function that creates the probe of a fleet, by its name.
 * @param secret resolves the reference to a fleet's key
 */
export function createProbeFactory(
  fleets: Readonly<Record<string, ProbedFleet>>,
  secret: (reference: string) => Promise<string>,
  timings: ProbeTimings,
): (fleet: string) => Promise<Probe> {
  return async (name) => {
    const { engine, apiKey, lora } = fleets[name] ?? UNKNOWN_FLEET;
    return createProbe({ engine, lora, apiKey: apiKey === undefined ? undefined : await secret(apiKey) }, timings);
  };
}

const UNKNOWN_FLEET: ProbedFleet = { engine: 'other', lora: {} };

/**
 * Creates the probe of a fleet's workers.
 * @param fleet its `apiKey` is the key itself, not a reference
 */
export function createProbe({ engine, apiKey, lora }: ProbedFleet, timings: ProbeTimings): Probe {
  const { readStart, adapters } = ENGINES[engine];
  const wanted = adapters === undefined ? [] : Object.keys(lora);

  /** Loads an adapter. Returns true if the engine has it now, even if it was loaded before. */
  async function loadAdapter(client: EngineClient, path: string, name: string): Promise<boolean> {
    const body = { lora_name: name, lora_path: lora[name] };
    const response = await client.post(path, body, timings.loadAdapterMs).catch(() => undefined);
    // Another probe may have loaded it meanwhile, and not every engine version lists its adapters.
    return response?.status === 200 || (response?.status === 400 && /already/i.test(response.text));
  }

  return {
    async checkModels(url) {
      const client = createEngineClient(url, apiKey);
      try {
        const { status, text } = await client.get('v1/models', timings.listModelsMs);
        if (status !== 200) return { healthy: false, reason: `status ${status}` };
        const listed = parseJson(modelsSchema, text)?.data.map(({ id }) => id) ?? [];
        const bases = listed.filter((id) => !wanted.includes(id));
        const [base] = bases;
        if (base === undefined) return { healthy: false, reason: 'lists no model' };
        const [start, ...loaded] = await Promise.all([
          readStart(client).catch(() => undefined),
          ...wanted.map((name) => listed.includes(name) || loadAdapter(client, adapters?.path ?? '', name)),
        ]);
        const available = wanted.filter((_, index) => loaded[index]);
        return {
          healthy: true,
          models: [...bases, ...available.map((name) => adapters?.modelName(name, base) ?? name)],
          start,
          missingAdapters: wanted.filter((name) => !available.includes(name)),
        };
      } catch (thrown) {
        return { healthy: false, reason: getErrorName(thrown) };
      }
    },
    async checkGeneration(url, model) {
      const body = { model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 1 };
      const client = createEngineClient(url, apiKey);
      try {
        const { status } = await client.post('v1/chat/completions', body, timings.generateTokenMs);
        return status === 200 ? undefined : { healthy: false, reason: `status ${status} for a token` };
      } catch (thrown) {
        return { healthy: false, reason: getErrorName(thrown) };
      }
    },
  };
}

/**
 * Returns an error's code or name (`ECONNREFUSED`, `TimeoutError`), without its message, which may quote the response.
 */
function getErrorName(thrown: unknown): string {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  if (!(cause instanceof Error)) return 'failed';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name;
}
