import type { FleetView, Tier } from '../registry/worker.ts';
import { isLive } from './placement.ts';

/** Whose turn it may not be. */
export interface Contender {
  readonly tenant: string;
  readonly tier: Tier;
  readonly model: string;
}

/**
 * Whether a request leaves a free slot to others. Batch work does when interactive work waits for the model, whoever's it is.
 * Else a tenant does that holds more than the mean of those who compete for the model's workers, when somebody of its tier
 * waits who holds less than it. Whoever holds least never stands back, so that a slot is never left empty for longer than a
 * waiter takes to look again; nobody stands back when nobody waits.
 */
export function mustYield({ workers, waiters }: FleetView, { tenant, tier, model }: Contender, now: number): boolean {
  const alive = waiters.filter((waiter) => isLive(waiter, now) && waiter.model === model);
  if (tier === 'batch' && alive.some((waiter) => waiter.tier === 'interactive')) return true;
  const waiting = alive.filter((waiter) => waiter.tenant !== tenant && waiter.tier === tier);
  if (waiting.length === 0) return false;
  const held = new Map<string, number>([[tenant, 0], ...waiting.map((waiter) => [waiter.tenant, 0] as const)]);
  for (const worker of workers) {
    if (!worker.models.includes(model)) continue;
    for (const lease of Object.values(worker.leases)) {
      if (isLive(lease, now)) held.set(lease.tenant, (held.get(lease.tenant) ?? 0) + lease.weight);
    }
  }
  const mine = held.get(tenant) ?? 0;
  const mean = [...held.values()].reduce((sum, weight) => sum + weight, 0) / held.size;
  return mine > mean && waiting.some((waiter) => (held.get(waiter.tenant) ?? 0) < mine);
}
