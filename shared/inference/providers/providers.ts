import type { Candidate } from '../candidates.ts';
import type { Capability } from '../capabilities.ts';
import type { Model } from '../model.ts';
import type { Target } from '../registry.ts';
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

/** What a target can do: what the registry says of it, or else what is known of its provider and model family. */
export function capabilitiesOf(target: Target): ReadonlySet<Capability> {
  switch (target.provider) {
    case 'bedrock':
      return bedrockCapabilities(target);
    case 'openai-compatible':
      return openAICompatibleCapabilities(target);
  }
}
