import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { KmsFault } from './fault.ts';
import { arnOf, decrypt, encrypt, type Key, type Keyring } from './keyring.ts';

/** Answers one operation: its JSON input in, its JSON output out. */
export type Operation = (input: unknown) => unknown;

const DAY_MS = 86_400_000;

const KeyId = v.pipe(v.string(), v.minLength(1), v.maxLength(2_048));
const EncryptionContext = v.optional(v.record(v.string(), v.string()), {});
const CiphertextBlob = blob(6_144);
const byKey = v.object({ KeyId });
const dataKey = v.object({
  KeyId,
  EncryptionContext,
  KeySpec: v.optional(v.picklist(['AES_256', 'AES_128'])),
  NumberOfBytes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_024))),
});

/**
 * The operations that Lambent uses, under KMS's names.
 * @param now epoch milliseconds
 */
export function operations(keyring: Keyring, now: () => number): Readonly<Record<string, Operation>> {
  return {
    CreateKey: operation(v.object({ Description: v.optional(v.string(), '') }), ({ Description }) => ({
      KeyMetadata: metadata(keyring.create(Description)),
    })),
    DescribeKey: operation(byKey, (input) => ({ KeyMetadata: metadata(keyring.find(input.KeyId)) })),
    EnableKey: operation(byKey, (input) => enable(keyring, input.KeyId, 'Enabled')),
    DisableKey: operation(byKey, (input) => enable(keyring, input.KeyId, 'Disabled')),
    ScheduleKeyDeletion: operation(
      v.object({
        KeyId,
        PendingWindowInDays: v.optional(v.pipe(v.number(), v.integer(), v.minValue(7), v.maxValue(30)), 30),
      }),
      (input) => scheduleDeletion(keyring, input.KeyId, now() + input.PendingWindowInDays * DAY_MS),
    ),
    // Nothing is rotated on a laptop; the deployed key is.
    GetKeyRotationStatus: operation(byKey, (input) => ({
      KeyId: arnOf(keyring.find(input.KeyId)),
      KeyRotationEnabled: false,
    })),
    CreateAlias: operation(v.object({ AliasName: v.string(), TargetKeyId: KeyId }), (input) =>
      createAlias(keyring, input.AliasName, input.TargetKeyId),
    ),
    ListAliases: operation(v.object({ KeyId: v.optional(KeyId) }), (input) => listAliases(keyring, input.KeyId)),
    Encrypt: operation(v.object({ KeyId, Plaintext: blob(4_096), EncryptionContext }), (input) => {
      const key = keyring.usable(input.KeyId);
      const sealed = encrypt(key, input.Plaintext, input.EncryptionContext);
      return { KeyId: arnOf(key), CiphertextBlob: base64(sealed), EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' };
    }),
    Decrypt: operation(v.object({ KeyId: v.optional(KeyId), CiphertextBlob, EncryptionContext }), (input) => {
      const { key, plaintext } = open(keyring, input.CiphertextBlob, input.EncryptionContext, input.KeyId);
      return { KeyId: arnOf(key), Plaintext: base64(plaintext), EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' };
    }),
    ReEncrypt: operation(
      v.object({
        CiphertextBlob,
        SourceKeyId: v.optional(KeyId),
        SourceEncryptionContext: EncryptionContext,
        DestinationKeyId: KeyId,
        DestinationEncryptionContext: EncryptionContext,
      }),
      (input) => {
        const opened = open(keyring, input.CiphertextBlob, input.SourceEncryptionContext, input.SourceKeyId);
        const key = keyring.usable(input.DestinationKeyId);
        const sealed = encrypt(key, opened.plaintext, input.DestinationEncryptionContext);
        return { CiphertextBlob: base64(sealed), SourceKeyId: arnOf(opened.key), KeyId: arnOf(key) };
      },
    ),
    GenerateDataKey: operation(dataKey, (input) => generateDataKey(keyring, input)),
    GenerateDataKeyWithoutPlaintext: operation(dataKey, (input) => {
      const { Plaintext: _, ...withoutPlaintext } = generateDataKey(keyring, input);
      return withoutPlaintext;
    }),
  };
}

/** @throws KmsFault `ValidationException` naming the field */
function operation<Schema extends v.GenericSchema>(
  schema: Schema,
  run: (input: v.InferOutput<Schema>) => unknown,
): Operation {
  return (json) => {
    const result = v.safeParse(schema, json);
    if (result.success) return run(result.output);
    const [issue] = result.issues;
    throw new KmsFault('ValidationException', `Value at '${v.getDotPath(issue) ?? 'input'}': ${issue.message}`);
  };
}

function enable(keyring: Keyring, reference: string, state: 'Enabled' | 'Disabled'): void {
  const key = keyring.find(reference);
  if (key.state === 'PendingDeletion') {
    throw new KmsFault('KMSInvalidStateException', `${arnOf(key)} is pending deletion.`);
  }
  keyring.put({ ...key, state });
}

function scheduleDeletion(keyring: Keyring, reference: string, deletionAt: number): unknown {
  const key = keyring.find(reference);
  if (key.state === 'PendingDeletion') {
    throw new KmsFault('KMSInvalidStateException', `${arnOf(key)} is pending deletion.`);
  }
  keyring.put({ ...key, state: 'PendingDeletion', deletionAt });
  return { KeyId: arnOf(key), DeletionDate: deletionAt / 1000, KeyState: 'PendingDeletion' };
}

function createAlias(keyring: Keyring, name: string, target: string): void {
  if (!/^alias\/(?!aws\/)[\w/-]+$/.test(name)) throw new KmsFault('InvalidAliasNameException', `${name} is no alias`);
  keyring.alias(name, keyring.find(target));
}

function listAliases(keyring: Keyring, reference: string | undefined): unknown {
  const only = reference === undefined ? undefined : keyring.find(reference).id;
  const aliases = keyring.aliases().filter(({ keyId }) => only === undefined || keyId === only);
  return {
    Aliases: aliases.map(({ name, arn, keyId }) => ({ AliasName: name, AliasArn: arn, TargetKeyId: keyId })),
    Truncated: false,
  };
}

function open(keyring: Keyring, sealed: Uint8Array, encryptionContext: Record<string, string>, expected?: string) {
  const wanted = expected === undefined ? undefined : keyring.usable(expected);
  return decrypt(sealed, encryptionContext, (id) => {
    if (wanted && wanted.id !== id) {
      throw new KmsFault(
        'IncorrectKeyException',
        'The key ID in the request does not identify the key of the ciphertext.',
      );
    }
    return keyring.usable(id);
  });
}

function generateDataKey(keyring: Keyring, input: v.InferOutput<typeof dataKey>) {
  if ((input.KeySpec === undefined) === (input.NumberOfBytes === undefined)) {
    throw new KmsFault('ValidationException', 'Please specify either number of bytes or key spec.');
  }
  const key = keyring.usable(input.KeyId);
  const plaintext = randomBytes(input.NumberOfBytes ?? (input.KeySpec === 'AES_128' ? 16 : 32));
  const sealed = encrypt(key, plaintext, input.EncryptionContext);
  return { KeyId: arnOf(key), Plaintext: base64(plaintext), CiphertextBlob: base64(sealed) };
}

function metadata(key: Key): unknown {
  return {
    AWSAccountId: '000000000000',
    KeyId: key.id,
    Arn: arnOf(key),
    CreationDate: key.createdAt / 1000,
    Enabled: key.state === 'Enabled',
    Description: key.description,
    KeyUsage: 'ENCRYPT_DECRYPT',
    KeyState: key.state,
    KeySpec: 'SYMMETRIC_DEFAULT',
    KeyManager: 'CUSTOMER',
    Origin: 'AWS_KMS',
    MultiRegion: false,
    ...(key.deletionAt !== undefined && { DeletionDate: key.deletionAt / 1000 }),
  };
}

/** Base64 text of 1 to `most` bytes. */
function blob(most: number) {
  return v.pipe(
    v.string(),
    v.base64(),
    v.transform((text): Uint8Array => Buffer.from(text, 'base64')),
    v.check((decoded) => decoded.length >= 1 && decoded.length <= most, `must have 1 to ${most} bytes`),
  );
}

function base64(data: Uint8Array): string {
  return Buffer.from(data).toString('base64');
}
