import { LambentError } from '../core/errors.ts';

/**
 * Returns the error of every request of a held key. It doesn't say why the key is held: a caller who has stolen it would learn
 * what to avoid.
 * @param until epoch seconds
 */
export function keyHeldError(until: number): LambentError {
  const time = new Date(until * 1000).toISOString().replace('.000Z', 'Z');
  return new LambentError(
    'key_held',
    `This API key is held until ${time}. An administrator of this service can release it.`,
  );
}
