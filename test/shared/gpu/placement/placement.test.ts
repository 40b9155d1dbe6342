import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSeededRandom } from '../../../../local/faults/random.ts';
import { type PlacementRequest, rankWorkers, slotCap } from '../../../../shared/gpu/placement/placement.ts';
import { findChangedEntries } from '../../../../shared/gpu/placement/prefix-directory.ts';
import { PLACEMENT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import type { Lease, PrefixHolders, Worker } from '../../../../shared/gpu/registry/worker.ts';
import { createLease, createPrompt, createWorker, MODEL, START } from '../fleets.ts';

const NO_HOLDERS: PrefixHolders = new Map();
const noJitter = () => 0;

function createPlacementRequest(changes: Partial<PlacementRequest> = {}): PlacementRequest {
  return {
    model: MODEL,
    tier: 'interactive',
    prompt: createPrompt(4_000),
    bytesPerToken: 4,
    reserve: 0.25,
    ...changes,
  };
}

function rankAll(
  workers: readonly Worker[],
  request = createPlacementRequest(),
  holders = NO_HOLDERS,
  random = noJitter,
) {
  return rankWorkers({ workers }, holders, request, PLACEMENT_SETTINGS, START, random);
}
const rankIds = (...args: Parameters<typeof rankAll>) => rankAll(...args).map(({ worker }) => worker.id);
const leases = (...each: readonly Partial<Lease>[]) =>
  Object.fromEntries(each.map((changes, index) => [`l${index}`, createLease(changes)]));

describe('rankWorkers', () => {
  it('the worker with the fewest pending tokens comes first', () => {
    const busy = createWorker({ id: 'busy', leases: leases({ pendingTokens: 5_000 }) });
    const free = createWorker({ id: 'free', leases: leases({ pendingTokens: 0 }) });
    expect(rankIds([busy, free])).toEqual(['free', 'busy']);
  });

  it('the worker that has most of the prompt cached comes first unless it is too busy', () => {
    const prompt = createPrompt(40_000, ['short', 256], ['long', 24_576]);
    const holders: PrefixHolders = new Map([
      [
        'short',
        [
          { workerId: 'some', bootId: 'boot-1', until: START + 1 },
          { workerId: 'all', bootId: 'boot-1', until: START + 1 },
        ],
      ],
      ['long', [{ workerId: 'all', bootId: 'boot-1', until: START + 1 }]],
    ]);
    const workers = ['none', 'some', 'all'].map((id) => createWorker({ id }));
    const candidates = rankAll(workers, createPlacementRequest({ prompt }), holders);
    expect(
      candidates.map(({ worker, cachedTokens, uncachedTokens }) => [worker.id, cachedTokens, uncachedTokens]),
    ).toEqual([
      ['all', 6_144, 3_856],
      ['some', 64, 9_936],
      ['none', 0, 10_000],
    ]);
    const loaded = [
      ...workers.slice(0, 2),
      createWorker({ id: 'all', leases: leases({ pendingTokens: 18_000 }, { pendingTokens: 0 }) }),
    ];
    expect(rankIds(loaded, createPlacementRequest({ prompt }), holders)).toEqual(['some', 'none', 'all']);
  });

  it('prefixes that an earlier start of a worker served do not count', () => {
    const prompt = createPrompt(4_000, ['a', 2_048]);
    const holders: PrefixHolders = new Map([['a', [{ workerId: 'w1', bootId: 'boot-0', until: START + 1 }]]]);
    expect(rankAll([createWorker()], createPlacementRequest({ prompt }), holders)[0]?.cachedTokens).toBe(0);
  });

  it('token counts use the given bytes per token', () => {
    const prompt = createPrompt(4_000, ['a', 2_048]);
    const holders: PrefixHolders = new Map([['a', [{ workerId: 'w1', bootId: 'boot-1', until: START + 1 }]]]);
    const [only] = rankAll([createWorker()], createPlacementRequest({ prompt, bytesPerToken: 2 }), holders);
    expect(only).toMatchObject({ cachedTokens: 1_024, uncachedTokens: 976 });
  });

  it('expired leases do not count and are listed for removal', () => {
    const leaked = createWorker({ slots: 1, leases: leases({ expiresAt: START, pendingTokens: 9_000 }) });
    const [only] = rankAll([leaked]);
    expect(only).toMatchObject({ expired: ['l0'], score: PLACEMENT_SETTINGS.uncachedWeight * 1_000 });
    expect(rankAll([createWorker({ slots: 1, leases: leases({ expiresAt: START + 1 }) })])).toEqual([]);
  });

  it('at most 100 expired leases are listed, and further ones occupy slots', () => {
    const many = leases(...Array.from({ length: 150 }, () => ({ expiresAt: START })));
    const [only] = rankAll([createWorker({ slots: 200, leases: many })]);
    expect(only?.expired).toHaveLength(100);
    expect(rankAll([createWorker({ slots: 50, leases: many })])).toEqual([]);
  });

  it('random jitter spreads simultaneous requests over equal workers', () => {
    const workers = ['w1', 'w2', 'w3', 'w4'].map((id) => createWorker({ id }));
    const chosen = Array.from(
      { length: 200 },
      () => rankIds(workers, createPlacementRequest(), NO_HOLDERS, Math.random)[0],
    );
    for (const { id } of workers) expect(chosen.filter((first) => first === id).length).toBeGreaterThan(20);
  });

  it('batch work gets at least one slot of a worker that is too small for a reserve', () => {
    expect([1, 2, 4, 32].map((slots) => slotCap(slots, 'batch', 0.25))).toEqual([1, 1, 3, 24]);
    expect([1, 2, 4, 32].map((slots) => slotCap(slots, 'interactive', 0.25))).toEqual([1, 2, 4, 32]);
  });
});

const anyLease = fc.record({
  tier: fc.constantFrom('interactive' as const, 'batch' as const),
  tenant: fc.constantFrom('acme', 'globex'),
  pendingTokens: fc.nat(100_000),
  weight: fc.nat(100_000),
  expiresAt: fc.integer({ min: START - 10, max: START + 10 }),
});
const anyWorker = fc.record({
  bootId: fc.constantFrom('boot-1', 'boot-2'),
  state: fc.constantFrom('ready' as const, 'draining' as const, 'suspect' as const),
  slots: fc.integer({ min: 1, max: 8 }),
  models: fc.subarray([MODEL, 'adapter']),
  leases: fc.dictionary(fc.stringMatching(/^[a-z]{1,3}$/), anyLease, { maxKeys: 10 }),
});
const anyFleet = fc
  .array(anyWorker, { maxLength: 6 })
  .map((workers) => workers.map((worker, index) => createWorker({ ...worker, id: `w${index}` })));
const anyHolders = fc.dictionary(
  fc.constantFrom('a', 'b', 'c'),
  fc.array(
    fc.record({
      workerId: fc.constantFrom('w0', 'w1', 'w2'),
      bootId: fc.constantFrom('boot-1', 'boot-2', 'boot-3'),
      until: fc.integer({ min: START + 1, max: START + PLACEMENT_SETTINGS.directoryMs }),
    }),
    { maxLength: 3 },
  ),
);
const anyRequest = fc.record({
  model: fc.constantFrom(MODEL, 'adapter'),
  tier: fc.constantFrom('interactive' as const, 'batch' as const),
  reserve: fc.double({ min: 0, max: 0.9, noNaN: true }),
  excluded: fc.subarray(['w0', 'w1', 'w2']).map((ids) => new Set(ids)),
  bytesPerToken: fc.double({ min: 1, max: 10, noNaN: true }),
  bytes: fc.integer({ min: 3_000, max: 500_000 }),
});

describe('any fleet and request', () => {
  it('exactly the workers that are ready, serve the model and have a free slot for the tier are ranked', () => {
    fc.assert(
      fc.property(anyFleet, anyHolders, anyRequest, fc.nat(), (workers, holders, { bytes, ...changes }, seed) => {
        const prompt = createPrompt(bytes, ['a', 256], ['b', 1_024], ['c', 2_048]);
        const request = createPlacementRequest({ ...changes, prompt });
        const view = { workers };
        const known = new Map(Object.entries(holders));
        const candidates = rankWorkers(view, known, request, PLACEMENT_SETTINGS, START, createSeededRandom(seed));
        expect(rankWorkers(view, known, request, PLACEMENT_SETTINGS, START, createSeededRandom(seed))).toEqual(
          candidates,
        );
        for (const { worker, cap, expired, cachedTokens, uncachedTokens } of candidates) {
          const live = Object.values(worker.leases).filter(({ expiresAt }) => expiresAt > START);
          expect(worker.state).toBe('ready');
          expect(worker.models).toContain(request.model);
          expect(request.excluded?.has(worker.id)).toBe(false);
          expect(cap).toBeLessThanOrEqual(worker.slots);
          expect(live.length + 1).toBeLessThanOrEqual(cap);
          if (request.tier === 'batch' && worker.slots > 1) {
            expect(cap).toBeLessThanOrEqual(Math.max(1, worker.slots * (1 - request.reserve)));
          }
          expect(expired.every((id) => (worker.leases[id]?.expiresAt ?? 0) <= START)).toBe(true);
          expect(cachedTokens).toBeGreaterThanOrEqual(0);
          expect(uncachedTokens).toBeGreaterThan(0);
          if (cachedTokens > 0) {
            const recorded = Object.values(holders).flat();
            expect(recorded).toContainEqual(expect.objectContaining({ workerId: worker.id, bootId: worker.bootId }));
          }
        }
        const scores = candidates.map(({ score }) => score);
        expect(scores).toEqual(scores.toSorted((a, b) => a - b));
        const others = workers.filter((worker) => !candidates.some((each) => each.worker === worker));
        for (const { id, state, models, leases: held, slots } of others) {
          const live = Object.values(held).filter(({ expiresAt }) => expiresAt > START).length;
          const full = live >= slotCap(slots, request.tier, request.reserve);
          expect(state !== 'ready' || !models.includes(request.model) || request.excluded?.has(id) || full).toBe(true);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('the changed directory entries name the worker first, and no entry that is fresh changes', () => {
    fc.assert(
      fc.property(anyFleet, anyHolders, fc.integer({ min: 1, max: 3 }), (workers, holders, maxHolders) => {
        const [worker] = workers;
        if (worker === undefined) return;
        const prompt = createPrompt(9_000, ['a', 256], ['b', 1_024], ['c', 2_048]);
        const holder = { workerId: worker.id, bootId: worker.bootId };
        const settings = { maxHolders, directoryMs: PLACEMENT_SETTINGS.directoryMs };
        const before = new Map(Object.entries(holders));
        const changed = findChangedEntries(prompt, holder, before, { workers }, settings, START);
        const after = new Map([...before, ...changed.map((entry) => [entry.prefix, entry.holders] as const)]);
        for (const { hash } of prompt.prefixes) {
          const untils = (after.get(hash) ?? [])
            .filter(({ workerId, bootId }) => workerId === holder.workerId && bootId === holder.bootId)
            .map(({ until }) => until);
          expect(Math.max(...untils)).toBeGreaterThan(START + PLACEMENT_SETTINGS.directoryMs / 2);
        }
        for (const entry of changed) {
          expect(entry.holders[0]).toEqual({ ...holder, until: START + PLACEMENT_SETTINGS.directoryMs });
          expect(entry.holders.length).toBeLessThanOrEqual(maxHolders);
          expect(new Set(entry.holders.map(({ workerId }) => workerId)).size).toBeLessThanOrEqual(entry.holders.length);
          for (const { workerId, bootId } of entry.holders) {
            expect(workers.find(({ id }) => id === workerId)?.bootId).toBe(bootId);
          }
        }
        expect(findChangedEntries(prompt, holder, after, { workers }, settings, START)).toEqual([]);
      }),
    );
  });
});
