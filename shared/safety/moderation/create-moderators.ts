import { LambentError } from '../../core/errors.ts';
import { getOrCreate } from '../../core/get-or-create.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import type { Moderator } from './moderation.ts';

/** The moderation model that a caller names, and its name in the registry. */
export interface ResolvedModerator {
  readonly name: string;
  readonly load: () => Promise<Moderator>;
}

export type FindModerator = (model: string) => ResolvedModerator;

/**
 * Returns a function that finds moderation models. It throws LambentError `model_not_found` for a name that the registry doesn't
 * have, unless the registry has a model `default`.
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

  return (model) => {
    const name = [model, 'default'].find((each) => Object.hasOwn(moderations, each));
    if (name === undefined) throw unknownModelError(model);
    return { name, load: () => getOrCreate(moderators, name, () => create(name)) };
  };
}

function unknownModelError(model: string): LambentError {
  const name = model.slice(0, 200).toWellFormed();
  const message = `The model \`${name}\` does not exist or you do not have access to it.`;
  return new LambentError('model_not_found', message, { param: 'model' });
}
