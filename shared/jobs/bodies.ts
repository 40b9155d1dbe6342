import { LambentError } from '../core/errors.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { BlobName, Blobs } from './blobs.ts';
import type { BodyRef } from './job.ts';
import type { Bodies, BodyName } from './ports.ts';

type Name = Omit<BodyName, 'expiresAt'>;

/** Bodies of jobs, sealed by the vault before anything else sees them. Throws what the vault and the blobs throw. */
export function createBodies(vault: Vault, blobs: Blobs): Bodies {
  const seal = (name: Name, body: unknown) => vault.seal(recordOf(name), Buffer.from(JSON.stringify(body)));
  const open = async (name: Name, sealed: Uint8Array): Promise<unknown> => {
    const text = Buffer.from(await vault.open(recordOf(name), sealed)).toString('utf8');
    return JSON.parse(text);
  };
  const refOf = (name: Name, place: BodyRef['place'], sealed: Uint8Array): BodyRef => ({
    place,
    epoch: name.epoch,
    sizeBytes: sealed.byteLength,
  });

  return {
    async write(name, body) {
      const sealed = await seal(name, body);
      return refOf(name, await blobs.put(blobOf(name), sealed, name.expiresAt), sealed);
    },
    async writeNew(name, body) {
      const sealed = await seal(name, body);
      const { place, isNew } = await blobs.putNew(blobOf(name), sealed, name.expiresAt);
      return { ref: refOf(name, place, sealed), isNew };
    },
    async prepare(name) {
      const sealPrepared = await vault.prepareSeal(recordOf(name));
      let done: { readonly text: string; readonly sealed: Uint8Array } | undefined;
      return async (body) => {
        const text = JSON.stringify(body);
        // A write that failed is repeated with what was sealed for it: the key seals nothing else.
        if (done?.text !== text) done = { text, sealed: sealPrepared(Buffer.from(text)) };
        const { sealed } = done;
        return refOf(name, await blobs.put(blobOf(name), sealed, name.expiresAt), sealed);
      };
    },
    async read(name, { place }) {
      const sealed = await blobs.get(blobOf(name), place);
      if (sealed === undefined) throw new LambentError('record_unreadable', `The ${name.kind} of ${name.id} is gone`);
      return open(name, sealed);
    },
    async find(name, ref) {
      const sealed =
        ref === undefined
          ? ((await blobs.get(blobOf(name), 'table')) ?? (await blobs.get(blobOf(name), 's3')))
          : await blobs.get(blobOf(name), ref.place);
      return sealed === undefined ? undefined : open(name, sealed);
    },
    remove: (name, { place }) => blobs.removeOne(blobOf(name), place),
    sweep: (tenant, id, keepEpoch) => blobs.remove(tenant, id, keepEpoch),
  };
}

function blobOf({ tenant, id, kind, epoch }: Name): BlobName {
  return { tenant, id, part: kind, epoch, sequence: 0 };
}

function recordOf({ tenant, id, kind, epoch }: Name): RecordName {
  return { tenant, kind: `job-${kind}`, id, epoch, field: '' };
}
