import { describe, expect, it } from 'vitest';
import { SLOT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import { createLease, createLeaseRequest, createPrompt, createWorker, FLEET, MODEL, START } from '../fleets.ts';
import { createSlotRequest, createTestFleet, getRefusal, NEVER_ABORTS } from './slot-fixture.ts';

describe('acquiring a slot', () => {
  it('a slot costs two reads and two writes to acquire, and one write each for its first token and release', async () => {
    const { acquire, leases, calls } = await createTestFleet();
    const slot = await acquire({ prompt: createPrompt(4_000, ['a', 2_048]), tier: 'batch', tenant: 'globex' });
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

  it('a prompt is placed on the worker that has its prefix cached, and only new prefixes are recorded', async () => {
    const { acquire, calls } = await createTestFleet(['w1', 'w2', 'w3'].map((id) => createWorker({ id })));
    const first = await acquire({ prompt: createPrompt(40_000, ['a', 8_192], ['b', 16_384]) }, new Set(['w1', 'w3']));
    await first.release();
    const again = await acquire({ prompt: createPrompt(60_000, ['a', 8_192], ['b', 16_384], ['c', 32_768]) });
    expect(again.worker.id).toBe('w2');
    expect(again.cachedTokens).toBe(4_096);
    await again.release();
    calls.length = 0;
    const same = await acquire({ prompt: createPrompt(60_000, ['a', 8_192], ['b', 16_384], ['c', 32_768]) });
    expect(same.cachedTokens).toBe(8_192);
    await same.release();
    expect(calls).not.toContain('recordHolders');
  });

  it('a prompt that keeps coming stays on its worker, and its directory entry is renewed every 90 s', async () => {
    const { acquire, calls, table, time } = await createTestFleet(['w1', 'w2', 'w3'].map((id) => createWorker({ id })));
    const prompt = createPrompt(40_000, ['a', 32_768]);
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
    // The holder that served the prefix only once has expired.
    expect((await table.findHolders(FLEET, ['a'])).get('a')?.map(({ workerId }) => workerId)).toEqual(['w2']);
  });

  it('the directory lists the workers of a prefix in the order in which they last served it', async () => {
    const { acquire, table, time } = await createTestFleet(['w1', 'w2'].map((id) => createWorker({ id })));
    const prompt = createPrompt(40_000, ['a', 32_768]);
    const holders = async () => (await table.findHolders(FLEET, ['a'])).get('a')?.map(({ workerId }) => workerId);
    for (const not of ['w2', 'w1']) await (await acquire({ prompt }, new Set([not]))).release();
    expect(await holders()).toEqual(['w2', 'w1']);
    await time.pass(91_000);
    await (await acquire({ prompt }, new Set(['w2']))).release();
    expect(await holders()).toEqual(['w1', 'w2']);
  });

  it('a slot is acquired even if the directory can be neither read nor written', async () => {
    const fail = async () => {
      throw new Error('throttled');
    };
    const { acquire, leases } = await createTestFleet([createWorker()], { findHolders: fail, recordHolders: fail });
    const slot = await acquire({ prompt: createPrompt(4_000, ['a', 2_048]) });
    await slot.release();
    expect(await leases()).toEqual({});
  });

  it('the second-best worker is leased if the best one was filled since the fleet was read', async () => {
    const { acquire, table, view } = await createTestFleet(
      [createWorker({ id: 'best' }), createWorker({ id: 'second' })],
      {
        read: async () => stale,
      },
    );
    await table.lease(FLEET, 'second', createLeaseRequest());
    const stale = await view();
    for (const id of ['a', 'b', 'c', 'd']) await table.lease(FLEET, 'best', createLeaseRequest({ id }));
    const slot = await acquire();
    expect(slot.worker.id).toBe('second');
    expect(slot.waitedMs).toBe(0);
  });

  it('the fleet is read again if all workers that seemed free were filled meanwhile', async () => {
    let reads = 0;
    const { acquire, table, view } = await createTestFleet(
      [createWorker(), createWorker({ id: 'w2', state: 'suspect' })],
      {
        async read() {
          reads += 1;
          return reads < 3 ? stale : view();
        },
      },
    );
    const stale = await view();
    for (const id of ['a', 'b', 'c', 'd']) await table.lease(FLEET, 'w1', createLeaseRequest({ id }));
    await table.setState(FLEET, 'w2', 'boot-1', { state: 'ready', reason: '', at: START });
    const slot = await acquire();
    expect(slot.worker.id).toBe('w2');
    expect(slot.waitedMs).toBe(40);
  });

  it.each([
    { workers: 8, requests: 8, most: 2 },
    { workers: 8, requests: 24, most: 4 },
    { workers: 1, requests: 4, most: 4 },
  ])('$requests simultaneous requests to $workers workers all get a slot and spread over the workers', async (each) => {
    const workers = Array.from({ length: each.workers }, (_, index) => createWorker({ id: `w${index}`, slots: 32 }));
    const { acquire, table, view } = await createTestFleet(workers);
    // Every request that reads the fleet before the others lease ranks this worker first.
    await table.recordHolders(FLEET, [
      { prefix: 'a', holders: [{ workerId: 'w0', bootId: 'boot-1', until: START + 60_000 }] },
    ]);
    const acquiring = Array.from({ length: each.requests }, () =>
      acquire({ prompt: createPrompt(40_000, ['a', 4_096]) }),
    );
    const slots = await Promise.all(acquiring);
    expect(slots).toHaveLength(each.requests);
    const held = (await view()).workers.map(({ leases }) => Object.keys(leases).length);
    expect(Math.max(...held)).toBeLessThanOrEqual(each.most);
    for (const { waitedMs } of slots) expect(waitedMs).toBeLessThan(100);
  });

  it('a lease is renewed by heartbeats until it is released', async () => {
    const { acquire, leases, time } = await createTestFleet();
    const slot = await acquire();
    await time.pass(300_000);
    expect((await leases())?.['lease-1']?.expiresAt).toBe(START + 345_000);
    expect(slot.lost.aborted).toBe(false);
    await slot.release();
    await time.pass(300_000);
    expect(await leases()).toEqual({});
  });

  it('a lost lease aborts its signal at the next heartbeat', async () => {
    const { acquire, table, time } = await createTestFleet();
    const slot = await acquire();
    const { leases: _, ...restarted } = createWorker({ bootId: 'boot-2' });
    await table.register(restarted);
    expect(slot.lost.aborted).toBe(false);
    await time.pass(15_000);
    expect(slot.lost.reason).toMatchObject({ code: 'upstream_cut' });
    await slot.release();
  });

  it('a lease is not lost while the table does not answer', async () => {
    const { acquire, time } = await createTestFleet([createWorker()], {
      renew: async () => {
        throw new Error('unavailable');
      },
    });
    const slot = await acquire();
    await time.pass(120_000);
    expect(slot.lost.aborted).toBe(false);
  });

  it('marking the first token, releasing and suspecting never throw', async () => {
    const fail = async () => {
      throw new Error('unavailable');
    };
    const { acquire, slots } = await createTestFleet([createWorker()], {
      markFirstToken: fail,
      release: fail,
      setState: fail,
    });
    const slot = await acquire();
    await slot.markFirstToken();
    await slot.release();
    await slots.suspect(slot.worker, 'refused');
  });

  it('the slot of a dead holder is free as soon as its lease expires', async () => {
    const { acquire, table, leases } = await createTestFleet([createWorker({ slots: 1 })]);
    await table.lease(
      FLEET,
      'w1',
      createLeaseRequest({ id: 'leaked', cap: 1, lease: createLease({ expiresAt: START + 5_000 }) }),
    );
    const slot = await acquire();
    expect(slot.waitedMs).toBeGreaterThanOrEqual(5_000);
    expect(slot.waitedMs).toBeLessThan(6_000);
    expect(Object.keys((await leases()) ?? {})).toEqual(['lease-1']);
  });
});

describe('waiting for a slot', () => {
  const createFullFleet = () => createTestFleet([createWorker({ slots: 1 })]);

  it('a request waits until a slot is free, and is listed as a waiter meanwhile', async () => {
    const { acquire, slots, time, view } = await createFullFleet();
    const first = await acquire();
    const second = slots.acquire(createSlotRequest({ tenant: 'globex' }), NEVER_ABORTS);
    await time.pass(4_000);
    expect((await view()).waiters).toMatchObject([
      { id: 'lease-2', model: MODEL, tier: 'interactive', tenant: 'globex', weight: 1_200 },
    ]);
    await first.release();
    const slot = await time.runUntilSettled(second);
    expect(slot.waitedMs).toBeGreaterThanOrEqual(4_000);
    expect(slot.waitedMs).toBeLessThan(4_750);
    await slot.release();
    expect(await view()).toMatchObject({ waiters: [], workers: [{ leases: {} }] });
  });

  it('a request is refused after waitMs, with the delay after which to retry', async () => {
    const { acquire, time, view } = await createFullFleet();
    await acquire();
    const error = await getRefusal(acquire());
    expect(error).toMatchObject({ code: 'overloaded', retryable: true, retryAfterMs: 5_000 });
    expect(time.now() - START).toBe(SLOT_SETTINGS.defaultLimits.waitMs);
    expect((await view()).waiters).toEqual([]);
  });

  it('batch work is refused after batchWaitMs', async () => {
    const { acquire, time } = await createFullFleet();
    await acquire();
    await getRefusal(acquire({ tier: 'batch' }));
    expect(time.now() - START).toBe(SLOT_SETTINGS.batchWaitMs);
  });

  it('a request is refused with a longer delay if no worker for its model is ready', async () => {
    const { acquire } = await createTestFleet([
      createWorker({ state: 'suspect' }),
      createWorker({ id: 'w2', models: ['other'] }),
    ]);
    expect(await getRefusal(acquire())).toMatchObject({ code: 'overloaded', retryAfterMs: 30_000 });
  });

  it('a request that found no ready worker is recorded as unmet demand, to which no request yields', async () => {
    const { acquire, table, time, view } = await createTestFleet([createWorker({ state: 'suspect' })]);
    await getRefusal(acquire());
    expect(await view()).toMatchObject({
      waiters: [],
      unmet: [{ model: MODEL, tier: 'interactive', weight: 1_200, expiresAt: time.now() + SLOT_SETTINGS.unmetTtlMs }],
    });
    await table.setState(FLEET, 'w1', 'boot-1', { state: 'ready', reason: '', at: START });
    expect((await acquire({ tier: 'batch' })).waitedMs).toBe(0);
  });

  it('no unmet demand is recorded if workers are ready, and the refusal does not depend on the record', async () => {
    const { acquire, view } = await createFullFleet();
    await acquire();
    await getRefusal(acquire());
    expect((await view()).unmet).toEqual([]);
    const empty = await createTestFleet([], {
      recordUnmetDemand: async () => {
        throw new Error('throttled');
      },
    });
    expect(await getRefusal(empty.acquire())).toMatchObject({ retryAfterMs: 30_000 });
  });

  it('a cancelled request stops waiting and removes its waiter', async () => {
    const { acquire, slots, time, view } = await createFullFleet();
    await acquire();
    const cancel = new AbortController();
    const waiting = slots.acquire(createSlotRequest(), cancel.signal);
    await time.pass(1_000);
    cancel.abort(new Error('gone'));
    await expect(time.runUntilSettled(waiting)).rejects.toThrow('gone');
    expect((await view()).waiters).toEqual([]);
  });

  it('a request that is cancelled beforehand makes no call to the store', async () => {
    const { acquire, calls } = await createFullFleet();
    await expect(acquire({}, undefined, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
    expect(calls).toEqual([]);
  });

  it('batch work leaves the reserve to interactive work', async () => {
    const { acquire } = await createTestFleet([createWorker({ slots: 4 })]);
    for (let taken = 0; taken < 3; taken += 1) await acquire({ tier: 'batch' });
    await getRefusal(acquire({ tier: 'batch' }));
    expect((await acquire()).worker.id).toBe('w1');
  });

  it('a worker on which the request has failed is not chosen', async () => {
    const { acquire } = await createTestFleet([createWorker(), createWorker({ id: 'w2' })]);
    expect((await acquire({}, new Set(['w1']))).worker.id).toBe('w2');
  });

  it('a request that has failed on every worker is refused at once and adds no waiter', async () => {
    const { acquire, time, calls } = await createTestFleet([createWorker(), createWorker({ id: 'w2' })]);
    expect(await getRefusal(acquire({}, new Set(['w1', 'w2'])))).toMatchObject({ code: 'overloaded' });
    expect(time.now()).toBe(START);
    expect(calls).not.toContain('putWaiter');
  });
});

describe('suspecting a worker', () => {
  it('a suspect worker gets no work', async () => {
    const { acquire, slots, view } = await createTestFleet();
    await slots.suspect({ fleet: FLEET, id: 'w1', bootId: 'boot-1' }, 'refused');
    expect((await view()).workers).toMatchObject([{ state: 'suspect', stateReason: 'refused', stateSince: START }]);
    await getRefusal(acquire());
  });

  it('only the start that failed becomes suspect, and a draining worker keeps draining', async () => {
    const { slots, view, table } = await createTestFleet([createWorker(), createWorker({ id: 'w2' })]);
    await table.setState(FLEET, 'w2', 'boot-1', { state: 'draining', reason: 'spot', at: START });
    await slots.suspect({ fleet: FLEET, id: 'w1', bootId: 'boot-0' }, 'refused');
    await slots.suspect({ fleet: FLEET, id: 'w2', bootId: 'boot-1' }, 'refused');
    expect((await view()).workers.map(({ state }) => state)).toEqual(['ready', 'draining']);
  });
});

describe('bytes per token', () => {
  it('bytes per token are learned from answers for each model', async () => {
    const { acquire, slots, leases } = await createTestFleet();
    slots.recordUsage(MODEL, 4_000, 2_000);
    slots.recordUsage('other', 4_000, 500);
    await acquire();
    expect((await leases())?.['lease-1']).toMatchObject({ pendingTokens: 2_000, weight: 2_200 });
  });

  it('bytes per token follow observations slowly and ignore implausible ones', async () => {
    const { acquire, slots, leases } = await createTestFleet();
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
