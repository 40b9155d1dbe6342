import { LambentError } from '../../core/errors.ts';
import type { FleetView, Lease, PrefixHolders } from '../registry/worker.ts';
import { mustYield } from './fair-share.ts';
import { planLeaseAttempts } from './lease-plan.ts';
import { type PlacementRequest, type RankedWorker, rankWorkers } from './placement.ts';
import { findChangedEntries } from './prefix-directory.ts';
import type { FleetLimits, SlotSettings } from './settings.ts';
import type { Slot, SlotPorts, SlotRequest } from './slot.ts';
import { startSlotLease } from './slot-lease.ts';
import { createWaitQueueEntry, type WaitQueueEntry } from './wait-queue.ts';
import { computeWeight } from './weight.ts';

export interface SlotSearchOptions {
  /** Bytes of prompt per token, for the request's model. */
  readonly bytesPerToken: number;
  /** Ids of workers on which the request has failed. */
  readonly excluded: ReadonlySet<string>;
  readonly ports: SlotPorts;
  readonly settings: SlotSettings;
}

/**
 * The outcome of one attempt: a slot was `granted`, all slots are taken (`full`), other requests took the chosen slots
 * at the same moment (`contended`), or the request `yielded` to others.
 */
type Attempt =
  | { readonly outcome: 'granted'; readonly view: FleetView; readonly candidate: RankedWorker }
  | { readonly outcome: 'full' | 'contended' | 'yielded'; readonly view: FleetView };
type Granted = Extract<Attempt, { outcome: 'granted' }>;

/** The search of one request for a slot: reads the fleet, tries to lease, waits and tries again. */
export class SlotSearch {
  readonly #ports: SlotPorts;
  readonly #settings: SlotSettings;
  readonly #request: SlotRequest;
  readonly #excluded: ReadonlySet<string>;
  readonly #limits: FleetLimits;
  readonly #placement: PlacementRequest;
  /** Id of the lease and of the waiter. */
  readonly #id: string;
  readonly #weight: number;
  /** The holders of the prompt's prefixes. A hint: empty if the directory doesn't answer. */
  readonly #holders: Promise<PrefixHolders>;
  readonly #waiter: WaitQueueEntry;

