import type { DirectoryEntry, FleetView, PrefixHolder, PrefixHolders } from '../registry/worker.ts';
import type { PromptPrefixes } from './prompt.ts';
import type { PlacementSettings } from './settings.ts';

/**
 * Returns the directory entries to write when a worker gets a prompt: one for each prefix of which the worker is not a
 * known holder, or is one for less than half of `directoryMs` from now. Omits holders that restarted or are gone.
 * @param now epoch milliseconds
 */
export function findChangedEntries(
  { prefixes }: PromptPrefixes,
  { workerId, bootId }: Omit<PrefixHolder, 'until'>,
  known: PrefixHolders,
  { workers }: Pick<FleetView, 'workers'>,
  { maxHolders, directoryMs }: Pick<PlacementSettings, 'maxHolders' | 'directoryMs'>,
  now: number,
): DirectoryEntry[] {
  const bootIds = new Map(workers.map((worker) => [worker.id, worker.bootId]));
  const latest = { workerId, bootId, until: now + directoryMs };
  return prefixes.flatMap(({ hash }) => {
    const holders = known.get(hash) ?? [];
    const isFresh = (holder: PrefixHolder): boolean =>
      holder.workerId === workerId && holder.bootId === bootId && holder.until > now + directoryMs / 2;
    if (holders.some(isFresh)) return [];
    const others = holders.filter(
      (holder) => holder.workerId !== workerId && bootIds.get(holder.workerId) === holder.bootId,
    );
    return [{ prefix: hash, holders: [latest, ...others].slice(0, maxHolders) }];
  });
}
