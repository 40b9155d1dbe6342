import type { KeyObject } from 'node:crypto';
import { LambentError } from '../core/errors.ts';
import {
  openRecord,
  prepareRecord,
  type RandomSource,
  readKeyVersion,
  sealRecord,
  startOpening,
  startSealing,
} from './record.ts';
import { openChunks, sealChunks } from './record-stream.ts';
import { MissingKeyError, TenantKeys, type TenantKeysOptions } from './tenant-keys.ts';
import type { RecordName, Vault } from './vault.ts';

export interface VaultOptions extends TenantKeysOptions {
  /** Source of the records' salts. Default: Node's random generator. */
  readonly random?: RandomSource | undefined;
}

/** The vault of one function environment. */
export interface TenantVault extends Vault {
  /**
   * Returns a key that is derived from the tenant's current key for a purpose of its own. It changes when the tenant's key
   * is rotated.
   * @throws as `seal`
   */
  deriveKey(tenant: string, purpose: string): Promise<KeyObject>;
  /** Wipes all cached keys, for instance when the environment shuts down. */
  wipe(): void;
}

/** Creates a vault from the keys table and the KMS operations that its function may use. */
export function createVault({ random, ...options }: VaultOptions): TenantVault {
  const keys = new TenantKeys(options);

  async function open(name: RecordName, sealed: Uint8Array): Promise<Uint8Array> {
    const version = readKeyVersion(sealed);
    return keys.withKeyVersion(name.tenant, version, ({ secret }) => openRecord(sealed, name, secret));
  }

  return {
    seal: (name, plaintext) => keys.withCurrentKey(name.tenant, (key) => sealRecord(plaintext, name, key, random)),

    prepareSeal: (name) => keys.withCurrentKey(name.tenant, (key) => prepareRecord(name, key, random)),

    open,

    async openReceived(name, sealed) {
      try {
        return await open(name, sealed);
      } catch (error) {
        if (!(error instanceof MissingKeyError)) throw error;
        throw new LambentError('record_unreadable', 'The record names a key that its tenant does not have');
      }
    },

    deriveKey: (tenant, purpose) => keys.withCurrentKey(tenant, ({ secret }) => secret.deriveFor(purpose)),

    sealStream(name, plaintext) {
      return sealChunks(() => keys.withCurrentKey(name.tenant, (key) => startSealing(name, key, random)), plaintext);
    },

    openStream(name, sealed) {
      const begin = (header: Uint8Array) =>
        keys.withKeyVersion(name.tenant, readKeyVersion(header), ({ secret }) => startOpening(header, name, secret));
      return openChunks(begin, sealed);
    },

    wipe: () => keys.wipe(),
  };
}
