import type { FleetView, Lease, PrefixHolder, Tier, Worker } from '../registry/worker.ts';
import type { PromptPrefixes } from './prompt.ts';
import type { PlacementSettings } from './settings.ts';

/** What is placed. */
export interface PlacementRequest {
  readonly model: string;
  readonly tier: Tier;
  readonly prompt: PromptPrefixes;
  /** Bytes of a prompt that one token has, for this model. */
  readonly bytesPerToken: number;
  /** Share of a worker's slots that batch work leaves free. */
  readonly reserve: number;
  /** Ids of workers that are out of the question. */
  readonly excluded?: ReadonlySet<string>;
}

/** A worker that may take a request, with what that would cost. */
export interface Candidate {
  readonly worker: Worker;
  /** Leases that it may hold, this one included. */
  readonly cap: number;
  /** Leases that it holds. */
  readonly held: number;
  /** Ids of its leases that have expired, to be removed with the new one's coming. */
  readonly expired: readonly string[];
  /** Prompt tokens (estimated) that it most likely has cached. */
  readonly cachedTokens: number;
  /** Prompt tokens (estimated) that it would have to compute. */
  readonly uncachedTokens: number;
  /** Prompt tokens (estimated) that it has yet to compute for others. */
  readonly pendingTokens: number;
  /** The smaller, the better: in tokens, as `PlacementSettings` says. */
  readonly score: number;
}

/** Who holds which prefix, by its hash. */
export type PrefixHolders = ReadonlyMap<string, readonly PrefixHolder[]>;

/** As many expired leases as one conditional update can name (4 KB of expression). */
const MAX_EXPIRED = 100;

/**
 * The workers that may take a request, best first: ready ones that know the model and have a slot free for its tier. The
 * score is the prompt tokens that a worker has yet to compute, this request's among them, and a fixed cost for each
 * sequence that it has. The same inputs give the same order.
 * @param now epoch milliseconds; leases that have expired by then count for nothing
 * @param random 0 up to 1; called once for each of them, in the view's order
 */
export function rankWorkers(
  { workers }: Pick<FleetView, 'workers'>,
  holders: PrefixHolders,
  request: PlacementRequest,
  settings: PlacementSettings,
  now: number,
  random: () => number,
): Candidate[] {
  const { model, tier, prompt, bytesPerToken, reserve, excluded } = request;
  const cached = cachedBytes(prompt, holders);
  const candidates: Candidate[] = [];
  for (const worker of workers) {
    if (worker.state !== 'ready' || !worker.models.includes(model) || excluded?.has(worker.id)) continue;
    const load = loadOf(worker, now);
    const cap = slotCap(worker.slots, tier, reserve);
    if (load.leases >= cap) continue;
    const cachedTokens = Math.floor((cached.get(holderKey(worker.id, worker.bootId)) ?? 0) / bytesPerToken);
    const uncachedTokens = Math.ceil(prompt.bytes / bytesPerToken) - cachedTokens;
    const { pendingTokens } = load;
    const score =
      pendingTokens +
      settings.uncachedWeight * uncachedTokens +
      settings.tokensPerLease * load.leases +
      settings.jitterTokens * random();
    const { leases: held, expired } = load;
    candidates.push({ worker, cap, held, expired, cachedTokens, uncachedTokens, pendingTokens, score });
  }
  return candidates.sort((a, b) => a.score - b.score);
}

/**
 * Leases that a worker may hold when the last of them is of `tier`, whatever tier the others are of: batch work stops
 * where the reserve begins. A worker too small to keep any serves both, or else batch work would have no place at all.
 */
export function slotCap(slots: number, tier: Tier, reserve: number): number {
  return tier === 'interactive' ? slots : Math.max(1, Math.floor(slots * (1 - reserve)));
}

/** Whether a lease still counts. */
export function isLive({ expiresAt }: Pick<Lease, 'expiresAt'>, now: number): boolean {
  return expiresAt > now;
}

interface Load {
  /** Live ones, and such as have expired but can't be removed with the next. */
  readonly leases: number;
  readonly pendingTokens: number;
  readonly expired: readonly string[];
}

function loadOf({ leases }: Worker, now: number): Load {
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
  return { leases: held, pendingTokens, expired };
}

/** Bytes of the longest prefix that each holder has served. */
function cachedBytes({ prefixes }: PromptPrefixes, holders: PrefixHolders): Map<string, number> {
  const longest = new Map<string, number>();
  for (const { hash, bytes } of prefixes) {
    for (const { workerId, bootId } of holders.get(hash) ?? []) longest.set(holderKey(workerId, bootId), bytes);
  }
  return longest;
}

/** What an earlier start of a worker had cached is gone: both must match. No id has a space in it. */
function holderKey(workerId: string, bootId: string): string {
  return `${workerId} ${bootId}`;
}
