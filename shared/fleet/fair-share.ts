import { isLive } from './placement.ts';
import type { FleetView, Tier } from './worker.ts';

/** Whose turn it may not be. */
export interface Contender {
  readonly tenant: string;
  readonly tier: Tier;
  readonly model: string;
}

/**
 * Whether a tenant leaves a free slot to others: it holds more than the mean of those who compete for the model's
 * workers, and somebody waits who holds less than it. Whoever holds least never stands back, so that a slot is never left
 * empty for longer than a waiter takes to look again; nobody stands back when nobody waits.
 */
export function standsBack({ workers, waiters }: FleetView, { tenant, tier, model }: Contender, now: number): boolean {
  const waiting = waiters.filter(
    (waiter) =>
      isLive(waiter, now) && waiter.model === model && waiter.tenant !== tenant && isBefore(waiter.tier, tier),
  );
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

/** Interactive work never waits for batch work. */
function isBefore(waiter: Tier, tier: Tier): boolean {
  return waiter === 'interactive' || tier === 'batch';
}
