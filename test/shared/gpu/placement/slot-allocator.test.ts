import { describe, expect, test } from 'vitest';
import { SLOT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import { aLease, anAsk, aPrompt, aWorker, FLEET, MODEL, START } from '../fleets.ts';
import { aHouse, aRequest, ON, refusal } from './slot-fixture.ts';

describe('a slot', () => {
  test('is taken with two reads and a write, begun with one more, and given back', async () => {
    const { acquire, leases, calls } = await aHouse();
    const slot = await acquire({ prompt: aPrompt(4_000, ['a', 2_048]), tier: 'batch', tenant: 'globex' });
    expect(slot).toMatchObject({
      worker: { fleet: FLEET, id: 'w1', url: 'http://w1:8000/v1', bootId: 'boot-1' },
      leaseId: 'lease-1',
      cachedTokens: 0,
      waitedMs: 0,
    });
    expect(await leases()).toEqual({
      'lease-1': { tier: 'batch', tenant: 'globex', pendingTokens: 1_000, weight: 1_200, expiresAt: START + 45_000 },
    });
    await slot.markFirstToken();
    await slot.markFirstToken();
    expect((await leases())?.['lease-1']?.pendingTokens).toBe(0);
    await Promise.all([slot.release(), slot.release()]);
    expect(await leases()).toEqual({});
    expect(calls.sort()).toEqual(['findHolders', 'lease', 'markFirstToken', 'read', 'recordHolders', 'release']);
  });

  test('brings a prompt back to where its beginning was computed, and writes only what is new', async () => {
    const { acquire, calls } = await aHouse(['w1', 'w2', 'w3'].map((id) => aWorker({ id })));
    const first = await acquire({ prompt: aPrompt(40_000, ['a', 8_192], ['b', 16_384]) }, new Set(['w1', 'w3']));
    await first.release();
    const again = await acquire({ prompt: aPrompt(60_000, ['a', 8_192], ['b', 16_384], ['c', 32_768]) });
    expect(again.worker.id).toBe('w2');
    expect(again.cachedTokens).toBe(4_096);
    await again.release();
    calls.length = 0;
    const same = await acquire({ prompt: aPrompt(60_000, ['a', 8_192], ['b', 16_384], ['c', 32_768]) });
    expect(same.cachedTokens).toBe(8_192);
    await same.release();
    expect(calls).not.toContain('recordHolders');
  });

  test('is found by a prompt for as long as it keeps coming, and the directory is told once in 90 s', async () => {
    const { acquire, calls, table, time } = await aHouse(['w1', 'w2', 'w3'].map((id) => aWorker({ id })));
    const prompt = aPrompt(40_000, ['a', 32_768]);
    const first = await acquire({ prompt }, new Set(['w1', 'w3']));
    await first.release();
    const other = await acquire({ prompt }, new Set(['w1', 'w2']));
    await other.release();
    for (let turn = 0; turn < 10; turn += 1) {
      await time.pass(60_000);
      const again = await acquire({ prompt }, new Set(['w3']));
      expect(again).toMatchObject({ worker: { id: 'w2' }, cachedTokens: 8_192 });
      await again.release();
    }
    expect(calls.filter((call) => call === 'recordHolders')).toHaveLength(2 + 5);
    // What the other has served once is forgotten in its own time.
    expect((await table.findHolders(FLEET, ['a'])).get('a')?.map(({ workerId }) => workerId)).toEqual(['w2']);
  });

  test('names the workers of a prompt in the order in which they served it', async () => {
    const { acquire, table, time } = await aHouse(['w1', 'w2'].map((id) => aWorker({ id })));
    const prompt = aPrompt(40_000, ['a', 32_768]);
    const holders = async () => (await table.findHolders(FLEET, ['a'])).get('a')?.map(({ workerId }) => workerId);
    for (const not of ['w2', 'w1']) await (await acquire({ prompt }, new Set([not]))).release();
    expect(await holders()).toEqual(['w2', 'w1']);
    await time.pass(91_000);
    await (await acquire({ prompt }, new Set(['w2']))).release();
    expect(await holders()).toEqual(['w1', 'w2']);
  });

  test('is taken though the directory neither answers nor learns', async () => {
    const down = async () => {
      throw new Error('throttled');
    };
    const { acquire, leases } = await aHouse([aWorker()], { findHolders: down, recordHolders: down });
    const slot = await acquire({ prompt: aPrompt(4_000, ['a', 2_048]) });
    await slot.release();
    expect(await leases()).toEqual({});
  });

  test('is taken of the runner-up when the best is gone by then', async () => {
    const { acquire, table, view } = await aHouse([aWorker({ id: 'best' }), aWorker({ id: 'second' })], {
      read: async () => stale,
    });
    await table.lease(FLEET, 'second', anAsk());
    const stale = await view();
    for (const id of ['a', 'b', 'c', 'd']) await table.lease(FLEET, 'best', anAsk({ id }));
    const slot = await acquire();
    expect(slot.worker.id).toBe('second');
    expect(slot.waitedMs).toBe(0);
  });

  test('is looked for anew when all that seemed free are gone by then', async () => {
    let looks = 0;
    const { acquire, table, view } = await aHouse([aWorker(), aWorker({ id: 'w2', state: 'suspect' })], {
      async read() {
        looks += 1;
        return looks < 3 ? stale : view();
      },
    });
    const stale = await view();
    for (const id of ['a', 'b', 'c', 'd']) await table.lease(FLEET, 'w1', anAsk({ id }));
    await table.setState(FLEET, 'w2', 'boot-1', { state: 'ready', reason: '', at: START });
    const slot = await acquire();
    expect(slot.worker.id).toBe('w2');
    expect(slot.waitedMs).toBe(40);
  });

  test.each([
    { workers: 8, requests: 8, most: 2 },
    { workers: 8, requests: 24, most: 4 },
    { workers: 1, requests: 4, most: 4 },
  ])('of $workers workers is found by each of $requests that decide at the same moment', async (each) => {
    const workers = Array.from({ length: each.workers }, (_, index) => aWorker({ id: `w${index}`, slots: 32 }));
    const { acquire, table, view } = await aHouse(workers);
    // The best of all, for whoever sees the fleet as it was before the others came.
    await table.recordHolders(FLEET, [
      { prefix: 'a', holders: [{ workerId: 'w0', bootId: 'boot-1', until: START + 60_000 }] },
    ]);
    const asking = Array.from({ length: each.requests }, () => acquire({ prompt: aPrompt(40_000, ['a', 4_096]) }));
    const slots = await Promise.all(asking);
    expect(slots).toHaveLength(each.requests);
    const held = (await view()).workers.map(({ leases }) => Object.keys(leases).length);
    expect(Math.max(...held)).toBeLessThanOrEqual(each.most);
    for (const { waitedMs } of slots) expect(waitedMs).toBeLessThan(100);
  });

  test('is kept by a heartbeat for as long as it is held', async () => {
    const { acquire, leases, time } = await aHouse();
    const slot = await acquire();
    await time.pass(300_000);
    expect((await leases())?.['lease-1']?.expiresAt).toBe(START + 345_000);
    expect(slot.lost.aborted).toBe(false);
    await slot.release();
    await time.pass(300_000);
    expect(await leases()).toEqual({});
  });

  test('that is lost says so at the next heartbeat', async () => {
    const { acquire, table, time } = await aHouse();
    const slot = await acquire();
    const { leases: _, ...restarted } = aWorker({ bootId: 'boot-2' });
    await table.register(restarted);
    expect(slot.lost.aborted).toBe(false);
    await time.pass(15_000);
    expect(slot.lost.reason).toMatchObject({ code: 'upstream_cut' });
    await slot.release();
  });

  test('is not taken for lost while the table does not answer', async () => {
    const { acquire, time } = await aHouse([aWorker()], {
      renew: async () => {
        throw new Error('unavailable');
      },
    });
    const slot = await acquire();
    await time.pass(120_000);
    expect(slot.lost.aborted).toBe(false);
  });

  test('never throws when it is begun or given back', async () => {
    const down = async () => {
      throw new Error('unavailable');
    };
    const { acquire, slots } = await aHouse([aWorker()], { markFirstToken: down, release: down, setState: down });
    const slot = await acquire();
    await slot.markFirstToken();
    await slot.release();
    await slots.suspect(slot.worker, 'refused');
  });

  test('whose holder died comes back within a minute', async () => {
    const { acquire, table, leases } = await aHouse([aWorker({ slots: 1 })]);
    await table.lease(FLEET, 'w1', anAsk({ id: 'leaked', cap: 1, lease: aLease({ expiresAt: START + 5_000 }) }));
    const slot = await acquire();
    expect(slot.waitedMs).toBeGreaterThanOrEqual(5_000);
    expect(slot.waitedMs).toBeLessThan(6_000);
    expect(Object.keys((await leases()) ?? {})).toEqual(['lease-1']);
  });
});

describe('a full fleet', () => {
  const full = () => aHouse([aWorker({ slots: 1 })]);

  test('lets a request wait until a slot comes free, and says so meanwhile', async () => {
    const { acquire, slots, time, view } = await full();
    const first = await acquire();
    const second = slots.acquire(aRequest({ tenant: 'globex' }), ON);
    await time.pass(4_000);
    expect((await view()).waiters).toMatchObject([
      { id: 'lease-2', model: MODEL, tier: 'interactive', tenant: 'globex', weight: 1_200 },
    ]);
    await first.release();
    const slot = await time.during(second);
    expect(slot.waitedMs).toBeGreaterThanOrEqual(4_000);
    expect(slot.waitedMs).toBeLessThan(4_750);
    await slot.release();
    expect(await view()).toMatchObject({ waiters: [], workers: [{ leases: {} }] });
  });

  test('refuses a request in time, and tells when to come again', async () => {
    const { acquire, time, view } = await full();
    await acquire();
    const error = await refusal(acquire());
    expect(error).toMatchObject({ code: 'overloaded', retryable: true, retryAfterMs: 5_000 });
    expect(time.now() - START).toBe(SLOT_SETTINGS.defaultLimits.waitMs);
    expect((await view()).waiters).toEqual([]);
  });

  test('lets batch work wait for a moment only', async () => {
    const { acquire, time } = await full();
    await acquire();
    await refusal(acquire({ tier: 'batch' }));
    expect(time.now() - START).toBe(SLOT_SETTINGS.batchWaitMs);
  });

  test('that has no worker ready for the model says to come again later', async () => {
    const { acquire } = await aHouse([aWorker({ state: 'suspect' }), aWorker({ id: 'w2', models: ['other'] })]);
    expect(await refusal(acquire())).toMatchObject({ code: 'overloaded', retryAfterMs: 30_000 });
  });

  test('leaves word of a request that no worker was ready for, for which nobody stands back', async () => {
    const { acquire, table, time, view } = await aHouse([aWorker({ state: 'suspect' })]);
    await refusal(acquire());
    expect(await view()).toMatchObject({
      waiters: [],
      unmet: [{ model: MODEL, tier: 'interactive', weight: 1_200, expiresAt: time.now() + SLOT_SETTINGS.unmetTtlMs }],
    });
    await table.setState(FLEET, 'w1', 'boot-1', { state: 'ready', reason: '', at: START });
    expect((await acquire({ tier: 'batch' })).waitedMs).toBe(0);
  });

  test('leaves no such word when workers are ready and full, and refuses the request though it cannot be left', async () => {
    const { acquire, view } = await full();
    await acquire();
    await refusal(acquire());
    expect((await view()).unmet).toEqual([]);
    const none = await aHouse([], {
      recordUnmetDemand: async () => {
        throw new Error('throttled');
      },
    });
    expect(await refusal(none.acquire())).toMatchObject({ retryAfterMs: 30_000 });
  });

  test('gives up waiting when the request is cancelled', async () => {
    const { acquire, slots, time, view } = await full();
    await acquire();
    const cancel = new AbortController();
    const waiting = slots.acquire(aRequest(), cancel.signal);
    await time.pass(1_000);
    cancel.abort(new Error('gone'));
    await expect(time.during(waiting)).rejects.toThrow('gone');
    expect((await view()).waiters).toEqual([]);
  });

  test('asks nothing for a request that is cancelled already', async () => {
    const { acquire, calls } = await full();
    await expect(acquire({}, undefined, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
    expect(calls).toEqual([]);
  });

  test('has its reserve for interactive work', async () => {
    const { acquire } = await aHouse([aWorker({ slots: 4 })]);
    for (let taken = 0; taken < 3; taken += 1) await acquire({ tier: 'batch' });
    await refusal(acquire({ tier: 'batch' }));
    expect((await acquire()).worker.id).toBe('w1');
  });

  test('never gives a worker that the request has failed on', async () => {
    const { acquire } = await aHouse([aWorker(), aWorker({ id: 'w2' })]);
    expect((await acquire({}, new Set(['w1']))).worker.id).toBe('w2');
  });

  test('is not waited for by a request that has failed on all, for which nobody else is to stand back', async () => {
    const { acquire, time, calls } = await aHouse([aWorker(), aWorker({ id: 'w2' })]);
    expect(await refusal(acquire({}, new Set(['w1', 'w2'])))).toMatchObject({ code: 'overloaded' });
    expect(time.now()).toBe(START);
    expect(calls).not.toContain('putWaiter');
  });
});

describe('a suspect', () => {
  test('gets no work until it is ready again', async () => {
    const { acquire, slots, view } = await aHouse();
    await slots.suspect({ fleet: FLEET, id: 'w1', bootId: 'boot-1' }, 'refused');
    expect((await view()).workers).toMatchObject([{ state: 'suspect', stateReason: 'refused', stateSince: START }]);
    await refusal(acquire());
  });

  test('is the start that failed, not the next one, nor one that drains', async () => {
    const { slots, view, table } = await aHouse([aWorker(), aWorker({ id: 'w2' })]);
    await table.setState(FLEET, 'w2', 'boot-1', { state: 'draining', reason: 'spot', at: START });
    await slots.suspect({ fleet: FLEET, id: 'w1', bootId: 'boot-0' }, 'refused');
    await slots.suspect({ fleet: FLEET, id: 'w2', bootId: 'boot-1' }, 'refused');
    expect((await view()).workers.map(({ state }) => state)).toEqual(['ready', 'draining']);
  });
});

describe('the size of tokens', () => {
  test('is learnt from answers, for each model by itself', async () => {
    const { acquire, slots, leases } = await aHouse();
    slots.recordUsage(MODEL, 4_000, 2_000);
    slots.recordUsage('other', 4_000, 500);
    await acquire();
    expect((await leases())?.['lease-1']).toMatchObject({ pendingTokens: 2_000, weight: 2_200 });
  });

  test('follows what is seen slowly, and believes nothing absurd', async () => {
    const { acquire, slots, leases } = await aHouse();
    slots.recordUsage(MODEL, 4_000, 1_000);
    slots.recordUsage(MODEL, 4_000, 2_000);
    slots.recordUsage(MODEL, 10, 3);
    slots.recordUsage(MODEL, 0, 1_000);
    slots.recordUsage(MODEL, 1_000, Number.NaN);
    await acquire();
    expect((await leases())?.['lease-1']?.pendingTokens).toBe(Math.ceil(4_000 / 3.8));
    for (let answers = 0; answers < 200; answers += 1) slots.recordUsage(MODEL, 5_000_000, 1_000);
    await acquire();
    expect((await leases())?.['lease-2']?.pendingTokens).toBe(401);
  });
});
