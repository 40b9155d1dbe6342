import { describe, expect, it } from 'vitest';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { watchOutages } from '../../../shared/jobs/outage-watch.ts';
import { START } from './jobs.ts';

/** Creates a watched store whose reads fail while `state.isAway`. */
function createWatched() {
  const state = { now: START, isAway: false, isBroken: false };
  const now = () => state.now;
  const store = createMemoryStore(now);
  const failing = {
    ...store,
    read: async (tenant: string, id: string) => {
      if (state.isBroken) throw new Error('an unreadable item');
      if (state.isAway) throw Object.assign(new Error('unavailable'), { $metadata: {} });
      return store.read(tenant, id);
    },
  };
  const failed: unknown[] = [];
  const watched = watchOutages(failing, now, (thrown) => failed.push(thrown));
  return { failed, state, read: () => watched.store.read('acme', 'resp_1').catch(() => 'failed'), watched };
}

describe('watchOutages', () => {
  it('three failed requests in a row are an outage, and its last failure is remembered', async () => {
    const { failed, state, read, watched } = createWatched();
    state.isAway = true;
    await read();
    await read();
    expect(watched.lastOutageAt()).toBe(Number.NEGATIVE_INFINITY);
    state.now += 1_000;
    await read();
    state.now += 1_000;
    await read();
    state.isAway = false;
    state.now += 1_000;
    await read();
    expect(watched.lastOutageAt()).toBe(START + 2_000);
    expect(failed).toHaveLength(4);
  });

  it('errors that are not of the store itself are no outage', async () => {
    const { state, read, watched } = createWatched();
    state.isBroken = true;
    for (let round = 0; round < 5; round += 1) expect(await read()).toBe('failed');
    expect(watched.lastOutageAt()).toBe(Number.NEGATIVE_INFINITY);
  });

  it('single failed requests among others are no outage', async () => {
    const { state, read, watched } = createWatched();
    for (let round = 0; round < 10; round += 1) {
      state.isAway = round % 2 === 0;
      await read();
    }
    expect(watched.lastOutageAt()).toBe(Number.NEGATIVE_INFINITY);
  });
});

it('errors that are not AWS errors, as for unreadable items, are no outage', async () => {
  const store = { ...createMemoryStore(() => START), read: () => Promise.reject(new Error('unreadable')) };
  const watched = watchOutages(
    store,
    () => START,
    () => {},
  );
  for (let read = 0; read < 5; read += 1) await expect(watched.store.read('acme', 'resp_1')).rejects.toThrow();
  expect(watched.lastOutageAt()).toBe(Number.NEGATIVE_INFINITY);
});
