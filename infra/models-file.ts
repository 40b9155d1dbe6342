import { resolve } from 'node:path';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import type { ModelRegistry } from '../shared/inference/registry.ts';

const ROOT = resolve(import.meta.dirname, '..');

/**
 * Returns the path of the model registry that is packaged: `MODELS_FILE`, relative to the repository, else the
 * repository's `models.json`. An empty variable counts as unset, as in the functions.
 */
export function resolveModelsFile(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  return resolve(ROOT, environment['MODELS_FILE'] || 'models.json');
}

/**
 * Reads the model registry that is packaged.
 * @throws LambentError `configuration` if it can't be read or is not valid
 */
export async function readPackagedRegistry(): Promise<ModelRegistry> {
  return readModelRegistry(resolveModelsFile());
}
