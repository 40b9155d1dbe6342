import { LambentError } from '../../core/errors.ts';
import { createTokenEstimator } from '../../core/token-estimate.ts';
import type { FleetStore } from '../registry/fleet-store.ts';
import type { FleetView, Lease, Tier, Worker } from '../registry/worker.ts';
import { mustYield } from './fair-share.ts';
import { type Candidate, type PlacementRequest, type PrefixHolders, rankWorkers } from './placement.ts';
import { findChangedEntries } from './prefix-directory.ts';
import type { PromptPrefixes } from './prompt.ts';
import type { FleetLimits, SlotSettings } from './settings.ts';
import { startSlotLease } from './slot-lease.ts';
import { createWaitQueueEntry, type WaitQueueEntry } from './wait-queue.ts';

/** What is asked of a fleet. */
export interface SlotRequest {
  readonly fleet: string;
  /** The engine's name of the model, or of the LoRA adapter. */
  readonly model: string;
  readonly tier: Tier;
  readonly tenant: string;
  readonly prompt: PromptPrefixes;
  /** Tokens that the answer is expected to have, at most its limit. */
  readonly expectedOutputTokens: number;
}

/** A slot that is held, until `release`. */
export interface Slot {
  readonly worker: Pick<Worker, 'fleet' | 'id' | 'url' | 'bootId'>;
  readonly leaseId: string;
  /** Prompt tokens (estimated) that the worker most likely has cached. */
  readonly cachedTokens: number;
  /** Prompt tokens (estimated) that the worker computes before this request's first token: its own, and those of others. */
  readonly prefillTokens: number;
  /** Other workers of the fleet that know its model, in whatever state they are. */
  readonly otherWorkers: number;
  /** Milliseconds that were waited for it. */
  readonly waitedMs: number;
  /** Says that the first token has come. Never throws: it is a hint. */
  markFirstToken(): Promise<void>;
  /** Gives the slot back. Never throws: a lease that can't be given back expires. */
  release(): Promise<void>;
  /** Aborts when the lease is lost; the reason is a LambentError `upstream_cut`. */
  readonly lost: AbortSignal;
}

/** Leases slots of a fleet's workers: what a provider asks. */
export interface SlotAllocator {
  /**
   * Places a request and takes a slot, waiting for one if it must; keeps it by a heartbeat until it is released.
   * @param not ids of workers that this request has failed on
   * @throws LambentError `overloaded` with `retryAfterMs` when there was none in time, or there can be none because the request
   * has failed on all; the signal's reason
   */
  acquire(request: SlotRequest, signal: AbortSignal, not?: ReadonlySet<string>): Promise<Slot>;
  /** Says that a worker did not answer, or stopped to: it gets no work until a probe finds it well. Never throws. */
  suspect(worker: Pick<Worker, 'fleet' | 'id' | 'bootId'>, reason: string): Promise<void>;
  /** Learns how many bytes of a prompt a token had, from an answer's usage. */
  recordUsage(model: string, promptBytes: number, inputTokens: number): void;
}

export interface SlotPorts {
  readonly store: FleetStore;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** 0 up to 1. */
  readonly random: () => number;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Of leases and waiters: unique, short, without content. */
  readonly newId: () => string;
}

/** What one request asks for, with what doesn't change while it waits. */
interface Asking {
  /** Of its lease and of its waiting. */
  readonly id: string;
  readonly request: SlotRequest;
  readonly placement: PlacementRequest;
  /** What it takes of the fleet: prompt tokens, and output tokens twice. */
  readonly weight: number;
  /** Who has served its prefixes. A hint: nobody, when the directory doesn't answer. */
  readonly holders: Promise<PrefixHolders>;
}

/** What a look at the fleet brought: a slot, or why there was none. */
type Look =
  | { readonly outcome: 'granted'; readonly view: FleetView; readonly candidate: Candidate }
  | { readonly outcome: 'full' | 'contended' | 'stoodBack'; readonly view: FleetView };
type Granted = Extract<Look, { outcome: 'granted' }>;

