import type { Holders } from './placement.ts';
import type { PromptPrefixes } from './prompt.ts';
import type { FleetView, Holder } from './worker.ts';

export interface DirectoryEntry {
  readonly prefix: string;
  /** Latest first. */
  readonly holders: readonly Holder[];
}

/**
 * What the directory doesn't say yet once a worker has been given a prompt: entries of those prefixes that it isn't known to
 * hold. Holders that have started anew or are gone are left out.
 * @param maxHolders of each prefix
 */
export function newlyHeld(
  { prefixes }: PromptPrefixes,
  holder: Holder,
  known: Holders,
  { workers }: Pick<FleetView, 'workers'>,
  maxHolders: number,
): DirectoryEntry[] {
  const boots = new Map(workers.map(({ id, bootId }) => [id, bootId]));
  return prefixes.flatMap(({ hash }) => {
    const holders = known.get(hash) ?? [];
    if (holders.some(({ workerId, bootId }) => workerId === holder.workerId && bootId === holder.bootId)) return [];
    const others = holders.filter(
      ({ workerId, bootId }) => workerId !== holder.workerId && boots.get(workerId) === bootId,
    );
    return [{ prefix: hash, holders: [holder, ...others].slice(0, maxHolders) }];
  });
}