  constructor(request: SlotRequest, { bytesPerToken, excluded, ports, settings }: SlotSearchOptions) {
    const { fleet, model, tier, tenant, prompt } = request;
    this.#ports = ports;
    this.#settings = settings;
    this.#request = request;
    this.#excluded = excluded;
    this.#limits = settings.fleets[fleet] ?? settings.defaultLimits;
    this.#placement = { model, tier, prompt, bytesPerToken, reserve: this.#limits.reserve, excluded };
    this.#id = ports.newId();
    this.#weight = computeWeight(Math.ceil(prompt.bytes / bytesPerToken), request.expectedOutputTokens);
    this.#holders = this.#findHolders();
    const waiter = { id: this.#id, model, tier, tenant, weight: this.#weight };
    this.#waiter = createWaitQueueEntry(ports.store, fleet, waiter, settings.waiterTtlMs);
  }

  /** Returns a leased slot. Throws as `SlotAllocator.acquire` does. Call it once. */
  async run(signal: AbortSignal): Promise<Slot> {
    const { now, sleep } = this.#ports;
    const startedAt = now();
    const until = startedAt + this.#maxWaitMs();
    try {
      for (let attempts = 0; ; attempts += 1) {
        const attempt = await this.#tryLease(attempts > 0);
        if (attempt.outcome === 'granted') return this.#startLease(attempt, now() - startedAt);
        const leftMs = until - now();
        if (leftMs <= 0 || this.#hasFailedOnAll(attempt.view)) throw await this.#refuse(attempt.view);
        if (attempt.outcome === 'full') this.#waiter.refresh(now());
        await sleep(Math.min(leftMs, this.#pauseMs(attempt.outcome, attempts)), signal);
        signal.throwIfAborted();
      }
    } catch (thrown) {
      await this.#waiter.remove();
      throw thrown;
    }
  }

  #maxWaitMs(): number {
    const { waitMs } = this.#limits;
    return this.#request.tier === 'batch' ? Math.min(waitMs, this.#settings.batchWaitMs) : waitMs;
  }

  async #findHolders(): Promise<PrefixHolders> {
    const { fleet, prompt } = this.#request;
    if (prompt.prefixes.length === 0) return new Map();
    const hashes = prompt.prefixes.map(({ hash }) => hash);
    return this.#ports.store.findHolders(fleet, hashes).catch(() => new Map());
  }

  /** Reads the fleet and tries to lease a slot of its best workers. */
  async #tryLease(isRetry: boolean): Promise<Attempt> {
    const { store, now, random } = this.#ports;
    const { placement, leaseAttempts } = this.#settings;
    const [view, holders] = await Promise.all([store.read(this.#request.fleet), this.#holders]);
    const candidates = rankWorkers(view, holders, this.#placement, placement, now(), random);
    if (candidates.length === 0) return { outcome: 'full', view };
    if (mustYield(view, this.#request, now())) return { outcome: 'yielded', view };
    for (const { candidate, cap } of planLeaseAttempts(candidates, leaseAttempts, isRetry, random)) {
      if (await this.#lease(candidate, cap)) return { outcome: 'granted', view, candidate };
    }
    return { outcome: 'contended', view };
  }

  #lease({ worker, expired, uncachedTokens }: RankedWorker, cap: number): Promise<boolean> {
    const { fleet, tier, tenant } = this.#request;
    const now = this.#ports.now();
    const expiresAt = now + this.#settings.leaseMs;
    const lease: Lease = { tier, tenant, pendingTokens: uncachedTokens, weight: this.#weight, expiresAt };
    return this.#ports.store.lease(fleet, worker.id, { id: this.#id, lease, bootId: worker.bootId, cap, expired, now });
  }

  #startLease(granted: Granted, waitedMs: number): Slot {
    const { model } = this.#request;
    const { worker, cachedTokens, uncachedTokens, pendingTokens } = granted.candidate;
    const { fleet, id, url, bootId } = worker;
    const lease = {
      worker: { fleet, id, url, bootId },
      leaseId: this.#id,
      cachedTokens,
      prefillTokens: uncachedTokens + pendingTokens,
      otherWorkers: granted.view.workers.filter(({ models }) => models.includes(model)).length - 1,
      waitedMs,
      pendingWrites: Promise.all([this.#recordHolder(granted), this.#waiter.remove()]),
    };
    return startSlotLease(lease, this.#ports, this.#settings);
  }

  /** Records the prefixes that the worker is about to cache. A hint, so failures are ignored. */
  async #recordHolder({ candidate, view }: Granted): Promise<void> {
    const { fleet, prompt } = this.#request;
    const holder = { workerId: candidate.worker.id, bootId: candidate.worker.bootId };
    const { placement } = this.#settings;
    const now = this.#ports.now();
    const entries = findChangedEntries(prompt, holder, await this.#holders, view, placement, now);
    if (entries.length > 0) await this.#ports.store.recordHolders(fleet, entries).catch(() => {});
  }

  #pauseMs(outcome: Exclude<Attempt['outcome'], 'granted'>, attempts: number): number {
    const { pollMs, contendedPollMs } = this.#settings;
    const { first, longest } = pollMs[this.#request.tier];
    const ms = outcome === 'contended' ? contendedPollMs : Math.min(longest, first * 2 ** attempts);
    return ms * (0.5 + this.#ports.random());
  }

  /** True if a ready worker that is not excluded serves the model. */
  #isServed({ workers }: FleetView, excluded?: ReadonlySet<string>): boolean {
    const { model } = this.#request;
    return workers.some(({ id, state, models }) => state === 'ready' && models.includes(model) && !excluded?.has(id));
  }

  /**
   * True if the request has failed on a worker, and no other ready worker serves the model. Waiting would then only
   * make other requests yield.
   */
  #hasFailedOnAll(view: FleetView): boolean {
    return this.#excluded.size > 0 && !this.#isServed(view, this.#excluded);
  }

  /**
   * Returns the error of a request that got no slot. If no worker is ready, records the request as unmet demand,
   * because its waiter is gone when the fleet's upkeep decides whether to start a worker.
   */
  async #refuse(view: FleetView): Promise<LambentError> {
    const { retryAfterMs, unmetTtlMs } = this.#settings;
    const { fleet, model, tier } = this.#request;
    if (this.#isServed(view)) {
      const message = `No slot of the fleet ${fleet} came free in time`;
      return new LambentError('overloaded', message, { retryAfterMs: retryAfterMs.full });
    }
    const expiresAt = this.#ports.now() + unmetTtlMs;
    await this.#ports.store.recordUnmetDemand(fleet, { model, tier, weight: this.#weight, expiresAt }).catch(() => {});
    const message = `No worker of the fleet ${fleet} is ready`;
    return new LambentError('overloaded', message, { retryAfterMs: retryAfterMs.none });
  }
}
