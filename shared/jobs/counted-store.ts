import type { GiveBackStorage, JobStore } from './ports.ts';

/** Returns the store of jobs, whose `delete` also gives back what the limits of the job's project count for it. */
export function withStorageCounts(store: JobStore, giveBack: GiveBackStorage): JobStore {
  return {
    ...store,
    async delete(tenant, id) {
      const deleted = await store.delete(tenant, id);
      if (deleted?.storedBytes !== undefined) {
        const { storedBytes, turnBytes = 0, turnItems = 0, expiresAt } = deleted;
        await giveBack(tenant, { bytes: storedBytes + turnBytes, items: 1 + turnItems }, expiresAt);
      }
      return deleted;
    },
  };
}
