import type { FleetStore } from '../registry/fleet-store.ts';
import type { Waiter } from '../registry/worker.ts';

/**
 * A request's entry among the fleet's waiters. The entry is a hint for other requests, so failed writes are ignored.
 */
export interface WaitQueueEntry {
  /** Adds the entry, or renews it before it expires. Does not wait for the write. */
  refresh(now: number): void;
  /** Removes the entry if it was added. Never rejects. */
  remove(): Promise<void>;
}

/**
 * Creates a request's entry. Nothing is written before the first `refresh`.
 * @param ttlMs milliseconds until an entry that is not refreshed expires
 */
export function createWaitQueueEntry(
  store: FleetStore,
  fleet: string,
  waiter: Omit<Waiter, 'expiresAt'>,
  ttlMs: number,
): WaitQueueEntry {
  let expiresAt: number | undefined;
  let lastWrite: Promise<void> = Promise.resolve();
  return {
    refresh(now) {
      if (expiresAt !== undefined && now < expiresAt - ttlMs / 2) return;
      expiresAt = now + ttlMs;
      const entry = { ...waiter, expiresAt };
      lastWrite = lastWrite.then(() => store.putWaiter(fleet, entry)).catch(() => {});
    },
    async remove() {
      if (expiresAt === undefined) return;
      expiresAt = undefined;
      await lastWrite;
      await store.removeWaiter(fleet, waiter.id).catch(() => {});
    },
  };
}
