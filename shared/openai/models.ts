import type { Model } from 'openai/resources/models';
import { type ModelRegistry, resolveModel } from '../inference/registry.ts';

/** Returns OpenAI's list of models, in the registry's order. */
export function listModels({ models }: Pick<ModelRegistry, 'models'>): { object: 'list'; data: Model[] } {
  return { object: 'list', data: Object.entries(models).map(([id, { ownedBy }]) => encodeModel(id, ownedBy)) };
}

/**
 * Returns OpenAI's object for a model that a request may name.
 * @throws LambentError `model_not_found`
 */
export function retrieveModel(id: string, registry: ModelRegistry): Model {
  return encodeModel(id, resolveModel(id, registry).alias.ownedBy);
}

function encodeModel(id: string, ownedBy: string): Model {
  // An alias has no creation date, but clients require a number.
  return { id, object: 'model', created: 0, owned_by: ownedBy };
}
