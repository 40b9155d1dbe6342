import * as v from 'valibot';
import type { UpkeepTimings } from '../fleet-timings.ts';
import { createEngineClient, type EngineClient, parseJson } from './engine-http.ts';
import { ENGINES } from './engines.ts';
import type { FleetDefinition } from './fleet-definition.ts';

/** What a look at a worker found. */
export type ProbeResult = HealthyResult | UnhealthyResult;
export interface HealthyResult {
  readonly healthy: true;
  /** Names that it answers to. */
  readonly models: readonly string[];
  /** What differs after each of its starts; undefined when it doesn't tell, or could not be asked this time. */
  readonly start: string | undefined;
  /** Adapters that it should have and could not load. */
  readonly missingAdapters: readonly string[];
}
export interface UnhealthyResult {
  readonly healthy: false;
  readonly reason: string;
}

/** Looks at workers. Never throws: whatever goes wrong is what was found. */
export interface Probe {
  /** Asks for its models, which it lists once they are loaded, and loads the adapters that it should have. */
  checkModels(url: string): Promise<ProbeResult>;
  /**
   * Whether it generates a token: nothing less shows that an engine works, as most answer for their HTTP server alone.
   * @returns what keeps it from that; undefined when it does
   */
  checkGeneration(url: string, model: string): Promise<UnhealthyResult | undefined>;
}

const modelsSchema = v.object({ data: v.array(v.object({ id: v.string() })) });

export type ProbeTimings = Pick<UpkeepTimings, 'listModelsMs' | 'generateTokenMs' | 'loadAdapterMs'>;

/** Of a fleet: what its probe needs to know. */
export type ProbedFleet = Pick<FleetDefinition, 'engine' | 'apiKey' | 'lora'>;

/**
 * Makes the probes of fleets, by name.
 * @param secret what a key's reference stands for
 */
export function createProbeFactory(
  fleets: Readonly<Record<string, ProbedFleet>>,
  secret: (reference: string) => Promise<string>,
  timings: ProbeTimings,
): (fleet: string) => Promise<Probe> {
  return async (name) => {
    const { engine, apiKey, lora } = fleets[name] ?? NOTHING_KNOWN;
    return createProbe({ engine, lora, apiKey: apiKey === undefined ? undefined : await secret(apiKey) }, timings);
  };
}

const NOTHING_KNOWN: ProbedFleet = { engine: 'other', lora: {} };

/**
 * Makes the probe of one fleet's workers.
 * @param fleet with its key itself, not its reference
 */
export function createProbe({ engine, apiKey, lora }: ProbedFleet, timings: ProbeTimings): Probe {
  const { readStart, adapters } = ENGINES[engine];
  const wanted = adapters === undefined ? [] : Object.keys(lora);

  /** Whether the engine has an adapter now: it had it, or has loaded it. */
  async function load(call: EngineClient, path: string, name: string): Promise<boolean> {
    const ask = { lora_name: name, lora_path: lora[name] };
    const answer = await call.post(path, ask, timings.loadAdapterMs).catch(() => undefined);
    // Another probe may have loaded it meanwhile; and not every version lists what it has.
    return answer?.status === 200 || (answer?.status === 400 && /already/i.test(answer.text));
  }

  return {
    async checkModels(url) {
      const call = createEngineClient(url, apiKey);
      try {
        const { status, text } = await call.get('v1/models', timings.listModelsMs);
        if (status !== 200) return { healthy: false, reason: `status ${status}` };
        const listed = parseJson(modelsSchema, text)?.data.map(({ id }) => id) ?? [];
        const bases = listed.filter((id) => !wanted.includes(id));
        const [base] = bases;
        if (base === undefined) return { healthy: false, reason: 'lists no model' };
        const [start, ...loaded] = await Promise.all([
          readStart(call).catch(() => undefined),
          ...wanted.map((name) => listed.includes(name) || load(call, adapters?.path ?? '', name)),
        ]);
        const has = wanted.filter((_, index) => loaded[index]);
        return {
          healthy: true,
          models: [...bases, ...has.map((name) => adapters?.nameOf(name, base) ?? name)],
          start,
          missingAdapters: wanted.filter((name) => !has.includes(name)),
        };
      } catch (thrown) {
        return { healthy: false, reason: nameFailure(thrown) };
      }
    },
    async checkGeneration(url, model) {
      const ask = { model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 1 };
      try {
        const { status } = await createEngineClient(url, apiKey).post(
          'v1/chat/completions',
          ask,
          timings.generateTokenMs,
        );
        return status === 200 ? undefined : { healthy: false, reason: `status ${status} for a token` };
      } catch (thrown) {
        return { healthy: false, reason: nameFailure(thrown) };
      }
    },
  };
}

/** `ECONNREFUSED`, `TimeoutError`… What an error says may quote what was answered, so only its name is kept. */
function nameFailure(thrown: unknown): string {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  if (!(cause instanceof Error)) return 'failed';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name;
}
