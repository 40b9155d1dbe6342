import { LambentError } from '../../core/errors.ts';
import { getOrCreate } from '../../core/get-or-create.ts';
import type { Destination } from '../../inference/destinations.ts';
import type { Moderator } from '../../inference/moderation.ts';
import { type ModelRegistry, resolveModeration } from '../../inference/registry.ts';

/** The moderation model that a caller names, and its name in the registry. */
export interface ResolvedModerator {
  readonly name: string;
  /** Where it sends content. */
  readonly destination: Destination;
  readonly load: () => Promise<Moderator>;
  /** In the mode `block`: whether content is refused or passes while the model is down. */
  readonly onFailure: 'refuse' | 'pass';
}

/** @param param the caller's name of the parameter, for the error */
export type FindModerator = (model: string, param: string) => ResolvedModerator;

/**
 * Returns a function that finds moderation models. It throws LambentError as `resolveModeration`.
 * @param options resolves the keys of endpoints
 */
export function createModerators(
  { moderations, guardrails }: Pick<ModelRegistry, 'moderations' | 'guardrails'>,
  options: { readonly secret: (reference: string) => Promise<string> },
): FindModerator {
  const moderators = new Map<string, Promise<Moderator>>();

  async function create(name: string): Promise<Moderator> {
    const target = moderations[name];
    if (target !== undefined && 'model' in target) {
      const { createEndpointModerator } = await import('./endpoint-moderator.ts');
      return createEndpointModerator(target, options);
    }
    const guardrail = target && guardrails[target.guardrail];
    if (guardrail === undefined)
      throw new LambentError('configuration', `The moderation model ${name} has no guardrail`);
    const [{ createGuardrailModerator }, { getGuardrail }] = await Promise.all([
      import('./guardrail-moderator.ts'),
      import('../guardrail/get-guardrail.ts'),
    ]);
    return createGuardrailModerator(getGuardrail(guardrail));
  }

  function locate(name: string): Destination {
    const target = moderations[name];
    if (target !== undefined && 'model' in target) return { provider: 'openai-compatible', ...target };
    const { id, region } = guardrails[target?.guardrail ?? ''] ?? {};
    return { provider: 'bedrock', model: id ?? '', region };
  }

  return (model, param) => {
    const name = resolveModeration(model, { moderations }, param);
    return {
      name,
      destination: locate(name),
      load: () => getOrCreate(moderators, name, () => create(name)),
      onFailure: moderations[name]?.onFailure ?? 'refuse',
    };
  };
}
