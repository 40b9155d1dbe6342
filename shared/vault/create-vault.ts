import { keyVersionOf, openRecord, type Random, sealRecord, startOpening, startSealing } from './record.ts';
import { openPieces, sealPieces } from './record-stream.ts';
import { TenantKeys, type TenantKeysOptions } from './tenant-keys.ts';
import type { Vault } from './vault.ts';

export interface VaultOptions extends TenantKeysOptions {
  /** Where the salts of records come from; Node's generator when absent. */
  readonly random?: Random | undefined;
}

/** The vault of one function environment. */
export interface TenantVault extends Vault {
  /** Wipes the keys that are held, as when the environment shuts down. */
  wipe(): void;
}

/** Puts a vault together from the keys table and the KMS operations that its function may use. */
export function createVault({ random, ...options }: VaultOptions): TenantVault {
  const keys = new TenantKeys(options);
  return {
    seal: (name, plaintext) => keys.withCurrent(name.tenant, (key) => sealRecord(plaintext, name, key, random)),

    async open(name, sealed) {
      const version = keyVersionOf(sealed);
      return keys.withVersion(name.tenant, version, ({ secret }) => openRecord(sealed, name, secret));
    },

    sealStream(name, plaintext) {
      return sealPieces(() => keys.withCurrent(name.tenant, (key) => startSealing(name, key, random)), plaintext);
    },

    openStream(name, sealed) {
      const begin = (header: Uint8Array) =>
        keys.withVersion(name.tenant, keyVersionOf(header), ({ secret }) => startOpening(header, name, secret));
      return openPieces(begin, sealed);
    },

    wipe: () => keys.wipe(),
  };
}
