import { DecryptCommand, GenerateDataKeyCommand, type KMSClient } from '@aws-sdk/client-kms';
import { LambentError } from '../core/errors.ts';
import { unreadableRecordError } from './record.ts';

/**
 * Decrypts a wrapped tenant key with KMS. Returns 32 bytes, which the caller wipes.
 * @throws LambentError `vault_unavailable` if KMS is not available or refuses access; `record_unreadable` if `wrapped`
 * was not made by this KMS key for this tenant
 */
export type UnwrapKey = (tenant: string, wrapped: Uint8Array) => Promise<Uint8Array>;

/**
 * Generates a tenant key with KMS: in plain form (32 bytes, which the caller wipes) and wrapped.
 * @throws LambentError `vault_unavailable`
 */
export type GenerateKey = (tenant: string) => Promise<{ readonly key: Uint8Array; readonly wrapped: Uint8Array }>;

/** A finished call to KMS, the SDK's retries included. */
export interface KmsCall {
  readonly operation: 'Decrypt' | 'GenerateDataKey';
  readonly outcome: 'ok' | 'throttled' | 'failed';
}

/** Called after every call to KMS, for metrics. */
export type OnKmsCall = (call: KmsCall) => void;

/** Creates the function that unwraps keys. It needs `kms:Decrypt`, as does every function with a vault. */
export function createKeyUnwrapper(client: KMSClient, keyId: string, onCall: OnKmsCall = () => {}): UnwrapKey {
  return async (tenant, wrapped) => {
    const command = new DecryptCommand({
      KeyId: keyId,
      CiphertextBlob: wrapped,
      EncryptionContext: toEncryptionContext(tenant),
    });
    const { Plaintext } = await observeCall('Decrypt', onCall, () => client.send(command));
    return requireBytes(Plaintext);
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
    const { Plaintext, CiphertextBlob } = await observeCall('GenerateDataKey', onCall, () => client.send(command));
    return { key: requireBytes(Plaintext), wrapped: requireBytes(CiphertextBlob) };
  };
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
 * Maps a KMS failure to an error. The failure is permanent only if the wrapped key is damaged or belongs to another KMS
 * key or tenant. Every other failure is transient or can be repaired while jobs wait (a policy that has not propagated,
 * a disabled key), so it must not fail accepted work.
 */
function kmsError(name: string, cause: unknown): LambentError {
  if (name === 'InvalidCiphertextException' || name === 'IncorrectKeyException') {
    return unreadableRecordError("the tenant's wrapped key is damaged or belongs to another tenant", cause);
  }
  return new LambentError('vault_unavailable', `KMS is not available (${name})`, { cause });
}
