import type { FleetStore } from '../registry/fleet-store.ts';
import type { Waiter } from '../registry/worker.ts';

/** Says in the table that somebody waits, as long as they do. It is a hint: what fails of it is nobody's. */
export interface WaitQueueEntry {
  /** Says so, or says it again before it is forgotten. Doesn't wait for the table. */
  refresh(now: number): void;
  /** Says that it is over, if anything was said. Never rejects. */
  remove(): Promise<void>;
}

/** @param lastsMs after which a waiter without another word is taken for dead */
export function createWaitQueueEntry(
  store: FleetStore,
  fleet: string,
  waiter: Omit<Waiter, 'expiresAt'>,
  lastsMs: number,
): WaitQueueEntry {
  let expiresAt: number | undefined;
  let said: Promise<void> = Promise.resolve();
  return {
    refresh(now) {
      if (expiresAt !== undefined && now < expiresAt - lastsMs / 2) return;
      expiresAt = now + lastsMs;
      const word = { ...waiter, expiresAt };
      said = said.then(() => store.putWaiter(fleet, word)).catch(() => {});
    },
    async remove() {
      if (expiresAt === undefined) return;
      expiresAt = undefined;
      await said;
      await store.removeWaiter(fleet, waiter.id).catch(() => {});
    },
  };
}
