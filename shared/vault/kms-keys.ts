import { DecryptCommand, GenerateDataKeyCommand, type KMSClient, ReEncryptCommand } from '@aws-sdk/client-kms';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { findExternalKey, type WrappedKey } from './key-item.ts';
import { unreadableRecordError } from './record.ts';

/**
 * Decrypts a wrapped tenant key with KMS. Returns 32 bytes, which the caller wipes.
 * @param externalKey the KMS key of the tenant's history, if it isn't the deployment's
 * @throws LambentError `vault_unavailable` if KMS is not available, refuses access or has another key; `record_unreadable` if
 * `wrapped` is damaged or was not made for this tenant or by a KMS key that was deleted since; `external_key_unavailable` if
 * an external key is disabled, deleted, or not allowed to this function
 */
export type UnwrapKey = (tenant: string, key: WrappedKey, externalKey?: string) => Promise<Uint8Array>;

/**
 * Generates a tenant key with KMS: in plain form (32 bytes, which the caller wipes) and wrapped.
 * @param externalKey ARN of the KMS key that wraps it, if it isn't the deployment's
 * @throws LambentError `vault_unavailable`, `external_key_unavailable`
 */
export type GenerateKey = (tenant: string, externalKey?: string) => Promise<GeneratedKey>;

/**
 * Wraps a tenant key by another KMS key, inside KMS: its plain form never leaves it.
 * @param from the external key that wraps it; absent for the deployment's key
 * @param to the external key that is to wrap it; absent for the deployment's key
 * @throws as `UnwrapKey`
 */
export type RewrapKey = (tenant: string, key: WrappedKey, from?: string, to?: string) => Promise<WrappedKey>;

interface GeneratedKey extends Pick<WrappedKey, 'wrapped' | 'kmsKey'> {
  readonly key: Uint8Array;
}

/** A finished call to KMS, the SDK's retries included. */
export interface KmsCall {
  readonly operation: 'Decrypt' | 'GenerateDataKey' | 'ReEncrypt';
  /** `refused` if a customer has withdrawn its own key: the deployment works. */
  readonly outcome: 'ok' | 'throttled' | 'failed' | 'refused';
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
  return async (tenant, key, externalKey) => {
    const external = findExternalKey(key, externalKey);
    const command = new DecryptCommand({
      KeyId: external ?? keyId,
      CiphertextBlob: key.wrapped,
      EncryptionContext: toEncryptionContext(tenant),
    });
    try {
      const { Plaintext } = await observeCall('Decrypt', onCall, external, () => client.send(command));
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
  return async (tenant, externalKey) => {
    const command = new GenerateDataKeyCommand({
      KeyId: externalKey ?? keyId,
      KeySpec: 'AES_256',
      EncryptionContext: toEncryptionContext(tenant),
    });
    const { Plaintext, CiphertextBlob, KeyId } = await observeCall('GenerateDataKey', onCall, externalKey, () =>
      client.send(command),
    );
    return {
      key: requireBytes(Plaintext),
      wrapped: requireBytes(CiphertextBlob),
      ...omitUndefined({ kmsKey: externalKey ?? KeyId }),
    };
  };
}

/** Creates the function that changes the KMS key of a tenant's keys. It needs `kms:ReEncryptFrom` and `kms:ReEncryptTo`. */
export function createKeyRewrapper(client: KMSClient, keyId: string): RewrapKey {
  return async (tenant, key, from, to) => {
    const context = toEncryptionContext(tenant);
    const command = new ReEncryptCommand({
      CiphertextBlob: key.wrapped,
      SourceKeyId: from ?? keyId,
      SourceEncryptionContext: context,
      DestinationKeyId: to ?? keyId,
      DestinationEncryptionContext: context,
    });
    const { CiphertextBlob, KeyId } = await observeCall(
      'ReEncrypt',
      () => {},
      from ?? to,
      () => client.send(command),
    );
    const { createdAt } = key;
    return { wrapped: requireBytes(CiphertextBlob), createdAt, ...omitUndefined({ kmsKey: to ?? KeyId }) };
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
  externalKey: string | undefined,
  send: () => Promise<Output>,
): Promise<Output> {
  try {
    const output = await send();
    onCall({ operation, outcome: 'ok' });
    return output;
  } catch (cause) {
    const name = cause instanceof Error ? cause.name : 'unknown failure';
    if (externalKey !== undefined && REFUSALS.has(name)) {
      onCall({ operation, outcome: 'refused' });
      throw externalKeyError(name, cause);
    }
    onCall({ operation, outcome: /throttl|limitexceeded/i.test(name) ? 'throttled' : 'failed' });
    throw kmsError(name, cause);
  }
}

/** What KMS answers about a key that its owner disabled, is deleting or deleted, made for signatures, or doesn't allow to be used. */
const REFUSALS: ReadonlySet<string> = new Set([
  'AccessDeniedException',
  'DisabledException',
  'InvalidKeyUsageException',
  'KMSInvalidStateException',
  'NotFoundException',
]);

function externalKeyError(name: string, cause: unknown): LambentError {
  const message = `The external key of this project can't be used (KMS: ${name}). Its owner must enable and allow it.`;
  return new LambentError('external_key_unavailable', message, { cause });
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
