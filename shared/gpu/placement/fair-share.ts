import { type FleetView, isLive, type Tier } from '../registry/worker.ts';

/** The request that is asking for a slot. */
export interface Contender {
  readonly tenant: string;
  readonly tier: Tier;
  readonly model: string;
}

/**
 * Returns true if a request must leave a free slot to others. Batch work yields when any interactive work waits for the
 * model. Otherwise a tenant yields if it holds more than the mean of the tenants that compete for the model's workers,
 * and a waiter of its tier holds less. The tenant that holds least never yields, so a slot stays empty no longer than a
 * waiter's poll interval. Without waiters no request yields.
 */
export function mustYield({ workers, waiters }: FleetView, { tenant, tier, model }: Contender, now: number): boolean {
  const competing = waiters.filter((waiter) => isLive(waiter, now) && waiter.model === model);
  if (tier === 'batch' && competing.some((waiter) => waiter.tier === 'interactive')) return true;
  const waiting = competing.filter((waiter) => waiter.tenant !== tenant && waiter.tier === tier);
  if (waiting.length === 0) return false;
  const held = new Map<string, number>([[tenant, 0], ...waiting.map((waiter) => [waiter.tenant, 0] as const)]);
  for (const worker of workers) {
    if (!worker.models.includes(model)) continue;
    for (const lease of Object.values(worker.leases)) {
      if (isLive(lease, now)) held.set(lease.tenant, (held.get(lease.tenant) ?? 0) + lease.weight);
    }
  }
  const own = held.get(tenant) ?? 0;
  const mean = [...held.values()].reduce((sum, weight) => sum + weight, 0) / held.size;
  return own > mean && waiting.some((waiter) => (held.get(waiter.tenant) ?? 0) < own);
}
