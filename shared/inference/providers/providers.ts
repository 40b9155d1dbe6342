import type { Candidate } from '../candidates.ts';
import type { Capability } from '../capabilities.ts';
import type { Model } from '../model.ts';
import type { Registry, Target } from '../registry.ts';
import { bedrockCapabilities } from './bedrock/family.ts';
import { openAICompatibleCapabilities } from './openai-compatible/dialect.ts';

export interface ProviderOptions {
  /** Resolves a reference of `models.json` to a key. */
  readonly secret: (reference: string) => Promise<string>;
}

/**
 * Makes the function that makes models. A provider's code, and the SDK it brings, is loaded when a target of its is
 * first used, so that a cold start pays for the one it needs.
 */
export function createModelFor({ secret }: ProviderOptions): (candidate: Candidate) => Promise<Model> {
  return async ({ target, alias: { maxOutputTokens } }) => {
    switch (target.provider) {
      case 'bedrock': {
        const { createBedrockModel, bedrockClientFor } = await import('./bedrock/bedrock.ts');
        return createBedrockModel(target, bedrockClientFor(target.region), { maxOutputTokens });
      }
      case 'openai-compatible': {
        const { createOpenAICompatibleModel } = await import('./openai-compatible/openai-compatible.ts');
        return createOpenAICompatibleModel(target, { maxOutputTokens, secret });
      }
    }
  };
}

/**
 * Loads every provider that the registry names. Worth its time only where nobody waits: in an environment that is
 * started ahead of its first call.
 */
export async function preloadProviders({ models }: Registry): Promise<void> {
  const providers = new Set(Object.values(models).flatMap(({ targets }) => targets.map(({ provider }) => provider)));
  if (providers.has('bedrock')) await import('./bedrock/bedrock.ts');
  if (providers.has('openai-compatible')) await import('./openai-compatible/openai-compatible.ts');
}

/** What a target can do: what the registry says of it, or else what is known of its provider and model family. */
export function capabilitiesOf(target: Target): ReadonlySet<Capability> {
  switch (target.provider) {
    case 'bedrock':
      return bedrockCapabilities(target);
    case 'openai-compatible':
      return openAICompatibleCapabilities(target);
  }
}
