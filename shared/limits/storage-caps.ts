import type { Policy } from '../access/policy.ts';
import type { StoredMaxima } from './stored-amounts.ts';

/** Returns the limits on what a caller's project stores; undefined if there are none. */
export function findStorageLimits({ project }: Policy): StoredMaxima | undefined {
  const { storedBytes, storedItems } = project?.limits ?? {};
  if (storedBytes === undefined && storedItems === undefined) return undefined;
  return {
    ...(storedBytes === undefined ? {} : { bytes: BigInt(storedBytes) }),
    ...(storedItems === undefined ? {} : { items: BigInt(storedItems) }),
  };
}
