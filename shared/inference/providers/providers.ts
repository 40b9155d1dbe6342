import { once } from '../../core/once.ts';
import type { SlotTimings } from '../../gpu/fleet-timings.ts';
import type { Tier } from '../../gpu/registry/worker.ts';
import type { Candidate } from '../candidates.ts';
import { CAPABILITIES, type Capability } from '../capabilities.ts';
import { type Model, UpstreamError } from '../model.ts';
import type { GpuTarget, ModelRegistry, Target } from '../registry.ts';
import { getBedrockCapabilities } from './bedrock/family.ts';
import type { GpuOptions } from './gpu/gpu.ts';
import { getOpenAICompatibleCapabilities } from './openai-compatible/dialect.ts';

export interface ProviderOptions {
  /** Resolves a reference of `models.json` to a key. */
  readonly secret: (reference: string) => Promise<string>;
  /** What targets on GPU workers need; absent in a function that reaches none, where others have to answer. */
  readonly gpu?: GpuProviderOptions;
}

export interface GpuProviderOptions {
  readonly fleets: ModelRegistry['fleets'];
  /** Name of the fleets' table. */
  readonly tableName: string;
  /** Whose work this function does. */
  readonly tier: Tier;
  readonly timings: SlotTimings;
}

/**
 * Makes the function that makes models. A provider's code, and the SDK it brings, is loaded when a target of its is
 * first used, so that a cold start pays for the one it needs.
 */
export function createModelFactory({ secret, gpu }: ProviderOptions): (candidate: Candidate) => Promise<Model> {
  const fleets = gpu === undefined ? undefined : createGpuModelsOnce(gpu);
  return async ({ target, alias: { maxOutputTokens } }) => {
    switch (target.provider) {
      case 'bedrock': {
        const { createBedrockModel, getBedrockClient } = await import('./bedrock/bedrock.ts');
        return createBedrockModel(target, getBedrockClient(target.region), { maxOutputTokens });
      }
      case 'openai-compatible': {
        const { createOpenAICompatibleModel } = await import('./openai-compatible/openai-compatible.ts');
        return createOpenAICompatibleModel(target, { maxOutputTokens, secret });
      }
      case 'gpu': {
        if (fleets === undefined) throw unreachableFleetError(target);
        const modelOn = await fleets();
        return modelOn(target, { maxOutputTokens, secret });
      }
    }
  };
}

/** Makes the models on GPU workers: those of one environment lease their slots from one place. */
function createGpuModelsOnce({ tableName, fleets, tier, timings }: GpuProviderOptions) {
  return once(async () => {
    const [{ createGpuModel }, { openSlots }] = await Promise.all([
      import('./gpu/gpu.ts'),
      import('./gpu/open-slots.ts'),
    ]);
    const slots = openSlots(tableName, fleets, timings);
    return (target: GpuTarget, options: Pick<GpuOptions, 'maxOutputTokens' | 'secret'>): Model => {
      const fleet = fleets[target.fleet];
      if (fleet === undefined) throw unreachableFleetError(target);
      return createGpuModel(target, { ...options, fleet, tier, slots });
    };
  });
}

function unreachableFleetError({ fleet }: GpuTarget): UpstreamError {
  return new UpstreamError('upstream_misconfigured', `No fleet ${fleet} can be reached from here`, {
    recovery: 'nextTarget',
  });
}

/**
 * Loads every provider that the registry names. Worth its time only where nobody waits: in an environment that is
 * started ahead of its first call.
 */
export async function preloadProviders({ models }: ModelRegistry): Promise<void> {
  const providers = new Set(Object.values(models).flatMap(({ targets }) => targets.map(({ provider }) => provider)));
  if (providers.has('bedrock')) await import('./bedrock/bedrock.ts');
  if (providers.has('openai-compatible')) await import('./openai-compatible/openai-compatible.ts');
  if (providers.has('gpu')) await Promise.all([import('./gpu/gpu.ts'), import('./gpu/open-slots.ts')]);
}

/** What a target can do: what the registry says of it, or else what is known of its provider and model family. */
export function getCapabilities(target: Target): ReadonlySet<Capability> {
  switch (target.provider) {
    case 'bedrock':
      return getBedrockCapabilities(target);
    case 'openai-compatible':
      return getOpenAICompatibleCapabilities(target);
    case 'gpu':
      return new Set(target.capabilities ?? GPU_CAPABILITIES);
  }
}

/**
 * All of OpenAI's API, but for images by URL: an engine that fetches what callers name does so from inside of the network
 * that it stands in.
 */
const GPU_CAPABILITIES = CAPABILITIES.filter((capability) => capability !== 'imageUrls');
