import { checkModel } from '../access/model-permissions.ts';
import type { Policy } from '../access/policy.ts';
import { LambentError } from '../core/errors.ts';
import type { Embed, EmbeddingRequest, Embeddings } from '../inference/embedding.ts';
import type { GovernedOptions } from './governed-router.ts';
import { hasSection, type StagePorts } from './policy-stages.ts';

/** Embeddings, and the response headers of the caller's limits. */
export interface GovernedEmbeddings extends Embeddings {
  readonly headers?: Readonly<Record<string, string>>;
}

export type GovernedEmbedOptions = Parameters<Embed>[1] & Pick<GovernedOptions, 'caller' | 'defer'>;

/** Embeds the inputs of a request under the caller's policy. Throws as `Embed` and `GovernedRouter.generate`. */
export type GovernedEmbed = (
  request: Parameters<Embed>[0],
  options: GovernedEmbedOptions,
) => Promise<GovernedEmbeddings>;

/** Creates the function that embeds under the policies of callers. The code of a stage is loaded with the first policy. */
export function createGovernedEmbed(
  embed: Embed,
  { registry, loadLimits }: Pick<StagePorts, 'registry' | 'loadLimits'>,
): GovernedEmbed {
  return async (request, options) => {
    const { policy } = options.caller;
    checkModel(policy, request.model);
    const checked: Embed = async (each, call) => embed(await applyContentPolicy(each, policy, registry, options), call);
    if (!hasSection(policy, 'limits')) return checked(request, options);
    return (await loadLimits()).embed(request, options, checked);
  };
}

/**
 * Returns the request as a policy lets a model get it.
 * @throws LambentError if the policy doesn't permit its content, or it can't be checked
 */
async function applyContentPolicy(
  request: EmbeddingRequest,
  policy: Policy,
  registry: StagePorts['registry'],
  { telemetry, signal }: GovernedEmbedOptions,
): Promise<EmbeddingRequest> {
  if (hasSection(policy, 'contentRules')) {
    const { checkTexts } = await import('../safety/rules/rules-router.ts');
    const groups = listTexts(request).map((text) => [text]);
    checkTexts(policy, groups, telemetry);
  }
  let masked = request;
  if (hasSection(policy, 'personalData')) {
    const { maskEmbeddings } = await import('../safety/personal/mask-embeddings.ts');
    masked = await maskEmbeddings(request, policy, registry, { signal, telemetry });
  }
  if (hasSection(policy, 'guardrail')) {
    const { checkTexts } = await import('../safety/guardrail/guardrail-router.ts');
    await checkTexts(policy, listTexts(masked), registry, { signal, telemetry });
  }
  return masked;
}

function listTexts({ inputs }: EmbeddingRequest): string[] {
  return inputs.map((input) => {
    if (typeof input === 'string') return input;
    const message = "Invalid value: 'input': token arrays can't be checked against the content policy. Send texts.";
    throw new LambentError('invalid_value', message, { param: 'input' });
  });
}