/** One attempt to lease a slot of a worker that then holds `cap` leases at most. */
interface Try {
  readonly candidate: Candidate;
  readonly cap: number;
}

/**
 * Which workers to try, one after another, once they are ranked. The best one, if nobody else has leased it since it was read:
 * those who decide at the same moment see the same fleet, and all would go to the one that it names best. Whoever is too late
 * takes one at random of those that are better than to stand behind a request like this one, and else looks anew; who has done
 * so takes the best one all the same, if it has a slot.
 */
function triesOf(ranked: readonly Candidate[], tries: number, isLate: boolean, random: () => number): Try[] {
  const [best, ...others] = ranked;
  if (best === undefined) return [];
  const behind = best.score + best.uncachedTokens;
  const unchanged = (candidate: Candidate) => ({ candidate, cap: candidate.held + 1 });
  const asGood = shuffled(
    others.filter(({ score }) => score <= behind),
    random,
  );
  const first = [best, ...asGood].map(unchanged);
  return isLate ? [...first.slice(0, tries - 1), { candidate: best, cap: best.cap }] : first.slice(0, tries);
}

function shuffled<Thing>(things: readonly Thing[], random: () => number): Thing[] {
  return things
    .map((thing) => ({ thing, order: random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ thing }) => thing);
}

/**
 * Makes what leases slots. It keeps nothing of the fleet between requests but how large tokens are: whoever asks decides
 * on what the table says at that moment.
 */
