import { checkModel } from '../access/model-permissions.ts';
import type { Caller } from '../access/principal.ts';
import type { Embed, Embeddings } from '../inference/embedding.ts';
import { hasSection, type StagePorts } from './policy-stages.ts';

/** Embeddings, and the response headers of the caller's limits. */
export interface GovernedEmbeddings extends Embeddings {
  readonly headers?: Readonly<Record<string, string>>;
}

export type GovernedEmbedOptions = Parameters<Embed>[1] & { readonly caller: Caller };

/** Embeds the inputs of a request under the caller's policy. Throws as `Embed` and `GovernedRouter.generate`. */
export type GovernedEmbed = (
  request: Parameters<Embed>[0],
  options: GovernedEmbedOptions,
) => Promise<GovernedEmbeddings>;

/** Creates the function that embeds under the policies of callers. The code of a stage is loaded with the first policy. */
export function createGovernedEmbed(embed: Embed, { loadLimits }: Pick<StagePorts, 'loadLimits'>): GovernedEmbed {
  return async (request, options) => {
    const { policy } = options.caller;
    checkModel(policy, request.model);
    const masked: Embed = async (each, call) => {
      if (!hasSection(policy, 'personalData')) return embed(each, call);
      const { maskEmbeddings } = await import('../safety/personal/mask-embeddings.ts');
      return embed(await maskEmbeddings(each, policy, { telemetry: options.telemetry }), call);
    };
    if (!hasSection(policy, 'limits')) return masked(request, options);
    return (await loadLimits()).embed(request, options, masked);
  };
}
