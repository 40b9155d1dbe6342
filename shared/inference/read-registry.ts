import { readFileSync } from 'node:fs';
import { LambentError } from '../core/errors.ts';
import { type ModelRegistry, parseModelRegistry } from './registry.ts';

/**
 * Reads a `models.json`. Synchronous, because functions read it once while they load.
 * @param file its path, which errors name
 * @throws LambentError `configuration` if it can't be read or is not valid
 */
export function readModelRegistry(file: string): ModelRegistry {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new LambentError('configuration', `The model registry ${file} can't be read: ${(cause as Error).message}`, {
      cause,
    });
  }
  return parseModelRegistry(text, file);
}
