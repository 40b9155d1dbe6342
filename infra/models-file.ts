import { resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');

/**
 * Path of the model registry that is packaged: what `MODELS_FILE` names, relative to the repository, else its
 * `models.json`. An empty variable is an unset one, as for the functions.
 */
export function modelsFile(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  return resolve(ROOT, environment['MODELS_FILE'] || 'models.json');
}
