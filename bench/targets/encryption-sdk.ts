import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { resolvePeerFile } from './peers.ts';

/** The version that the peers' lockfile pins. */
export const ENCRYPTION_SDK_VERSION = '5.0.2';

/** The part of `@aws-crypto/client-node` that is used here. The package is not installed when types are checked. */
interface EncryptionSdk {
  readonly AlgorithmSuiteIdentifier: Readonly<Record<string, number>>;
  readonly CommitmentPolicy: Readonly<Record<string, string>>;
  readonly RawAesWrappingSuiteIdentifier: Readonly<Record<string, number>>;
  readonly RawAesKeyringNode: new (input: object) => object;
  readonly NodeCachingMaterialsManager: new (input: object) => object;
  readonly getLocalCryptographicMaterialsCache: (capacity: number) => object;
  buildClient(policy: string | undefined): {
    encrypt(manager: object, plaintext: Uint8Array, options: object): Promise<{ result: Uint8Array }>;
    decrypt(manager: object, message: Uint8Array): Promise<{ plaintext: Uint8Array }>;
  };
}

/** Seals and opens a record with the AWS Encryption SDK and its cache of data keys. */
export type SealAndOpen = (plaintext: Uint8Array) => Promise<Uint8Array>;

/**
 * Loads the AWS Encryption SDK with its fastest suitable settings: a raw AES key in the process wraps the data keys,
 * the materials manager caches them, the suite has key commitment but no signature per message, and frames are 64 KB.
 * @throws Error if the SDK can't be installed
 */
export async function loadEncryptionSdk(): Promise<SealAndOpen> {
  const entry = await resolvePeerFile('@aws-crypto/client-node/build/main/src/index.js');
  const sdk = createRequire(entry)(entry) as EncryptionSdk;
  const client = sdk.buildClient(sdk.CommitmentPolicy['REQUIRE_ENCRYPT_REQUIRE_DECRYPT']);
  const keyring = new sdk.RawAesKeyringNode({
    keyName: 'bench',
    keyNamespace: 'lambent',
    unencryptedMasterKey: randomBytes(32),
    wrappingSuite: sdk.RawAesWrappingSuiteIdentifier['AES256_GCM_IV12_TAG16_NO_PADDING'],
  });
  const manager = new sdk.NodeCachingMaterialsManager({
    backingMaterials: keyring,
    cache: sdk.getLocalCryptographicMaterialsCache(100),
    maxAge: 300_000,
    partition: 'bench',
    maxMessagesEncrypted: 2 ** 32 - 1,
  });
  const options = {
    suiteId: sdk.AlgorithmSuiteIdentifier['ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY'],
    // The same for all records, because the cache has an entry per context.
    encryptionContext: { tenant: 'acme', purpose: 'sealed-records' },
    frameLength: 65_536,
  };
  return async (plaintext) => {
    const { result } = await client.encrypt(manager, plaintext, options);
    return (await client.decrypt(manager, result)).plaintext;
  };
}
