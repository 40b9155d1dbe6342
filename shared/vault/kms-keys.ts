import { DecryptCommand, GenerateDataKeyCommand, type KMSClient } from '@aws-sdk/client-kms';
import { LambentError } from '../core/errors.ts';
import { unreadableRecordError } from './record.ts';

/**
 * The plain form, 32 bytes, of a tenant key; the caller wipes it.
 * @throws LambentError `vault_unavailable` when KMS can't be asked or refuses now; `record_unreadable` when the wrapped
 * form is not one that this KMS key made for this tenant
 */
export type UnwrapKey = (tenant: string, wrapped: Uint8Array) => Promise<Uint8Array>;

/**
 * A new tenant key, plain (32 bytes, wiped by the caller) and wrapped.
 * @throws LambentError `vault_unavailable`
 */
export type GenerateKey = (tenant: string) => Promise<{ readonly key: Uint8Array; readonly wrapped: Uint8Array }>;

/** A call to KMS that has ended, the SDK's own retries included. */
export interface KmsCall {
  readonly operation: 'Decrypt' | 'GenerateDataKey';
  readonly outcome: 'ok' | 'throttled' | 'failed';
}

/** Told of every call, for metrics. */
export type OnKmsCall = (call: KmsCall) => void;

/** What every vault user needs: `kms:Decrypt` on the key. */
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

/** What only those need who may create tenant keys: `kms:GenerateDataKey` on the key. */
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

/** KMS opens a wrapped key only under the context it was made with, and logs it in clear: ids, no content. */
function toEncryptionContext(tenant: string): Record<string, string> {
  return { tenant, purpose: 'sealed-records' };
}

function requireBytes(bytes: Uint8Array | undefined): Uint8Array {
  if (bytes === undefined) throw new LambentError('vault_unavailable', 'KMS answered without a key');
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
 * Only a wrapped key that doesn't belong here is beyond help. Everything else passes or can be mended while the work
 * waits: a policy that has not spread yet, a key that somebody disabled. Failing accepted work for it would lose it.
 */
function kmsError(name: string, cause: unknown): LambentError {
  if (name === 'InvalidCiphertextException' || name === 'IncorrectKeyException') {
    return unreadableRecordError("its tenant's wrapped key is damaged or not this tenant's", cause);
  }
  return new LambentError('vault_unavailable', `KMS could not be asked (${name})`, { cause });
}
