import type { BlobName, Blobs } from '../../../shared/jobs/blobs.ts';

/** Blobs in memory, for tests of what lies on top of them. */
export function createMemoryBlobs(): Blobs & { readonly held: ReadonlyMap<string, Uint8Array> } {
  const held = new Map<string, Uint8Array>();
  const keyOf = ({ tenant, id, part, epoch, sequence }: BlobName) =>
    [tenant, id, part, String(sequence).padStart(12, '0'), epoch].join('#');
  const placeOf = ({ part }: BlobName) => (part === 'result' || part === 'compaction' ? 's3' : 'table');
  const eventsOf = (tenant: string, id: string) =>
    [...held]
      .filter(([key]) => key.startsWith(`${tenant}#${id}#event#`))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, bytes]) => {
        const [, , , sequence, epoch] = key.split('#');
        const name: BlobName = { tenant, id, part: 'event', epoch: Number(epoch), sequence: Number(sequence) };
        return { name, bytes };
      });
  return {
    held,
    async put(name, bytes) {
      held.set(keyOf(name), bytes);
      return placeOf(name);
    },
    async putNew(name, bytes) {
      const isNew = !held.has(keyOf(name));
      if (isNew) held.set(keyOf(name), bytes);
      return { place: 'table', isNew };
    },
    async get(name, place) {
      return place === placeOf(name) ? held.get(keyOf(name)) : undefined;
    },
    async events(tenant, id, from) {
      return eventsOf(tenant, id).filter(({ name }) => name.sequence >= from);
    },
    async chunkBefore(tenant, id, sequence) {
      return eventsOf(tenant, id).findLast(({ name }) => name.sequence <= sequence)?.name.sequence;
    },
    async removeOne(name) {
      held.delete(keyOf(name));
    },
    async remove(tenant, id, keepEpoch) {
      for (const key of held.keys()) {
        const [owner, job, part, , epoch] = key.split('#');
        if (owner !== tenant || job !== id) continue;
        const isOfOtherAttempt =
          part === 'result' || part === 'compaction' || (part === 'output' && Number(epoch) !== keepEpoch);
        if (keepEpoch === undefined || isOfOtherAttempt) held.delete(key);
      }
    },
  };
}
