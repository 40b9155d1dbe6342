import * as v from 'valibot';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { BlobName, Blobs } from './blobs.ts';
import type { EventChunk, EventLog } from './ports.ts';

const events = v.array(v.looseObject({ type: v.string(), sequence_number: v.number() }));

/** The events of streamed jobs, each chunk one sealed record. Throws what the vault and the blobs throw. */
export function createEventLog(vault: Vault, blobs: Blobs): EventLog {
  return {
    async append(chunk) {
      const plaintext = Buffer.from(JSON.stringify(chunk.events));
      const sealed = await vault.seal(recordOf(chunk.tenant, chunk.id, chunk.epoch, chunk.firstSequence), plaintext);
      await blobs.put(blobOf(chunk), sealed, chunk.expiresAt);
    },
    async read(tenant, id, startingAfter, atBoundary = false) {
      const wanted = startingAfter + 1;
      const from = atBoundary ? wanted : ((await blobs.chunkBefore(tenant, id, wanted)) ?? wanted);
      const found = await blobs.events(tenant, id, from);
      const chunks = await Promise.all(
        found.map(async ({ name, bytes }): Promise<EventChunk> => {
          const opened = await vault.open(recordOf(tenant, id, name.epoch, name.sequence), bytes);
          return {
            tenant,
            id,
            epoch: name.epoch,
            firstSequence: name.sequence,
            events: v.parse(events, JSON.parse(Buffer.from(opened).toString('utf8'))),
            expiresAt: 0,
          };
        }),
      );
      return chunks.filter((chunk) => (chunk.events.at(-1)?.sequence_number ?? -1) >= wanted);
    },
  };
}

function blobOf({ tenant, id, epoch, firstSequence }: EventChunk): BlobName {
  return { tenant, id, part: 'event', epoch, sequence: firstSequence };
}

function recordOf(tenant: string, id: string, epoch: number, firstSequence: number): RecordName {
  return { tenant, kind: 'job-event', id, epoch, field: String(firstSequence) };
}
