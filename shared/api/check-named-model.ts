import { checkModel } from '../access/model-permissions.ts';
import type { HttpRequest } from '../access/route.ts';
import { isObject } from '../core/objects.ts';
import { type ModelRegistry, resolveModel } from '../inference/registry.ts';

/**
 * Checks that the caller may use the model that a body names. A body without a model is left to its route.
 * @throws LambentError `model_not_found`
 */
export function checkNamedModel({ body, principal }: HttpRequest, registry: ModelRegistry): void {
  if (!isObject(body) || typeof body['model'] !== 'string') return;
  checkModel(principal.policy, resolveModel(body['model'], registry).name);
}
