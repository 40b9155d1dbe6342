import { once } from '../../core/once.ts';
import type { SlotTimings } from '../../gpu/fleet-timings.ts';
import type { Tier } from '../../gpu/registry/worker.ts';
import type { Candidate } from '../candidates.ts';
import { CAPABILITIES, type Capability, RARE_CAPABILITIES } from '../capabilities.ts';
import type { ContinuationSeal } from '../continuation-seal.ts';
import { type Model, UpstreamError } from '../model.ts';
import { getLimits } from '../model-limits.ts';
import type { GpuTarget, ModelRegistry, Target } from '../registry.ts';
import { sealContinuations } from '../sealed-model.ts';
import { getBedrockCapabilities } from './bedrock/family.ts';
import type { GpuOptions } from './gpu/gpu.ts';
import { getOpenAICompatibleCapabilities } from './openai-compatible/dialect.ts';

export interface ProviderOptions {
  /** Resolves a reference in `models.json` to a key. */
  readonly secret: (reference: string) => Promise<string>;
  /** Seals the continuations that callers get. */
  readonly seal: ContinuationSeal;
  /** Options of targets on GPU workers; absent in a function that can't reach workers and uses other targets. */
  readonly gpu?: GpuProviderOptions;
}

export interface GpuProviderOptions {
  readonly fleets: ModelRegistry['fleets'];
  /** Name of the fleet table. */
  readonly tableName: string;
  /** Whether this function serves interactive or batch work. */
  readonly tier: Tier;
  readonly timings: SlotTimings;
}

/**
 * Returns the function that creates models. It imports a provider's code and SDK when the provider is first used, so a
 * cold start loads only the provider that it needs. Callers see the models' continuations sealed.
 */
export function createModelFactory({ seal, ...options }: ProviderOptions): (candidate: Candidate) => Promise<Model> {
  const createModel = createProviderModelFactory(options);
  return async (candidate) => sealContinuations(await createModel(candidate), seal);
}

function createProviderModelFactory({ secret, gpu }: Omit<ProviderOptions, 'seal'>) {
  const loadGpuModels = gpu === undefined ? undefined : createGpuModelsOnce(gpu);
  return async ({ target, alias }: Candidate): Promise<Model> => {
    const maxOutputTokens = getOutputLimit(alias, target);
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
        if (loadGpuModels === undefined) throw unreachableFleetError(target);
        const createGpuModel = await loadGpuModels();
        return createGpuModel(target, { maxOutputTokens, secret });
      }
    }
  };
}

/**
 * Returns the output limit to send if the caller sets none. Bedrock gets the model's own limit, too, because it reserves
 * quota for the limit of each request. Other upstreams limit an answer themselves, by what their context leaves.
 */
function getOutputLimit(alias: Candidate['alias'], target: Target): number | undefined {
  return target.provider === 'bedrock' ? getLimits(alias, target).maxOutputTokens : alias.maxOutputTokens;
}

/** Loads the GPU provider once. All GPU models of an environment share one client that leases slots. */
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
  return new UpstreamError('upstream_misconfigured', `This function cannot reach the fleet ${fleet}`, {
    recovery: 'nextTarget',
  });
}

/**
 * Imports the code of every provider in the registry. Use it only in an environment that starts before its first
 * request (provisioned concurrency), where no caller waits for the imports.
 */
export async function preloadProviders({ models }: ModelRegistry): Promise<void> {
  const providers = new Set(Object.values(models).flatMap(({ targets }) => targets.map(({ provider }) => provider)));
  if (providers.has('bedrock')) await import('./bedrock/bedrock.ts');
  if (providers.has('openai-compatible')) await import('./openai-compatible/openai-compatible.ts');
  if (providers.has('gpu')) await Promise.all([import('./gpu/gpu.ts'), import('./gpu/open-slots.ts')]);
}

/** Returns a target's capabilities: those in the registry, or else the defaults of its provider and model family. */
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
 * All of OpenAI's API except documents, which engines don't read, and images by URL: an engine would fetch a URL that a
 * caller chooses from inside its own network.
 */
const GPU_CAPABILITIES = CAPABILITIES.filter(
  (each) => each !== 'imageUrls' && each !== 'documents' && !RARE_CAPABILITIES.includes(each),
);
