import type { Model } from 'openai/resources/models';
import { findAlias, type ModelRegistry } from '../inference/registry.ts';

/** Every model that may be named in a request, in the registry's order. */
export function listModels({ models }: ModelRegistry): { object: 'list'; data: Model[] } {
  return { object: 'list', data: Object.entries(models).map(([id, { ownedBy }]) => modelObject(id, ownedBy)) };
}

/** @throws LambentError `model_not_found` */
export function retrieveModel(id: string, registry: ModelRegistry): Model {
  return modelObject(id, findAlias(id, registry).ownedBy);
}

function modelObject(id: string, ownedBy: string): Model {
  // An alias has no birthday, and clients insist on a number.
  return { id, object: 'model', created: 0, owned_by: ownedBy };
}
