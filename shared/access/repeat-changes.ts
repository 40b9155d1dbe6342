import { LambentError } from '../core/errors.ts';

const MAX_ATTEMPTS = 8;

/**
 * Attempts to change an item that others change at the same time, until `attempt` returns something else than `changed`, which says
 * that another request has written the item since it was read.
 * @param what the item, for the error's message: `the key`
 * @throws LambentError `overloaded` after eight attempts; as `attempt`
 */
export async function repeatChange<T>(what: string, attempt: () => Promise<T | 'changed'>): Promise<T> {
  for (let attempts = 0; attempts < MAX_ATTEMPTS; attempts += 1) {
    const result = await attempt();
    if (result !== 'changed') return result;
  }
  throw new LambentError('overloaded', `Other requests kept changing ${what}.`);
}
