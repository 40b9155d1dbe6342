import { LambentError } from '../core/errors.ts';
import type { Policy } from './policy.ts';

/** Returns whether all levels of a policy permit a model. */
export function permitsModel({ account, project, key }: Policy, model: string): boolean {
  return [account, project, key].every((level) => {
    const permissions = level?.models;
    return permissions === undefined || permissions.models.includes(model) === (permissions.mode === 'allow');
  });
}

/** Returns the entries of the models that a policy permits, in their order. */
export function selectModels<T>(policy: Policy, models: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(models).filter(([model]) => permitsModel(policy, model)));
}

/**
 * Checks that a policy permits a model.
 * @throws LambentError `model_not_found`, as for a model that doesn't exist
 */
export function checkModel(policy: Policy, model: string): void {
  if (permitsModel(policy, model)) return;
  const message = `The model \`${model}\` does not exist or you do not have access to it.`;
  throw new LambentError('model_not_found', message, { param: 'model' });
}
