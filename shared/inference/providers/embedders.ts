import { once } from '../../core/once.ts';
import type { Candidate } from '../candidates.ts';
import type { Embedder } from '../embedding.ts';
import { UpstreamError } from '../model.ts';
import type { GpuProviderOptions, ProviderOptions } from './providers.ts';

/**
 * Returns the function that creates embedders. It imports a provider's code and SDK when the provider is first used, so
 * a cold start loads only the provider that it needs.
 */
export function createEmbedderFactory({
  secret,
  gpu,
}: {
  readonly secret: ProviderOptions['secret'];
  readonly gpu: GpuProviderOptions;
}): (candidate: Candidate) => Promise<Embedder> {
  /** All GPU models of an environment share one client that leases slots. */
  const openSlotsOnce = once(async () => {
    const { openSlots } = await import('./gpu/open-slots.ts');
    return openSlots(gpu.tableName, gpu.fleets, gpu.timings);
  });
  return async ({ target, alias: { embeddings } }) => {
    switch (target.provider) {
      case 'bedrock': {
        const [{ createBedrockEmbedder }, { getBedrockClient }] = await Promise.all([
          import('./bedrock/embedder.ts'),
          import('./bedrock/bedrock.ts'),
        ]);
        return createBedrockEmbedder(target, getBedrockClient(target.region), {
          inputType: embeddings?.inputType ?? 'search_document',
        });
      }
      case 'openai-compatible': {
        const { createOpenAICompatibleEmbedder } = await import('./openai-compatible/embedder.ts');
        return createOpenAICompatibleEmbedder(target, { secret });
      }
      case 'gpu': {
        const fleet = gpu.fleets[target.fleet];
        if (fleet === undefined) throw unknownFleetError(target.fleet);
        const [{ createGpuEmbedder }, slots] = await Promise.all([import('./gpu/embedder.ts'), openSlotsOnce()]);
        return createGpuEmbedder(target, { fleet, tier: gpu.tier, slots, secret });
      }
    }
  };
}

function unknownFleetError(fleet: string): UpstreamError {
  return new UpstreamError('upstream_misconfigured', `The fleet ${fleet} does not exist`, { recovery: 'nextTarget' });
}
