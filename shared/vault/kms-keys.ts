import { DecryptCommand, GenerateDataKeyCommand, type KMSClient } from '@aws-sdk/client-kms';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import type { WrappedKey } from './key-item.ts';
import { unreadableRecordError } from './record.ts';

/**
 * Decrypts a wrapped tenant key with KMS. Returns 32 bytes, which the caller wipes.
 * @throws LambentError `vault_unavailable` if KMS is not available, refuses access or has another key; `record_unreadable` if
 * `wrapped` is damaged or was not made for this tenant or by a KMS key that was deleted since
 */
export type UnwrapKey = (tenant: string, key: WrappedKey) => Promise<Uint8Array>;

/**
 * Generates a tenant key with KMS: in plain form (32 bytes, which the caller wipes) and wrapped.
 * @throws LambentError `vault_unavailable`
 */
export type GenerateKey = (tenant: string) => Promise<GeneratedKey>;
interface GeneratedKey extends Pick<WrappedKey, 'wrapped' | 'kmsKey'> {
  readonly key: Uint8Array;
}

/** A finished call to KMS, the SDK's retries included. */
export interface KmsCall {
  readonly operation: 'Decrypt' | 'GenerateDataKey';
  readonly outcome: 'ok' | 'throttled' | 'failed';
}

/** Called after every call to KMS, for metrics. */
export type OnKmsCall = (call: KmsCall) => void;

/** Creates the function that unwraps keys. It needs `kms:Decrypt`, as does every function with a vault. */
export function createKeyUnwrapper(
  client: KMSClient,
  keyId: string,
  onCall: OnKmsCall = () => {},
  now: () => number = Date.now,
): UnwrapKey {
  return async (tenant, key) => {
    const command = new DecryptCommand({
      KeyId: keyId,
      CiphertextBlob: key.wrapped,
      EncryptionContext: toEncryptionContext(tenant),
    });
    try {
      const { Plaintext } = await observeCall('Decrypt', onCall, () => client.send(command));
      return requireBytes(Plaintext);
    } catch (thrown) {
      const isOld = now() - key.createdAt > KEY_VISIBLE_MS;
      const isSame = getKeyName(keyId) !== undefined && getKeyName(keyId) === getKeyName(key.kmsKey);
      if (isOld && isSame && isNotFound(thrown)) {
        throw unreadableRecordError("the KMS key that wrapped the tenant's key was deleted", thrown);
      }
      throw thrown;
    }
  };
}

/** Creates the function that generates keys. It needs `kms:GenerateDataKey`: functions that accept work have it. */
export function createKeyGenerator(client: KMSClient, keyId: string, onCall: OnKmsCall = () => {}): GenerateKey {
  return async (tenant) => {
    const command = new GenerateDataKeyCommand({
      KeyId: keyId,
      KeySpec: 'AES_256',
      EncryptionContext: toEncryptionContext(tenant),
    });
    const { Plaintext, CiphertextBlob, KeyId } = await observeCall('GenerateDataKey', onCall, () =>
      client.send(command),
    );
    return {
      key: requireBytes(Plaintext),
      wrapped: requireBytes(CiphertextBlob),
      ...omitUndefined({ kmsKey: KeyId }),
    };
  };
}

/** KMS's endpoints may not know a new key for some minutes (eventual consistency). */
const KEY_VISIBLE_MS = 3_600_000;

/**
 * True if KMS has no such key: a wrong name, or one that was deleted after its waiting period. Only a key that has wrapped a
 * tenant's key is known to have existed.
 */
function isNotFound(thrown: unknown): boolean {
  return thrown instanceof LambentError && thrown.cause instanceof Error && thrown.cause.name === 'NotFoundException';
}

/** Returns the name of a KMS key from its id or its ARN. An alias names no certain key. */
function getKeyName(reference: string | undefined): string | undefined {
  if (reference === undefined || reference.includes('alias/')) return undefined;
  return reference.slice(reference.lastIndexOf('/') + 1);
}

/**
 * Returns the encryption context of a tenant's keys. KMS unwraps a key only with the context with which it was wrapped.
 * CloudTrail shows the context, so it contains no content.
 */
function toEncryptionContext(tenant: string): Record<string, string> {
  return { tenant, purpose: 'sealed-records' };
}

function requireBytes(bytes: Uint8Array | undefined): Uint8Array {
  if (bytes === undefined) throw new LambentError('vault_unavailable', "KMS's response contains no key");
  return bytes;
}

async function observeCall<Output>(
  operation: KmsCall['operation'],
  onCall: OnKmsCall,
  send: () => Promise<Output>,
): Promise<Output> {
  try {
    const output = await send();
    onCall({ operation, outcome: 'ok' });
    return output;
  } catch (cause) {
    const name = cause instanceof Error ? cause.name : 'unknown failure';
    onCall({ operation, outcome: /throttl|limitexceeded/i.test(name) ? 'throttled' : 'failed' });
    throw kmsError(name, cause);
  }
}

/**
 * Maps a KMS failure to an error. Everything that an operator can repair while jobs wait is transient: throttling, an outage,
 * a policy or a grant, a disabled key, a key whose deletion can still be cancelled (`KMSInvalidStateException`), and a wrong key
 * (`IncorrectKeyException`, `NotFoundException`). A wrapped key that is damaged or belongs to another tenant stays so.
 * https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors
 */
function kmsError(name: string, cause: unknown): LambentError {
  if (name === 'InvalidCiphertextException') {
    return unreadableRecordError("the tenant's wrapped key is damaged or belongs to another tenant", cause);
  }
  return new LambentError('vault_unavailable', `KMS is not available (${name})`, { cause });
}
