import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { decrypt, encrypt } from './ciphertext.ts';
import { KmsException } from './exception.ts';
import { buildKeyArn, getUsage, type Key, type Keyring } from './keyring.ts';
import { blob, defineOperation, encodeBase64, KeyId, type Operation } from './operation.ts';
import { createSigning } from './signing.ts';

const DAY_MS = 86_400_000;

const EncryptionContext = v.optional(v.record(v.string(), v.string()), {});
const CiphertextBlob = blob(6_144);
const byKey = v.object({ KeyId });
const newKey = v.object({
  Description: v.optional(v.string(), ''),
  KeySpec: v.optional(v.picklist(['SYMMETRIC_DEFAULT', 'ECC_NIST_P256']), 'SYMMETRIC_DEFAULT'),
  KeyUsage: v.optional(v.picklist(['ENCRYPT_DECRYPT', 'SIGN_VERIFY']), 'ENCRYPT_DECRYPT'),
});
const dataKey = v.object({
  KeyId,
  EncryptionContext,
  KeySpec: v.optional(v.picklist(['AES_256', 'AES_128'])),
  NumberOfBytes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_024))),
});

/**
 * Returns the operations of KMS that Lambent uses, by their names in KMS.
 * @param now returns epoch milliseconds
 */
export function createOperations(keyring: Keyring, now: () => number): Readonly<Record<string, Operation>> {
  return {
    CreateKey: defineOperation(newKey, ({ Description, KeySpec, KeyUsage }) => {
      if ((KeySpec === 'SYMMETRIC_DEFAULT') !== (KeyUsage === 'ENCRYPT_DECRYPT')) {
        throw new KmsException('ValidationException', `KeyUsage ${KeyUsage} is not compatible with KeySpec ${KeySpec}`);
      }
      return { KeyMetadata: describeKey(keyring.create(Description, KeySpec)) };
    }),
    DescribeKey: defineOperation(byKey, (input) => ({ KeyMetadata: describeKey(keyring.find(input.KeyId)) })),
    EnableKey: defineOperation(byKey, (input) => setState(keyring, input.KeyId, 'Enabled')),
    DisableKey: defineOperation(byKey, (input) => setState(keyring, input.KeyId, 'Disabled')),
    ScheduleKeyDeletion: defineOperation(
      v.object({
        KeyId,
        PendingWindowInDays: v.optional(v.pipe(v.number(), v.integer(), v.minValue(7), v.maxValue(30)), 30),
      }),
      (input) => scheduleDeletion(keyring, input.KeyId, now() + input.PendingWindowInDays * DAY_MS),
    ),
    // Keys on a laptop are not rotated, unlike the deployed key.
    GetKeyRotationStatus: defineOperation(byKey, (input) => {
      const key = keyring.find(input.KeyId);
      // AWS rotates no asymmetric key.
      if (key.spec !== 'SYMMETRIC_DEFAULT') throw new KmsException('UnsupportedOperationException', buildKeyArn(key));
      return { KeyId: buildKeyArn(key), KeyRotationEnabled: false };
    }),
    CreateAlias: defineOperation(v.object({ AliasName: v.string(), TargetKeyId: KeyId }), (input) =>
      createAlias(keyring, input.AliasName, input.TargetKeyId),
    ),
    ListAliases: defineOperation(v.object({ KeyId: v.optional(KeyId) }), (input) => listAliases(keyring, input.KeyId)),
    Encrypt: defineOperation(v.object({ KeyId, Plaintext: blob(4_096), EncryptionContext }), (input) => {
      const key = keyring.findUsable(input.KeyId);
      const ciphertext = encrypt(key, input.Plaintext, input.EncryptionContext);
      return {
        KeyId: buildKeyArn(key),
        CiphertextBlob: encodeBase64(ciphertext),
        EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      };
    }),
    Decrypt: defineOperation(v.object({ KeyId: v.optional(KeyId), CiphertextBlob, EncryptionContext }), (input) => {
      const { key, plaintext } = decryptUnder(keyring, input.CiphertextBlob, input.EncryptionContext, input.KeyId);
      return { KeyId: buildKeyArn(key), Plaintext: encodeBase64(plaintext), EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' };
    }),
    ReEncrypt: defineOperation(
      v.object({
        CiphertextBlob,
        SourceKeyId: v.optional(KeyId),
        SourceEncryptionContext: EncryptionContext,
        DestinationKeyId: KeyId,
        DestinationEncryptionContext: EncryptionContext,
      }),
      (input) => {
        const source = decryptUnder(keyring, input.CiphertextBlob, input.SourceEncryptionContext, input.SourceKeyId);
        const key = keyring.findUsable(input.DestinationKeyId);
        const ciphertext = encrypt(key, source.plaintext, input.DestinationEncryptionContext);
        return {
          CiphertextBlob: encodeBase64(ciphertext),
          SourceKeyId: buildKeyArn(source.key),
          KeyId: buildKeyArn(key),
        };
      },
    ),
    ...createSigning(keyring),
    GenerateDataKey: defineOperation(dataKey, (input) => generateDataKey(keyring, input)),
    GenerateDataKeyWithoutPlaintext: defineOperation(dataKey, (input) => {
      const { Plaintext: _, ...withoutPlaintext } = generateDataKey(keyring, input);
      return withoutPlaintext;
    }),
  };
}

function setState(keyring: Keyring, reference: string, state: 'Enabled' | 'Disabled'): void {
  const key = keyring.find(reference);
  if (key.state === 'PendingDeletion') {
    throw new KmsException('KMSInvalidStateException', `${buildKeyArn(key)} is pending deletion.`);
  }
  keyring.put({ ...key, state });
}

function scheduleDeletion(keyring: Keyring, reference: string, deletionAt: number): unknown {
  const key = keyring.find(reference);
  if (key.state === 'PendingDeletion') {
    throw new KmsException('KMSInvalidStateException', `${buildKeyArn(key)} is pending deletion.`);
  }
  keyring.put({ ...key, state: 'PendingDeletion', deletionAt });
  return { KeyId: buildKeyArn(key), DeletionDate: deletionAt / 1000, KeyState: 'PendingDeletion' };
}

function createAlias(keyring: Keyring, name: string, target: string): void {
  if (!/^alias\/(?!aws\/)[\w/-]+$/.test(name))
    throw new KmsException('InvalidAliasNameException', `${name} is not a valid alias name`);
  keyring.addAlias(name, keyring.find(target));
}

function listAliases(keyring: Keyring, reference: string | undefined): unknown {
  const only = reference === undefined ? undefined : keyring.find(reference).id;
  const aliases = keyring.listAliases().filter(({ keyId }) => only === undefined || keyId === only);
  return {
    Aliases: aliases.map(({ name, arn, keyId }) => ({ AliasName: name, AliasArn: arn, TargetKeyId: keyId })),
    Truncated: false,
  };
}

/** Decrypts a ciphertext. If `reference` is given, the ciphertext must be encrypted under that key. */
function decryptUnder(
  keyring: Keyring,
  ciphertext: Uint8Array,
  encryptionContext: Record<string, string>,
  reference?: string,
) {
  const expected = reference === undefined ? undefined : keyring.findUsable(reference);
  return decrypt(ciphertext, encryptionContext, (id) => {
    if (expected && expected.id !== id) {
      throw new KmsException(
        'IncorrectKeyException',
        'The key ID in the request does not identify the key of the ciphertext.',
      );
    }
    return keyring.findUsable(id);
  });
}

function generateDataKey(keyring: Keyring, input: v.InferOutput<typeof dataKey>) {
  if ((input.KeySpec === undefined) === (input.NumberOfBytes === undefined)) {
    throw new KmsException('ValidationException', 'Please specify either number of bytes or key spec.');
  }
  const key = keyring.findUsable(input.KeyId);
  const plaintext = randomBytes(input.NumberOfBytes ?? (input.KeySpec === 'AES_128' ? 16 : 32));
  const ciphertext = encrypt(key, plaintext, input.EncryptionContext);
  return { KeyId: buildKeyArn(key), Plaintext: encodeBase64(plaintext), CiphertextBlob: encodeBase64(ciphertext) };
}

function describeKey(key: Key): unknown {
  return {
    AWSAccountId: '000000000000',
    KeyId: key.id,
    Arn: buildKeyArn(key),
    CreationDate: key.createdAt / 1000,
    Enabled: key.state === 'Enabled',
    Description: key.description,
    KeyUsage: getUsage(key),
    KeyState: key.state,
    KeySpec: key.spec,
    KeyManager: 'CUSTOMER',
    Origin: 'AWS_KMS',
    MultiRegion: false,
    ...(key.deletionAt !== undefined && { DeletionDate: key.deletionAt / 1000 }),
  };
}
