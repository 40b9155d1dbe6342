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
import { TenantKeys, type TenantKeysOptions } from './tenant-keys.ts';
import type { Vault } from './vault.ts';

export interface VaultOptions extends TenantKeysOptions {
  /** Source of the records' salts. Default: Node's random generator. */
  readonly random?: RandomSource | undefined;
}

/** The vault of one function environment. */
export interface TenantVault extends Vault {
  /** Wipes all cached keys, for instance when the environment shuts down. */
  wipe(): void;
}

/** Creates a vault from the keys table and the KMS operations that its function may use. */
export function createVault({ random, ...options }: VaultOptions): TenantVault {
  const keys = new TenantKeys(options);
  return {
    seal: (name, plaintext) => keys.withCurrentKey(name.tenant, (key) => sealRecord(plaintext, name, key, random)),

    prepareSeal: (name) => keys.withCurrentKey(name.tenant, (key) => prepareRecord(name, key, random)),

    async open(name, sealed) {
      const version = readKeyVersion(sealed);
      return keys.withKeyVersion(name.tenant, version, ({ secret }) => openRecord(sealed, name, secret));
    },

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
