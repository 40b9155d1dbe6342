import { type FleetView, isLive, type PrefixHolders, type Tier, type Worker } from '../registry/worker.ts';
import type { PromptPrefixes } from './prompt.ts';
import type { PlacementSettings } from './settings.ts';

/** The request to place. */
export interface PlacementRequest {
  readonly model: string;
  readonly tier: Tier;
  readonly prompt: PromptPrefixes;
  /** Bytes of prompt per token, for this model. */
  readonly bytesPerToken: number;
  /** Share of a worker's slots that batch work leaves free. */
  readonly reserve: number;
  /** Ids of workers that must not be chosen. */
  readonly excluded?: ReadonlySet<string>;
}

/** A worker that can take the request, and the cost of giving it the request. All token counts are estimates. */
export interface RankedWorker {
  readonly worker: Worker;
  /** Leases that the worker may hold, including this one. */
  readonly cap: number;
  /** Leases that the worker holds. */
  readonly held: number;
  /** Ids of the worker's expired leases, to be removed when the new lease is added. */
  readonly expired: readonly string[];
  /** Prompt tokens that the worker most likely has cached. */
  readonly cachedTokens: number;
  /** Prompt tokens that the worker would have to compute. */
  readonly uncachedTokens: number;
  /** Prompt tokens that the worker has yet to compute for other requests. */
  readonly pendingTokens: number;
  /** Lower is better. In tokens, weighted by `PlacementSettings`. */
  readonly score: number;
}

/** Maximum number of expired leases that one conditional update can name: DynamoDB allows 4 KB of expression. */
const MAX_EXPIRED = 100;

/**
 * Returns the workers that can take a request, best first: workers that are ready, serve the model and have a free slot
 * for the request's tier. The score is the number of prompt tokens that a worker has yet to compute, including this
 * request's, plus a fixed cost for each sequence that it runs. The same inputs give the same order.
 * @param now epoch milliseconds; leases that expire by then are ignored
 * @param random returns 0 up to 1; called once per returned worker, in the view's order
 */
export function rankWorkers(
  { workers }: Pick<FleetView, 'workers'>,
  holders: PrefixHolders,
  request: PlacementRequest,
  settings: PlacementSettings,
  now: number,
  random: () => number,
): RankedWorker[] {
  const { model, tier, prompt, bytesPerToken, reserve, excluded } = request;
  const cached = findCachedBytes(prompt, holders);
  const candidates: RankedWorker[] = [];
  for (const worker of workers) {
    if (worker.state !== 'ready' || !worker.models.includes(model) || excluded?.has(worker.id)) continue;
    const { held, pendingTokens, expired } = measureLoad(worker, now);
    const cap = slotCap(worker.slots, tier, reserve);
    if (held >= cap) continue;
    const cachedTokens = Math.floor((cached.get(holderKey(worker.id, worker.bootId)) ?? 0) / bytesPerToken);
    const uncachedTokens = Math.ceil(prompt.bytes / bytesPerToken) - cachedTokens;
    const score =
      pendingTokens +
      settings.uncachedWeight * uncachedTokens +
      settings.tokensPerLease * held +
      settings.jitterTokens * random();
    candidates.push({ worker, cap, held, expired, cachedTokens, uncachedTokens, pendingTokens, score });
  }
  return candidates.sort((a, b) => a.score - b.score);
}

/**
 * Returns the maximum number of leases, of both tiers, that a worker may hold after a lease of `tier` is added. Batch
 * work leaves the reserve free, but gets at least one slot: a worker too small for a reserve serves both tiers.
 */
export function slotCap(slots: number, tier: Tier, reserve: number): number {
  return tier === 'interactive' ? slots : Math.max(1, Math.floor(slots * (1 - reserve)));
}

interface Load {
  /** Live leases, and the expired ones beyond the number that can be removed with the next lease. */
  readonly held: number;
  readonly pendingTokens: number;
  readonly expired: readonly string[];
}

function measureLoad({ leases }: Worker, now: number): Load {
  const expired: string[] = [];
  let held = 0;
  let pendingTokens = 0;
  for (const id in leases) {
    const lease = leases[id];
    if (lease === undefined) continue;
    if (isLive(lease, now)) {
      held += 1;
      pendingTokens += lease.pendingTokens;
    } else if (expired.length < MAX_EXPIRED) expired.push(id);
    else held += 1;
  }
  return { held, pendingTokens, expired };
}

/** Returns, for each holder, the bytes of the longest prefix that it has served. */
function findCachedBytes({ prefixes }: PromptPrefixes, holders: PrefixHolders): Map<string, number> {
  const longest = new Map<string, number>();
  for (const { hash, bytes } of prefixes) {
    for (const { workerId, bootId } of holders.get(hash) ?? []) {
      const key = holderKey(workerId, bootId);
      // The session's entry is the first, and no prefix.
      longest.set(key, Math.max(bytes, longest.get(key) ?? 0));
    }
  }
  return longest;
}

/** Returns the key of a holder. It includes the boot id, because a restart empties the cache. No id has a space. */
function holderKey(workerId: string, bootId: string): string {
  return `${workerId} ${bootId}`;
}
