import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type ModelRegistry, parseModelRegistry } from '../shared/inference/registry.ts';

const ROOT = resolve(import.meta.dirname, '..');

/**
 * Path of the model registry that is packaged: what `MODELS_FILE` names, relative to the repository, else its
 * `models.json`. An empty variable is an unset one, as for the functions.
 */
export function modelsFile(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  return resolve(ROOT, environment['MODELS_FILE'] || 'models.json');
}

/**
 * The registry that is packaged.
 * @throws LambentError `configuration` when it isn't valid
 */
export async function packagedRegistry(): Promise<ModelRegistry> {
  const file = modelsFile();
  return parseModelRegistry(await readFile(file, 'utf8'), file);
}
