import { checkModel } from '../access/model-permissions.ts';
import type { HttpRequest } from '../access/route.ts';
import { isObject } from '../core/objects.ts';
import { type ModelRegistry, resolveModel, resolveModeration } from '../inference/registry.ts';

/**
 * Checks that the caller may use the model and the moderation model that a body names. A body without them is left to its route.
 * @throws LambentError `model_not_found`
 */
export function checkNamedModels({ body, principal }: HttpRequest, registry: ModelRegistry): void {
  if (!isObject(body)) return;
  const { model, moderation } = body;
  if (typeof model === 'string') checkModel(principal.policy, resolveModel(model, registry).name);
  if (!isObject(moderation) || typeof moderation['model'] !== 'string') return;
  checkModel(principal.policy, resolveModeration(moderation['model'], registry, 'moderation.model'));
}
