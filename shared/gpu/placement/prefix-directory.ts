import type { DirectoryEntry, FleetView, PrefixHolder } from '../registry/worker.ts';
import type { PrefixHolders } from './placement.ts';
import type { PromptPrefixes } from './prompt.ts';
import type { PlacementSettings } from './settings.ts';

/**
 * What the directory doesn't say yet once a worker has been given a prompt: entries of those prefixes that it isn't known to
 * hold, or not for more than half of the time that it is named. Holders that have started anew or are gone are left out.
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
  const boots = new Map(workers.map((worker) => [worker.id, worker.bootId]));
  const latest = { workerId, bootId, until: now + directoryMs };
  return prefixes.flatMap(({ hash }) => {
    const holders = known.get(hash) ?? [];
    const isKnown = (each: PrefixHolder): boolean =>
      each.workerId === workerId && each.bootId === bootId && each.until > now + directoryMs / 2;
    if (holders.some(isKnown)) return [];
    const others = holders.filter((each) => each.workerId !== workerId && boots.get(each.workerId) === each.bootId);
    return [{ prefix: hash, holders: [latest, ...others].slice(0, maxHolders) }];
  });
}