export function createSlotAllocator(ports: SlotPorts, settings: SlotSettings): SlotAllocator {
  const { store, now, random, sleep, newId } = ports;
  const estimate = createTokenEstimator();

  function askingFor(request: SlotRequest, excluded: ReadonlySet<string> | undefined): Asking {
    const { fleet, model, tier, prompt } = request;
    const { reserve } = limitsOf(fleet);
    const bytesPerToken = estimate.bytesPerToken(model);
    return {
      id: newId(),
      request,
      placement: { model, tier, prompt, bytesPerToken, reserve, ...(excluded === undefined ? {} : { excluded }) },
      weight: Math.ceil(prompt.bytes / bytesPerToken) + 2 * request.expectedOutputTokens,
      holders: holdersOf(request),
    };
  }

  function limitsOf(fleet: string): FleetLimits {
    return settings.fleets[fleet] ?? settings.defaultLimits;
  }

  async function holdersOf({ fleet, prompt }: SlotRequest): Promise<PrefixHolders> {
    if (prompt.prefixes.length === 0) return new Map();
    const hashes = prompt.prefixes.map(({ hash }) => hash);
    return store.findHolders(fleet, hashes).catch(() => new Map());
  }

  /** Reads the fleet and tries to lease the best of its workers. */
  async function look(asking: Asking, looks: number): Promise<Look> {
    const { request, placement } = asking;
    const [view, holders] = await Promise.all([store.read(request.fleet), asking.holders]);
    const candidates = rankWorkers(view, holders, placement, settings.placement, now(), random);
    if (candidates.length === 0) return { outcome: 'full', view };
    if (mustYield(view, request, now())) return { outcome: 'stoodBack', view };
    for (const { candidate, cap } of triesOf(candidates, settings.leaseAttempts, looks > 0, random)) {
      if (await lease(asking, candidate, cap)) return { outcome: 'granted', view, candidate };
    }
    return { outcome: 'contended', view };
  }

  function lease({ id, request, weight }: Asking, candidate: Candidate, cap: number): Promise<boolean> {
    const { worker, expired, uncachedTokens: pendingTokens } = candidate;
    const { fleet, tier, tenant } = request;
    const at = now();
    const taken: Lease = { tier, tenant, pendingTokens, weight, expiresAt: at + settings.leaseMs };
    return store.lease(fleet, worker.id, { id, lease: taken, bootId: worker.bootId, cap, expired, now: at });
  }

  /** Writes down what the worker is about to have cached. A hint too. */
  async function remember({ request, holders }: Asking, { candidate, view }: Granted): Promise<void> {
    const holder = { workerId: candidate.worker.id, bootId: candidate.worker.bootId };
    const entries = findChangedEntries(request.prompt, holder, await holders, view, settings.placement, now());
    if (entries.length > 0) await store.recordHolders(request.fleet, entries).catch(() => {});
  }

  function slotOf(asking: Asking, granted: Granted, waiting: WaitQueueEntry, startedAt: number): Slot {
    const { fleet, id, url, bootId } = granted.candidate.worker;
    const { cachedTokens, uncachedTokens, pendingTokens } = granted.candidate;
    const known = granted.view.workers.filter(({ models }) => models.includes(asking.request.model));
    const taken = {
      worker: { fleet, id, url, bootId },
      leaseId: asking.id,
      cachedTokens,
      prefillTokens: uncachedTokens + pendingTokens,
      otherWorkers: known.length - 1,
      waitedMs: now() - startedAt,
      alongside: Promise.all([remember(asking, granted), waiting.remove()]),
    };
    return startSlotLease(taken, ports, settings);
  }

  function pauseMs(outcome: Exclude<Look['outcome'], 'granted'>, tier: Tier, looks: number): number {
    const { first, longest } = settings.pollMs[tier];
    const ms = outcome === 'contended' ? settings.contendedPollMs : Math.min(longest, first * 2 ** looks);
    return ms * (0.5 + random());
  }

  function isServed({ workers }: FleetView, { model }: SlotRequest, not?: ReadonlySet<string>): boolean {
    return workers.some(({ id, state, models }) => state === 'ready' && models.includes(model) && !not?.has(id));
  }

  /** Whoever waits for a worker that won't be asked waits for nothing, and others stand back for them. */
  function hasFailedOnAll(view: FleetView, request: SlotRequest, not: ReadonlySet<string> = new Set()): boolean {
    return not.size > 0 && !isServed(view, request, not);
  }

  /** Says in the table that no worker was ready, as the request won't be waiting when somebody looks for what to start one. */
  async function refusal(view: FleetView, { request, weight }: Asking): Promise<LambentError> {
    const { full, none } = settings.retryAfterMs;
    const { fleet, model, tier } = request;
    if (isServed(view, request))
      return new LambentError('overloaded', `No slot of the fleet ${fleet} came free in time`, { retryAfterMs: full });
    await store
      .recordUnmetDemand(fleet, { model, tier, weight, expiresAt: now() + settings.unmetTtlMs })
      .catch(() => {});
    return new LambentError('overloaded', `No worker of the fleet ${fleet} is ready`, { retryAfterMs: none });
  }

  return {
    async acquire(request, signal, not) {
      signal.throwIfAborted();
      const { fleet, model, tier, tenant } = request;
      const { waitMs } = limitsOf(fleet);
      const startedAt = now();
      const until = startedAt + (tier === 'batch' ? Math.min(waitMs, settings.batchWaitMs) : waitMs);
      const asking = askingFor(request, not);
      const waiter = { id: asking.id, model, tier, tenant, weight: asking.weight };
      const waiting = createWaitQueueEntry(store, fleet, waiter, settings.waiterTtlMs);
      try {
        for (let looks = 0; ; looks += 1) {
          const seen = await look(asking, looks);
          if (seen.outcome === 'granted') return slotOf(asking, seen, waiting, startedAt);
          const leftMs = until - now();
          if (leftMs <= 0 || hasFailedOnAll(seen.view, request, not)) throw await refusal(seen.view, asking);
          if (seen.outcome === 'full') waiting.refresh(now());
          await sleep(Math.min(leftMs, pauseMs(seen.outcome, tier, looks)), signal);
          signal.throwIfAborted();
        }
      } catch (thrown) {
        await waiting.remove();
        throw thrown;
      }
    },
    async suspect({ fleet, id, bootId }, reason) {
      await store.setState(fleet, id, bootId, { state: 'suspect', reason, at: now(), from: 'ready' }).catch(() => {});
    },
    recordUsage: estimate.recordUsage,
  };
}
