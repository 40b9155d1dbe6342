import { createPublicKey, verify } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateAliasCommand,
  CreateKeyCommand,
  DecryptCommand,
  DescribeKeyCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GenerateDataKeyWithoutPlaintextCommand,
  GetKeyRotationStatusCommand,
  GetPublicKeyCommand,
  KMSClient,
  ListAliasesCommand,
  ReEncryptCommand,
  ScheduleKeyDeletionCommand,
  SignCommand,
  VerifyCommand,
} from '@aws-sdk/client-kms';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type KmsStandIn, startKms } from '../../local/kms/server.ts';

const TENANT = { tenant: 'acme', purpose: 'content' };

let folder: string;
let stateFile: string;
let server: KmsStandIn;
let kms: KMSClient;
let nowMs = Date.parse('2026-11-01T00:00:00Z');

async function start(): Promise<void> {
  server = await startKms({ stateFile, now: () => nowMs });
  kms = new KMSClient({
    endpoint: server.url,
    region: 'eu-west-1',
    maxAttempts: 1,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
}

async function stop(): Promise<void> {
  kms.destroy();
  await server.close();
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-kms-'));
  stateFile = join(folder, 'state', 'kms.json');
  await start();
});

afterEach(async () => {
  await stop();
  await rm(folder, { recursive: true });
});

async function createKey(): Promise<string> {
  const { KeyMetadata } = await kms.send(new CreateKeyCommand({ Description: 'for tests' }));
  return KeyMetadata?.KeyId ?? '';
}

const toBytes = (text: string): Uint8Array => Buffer.from(text, 'utf8');

/** Returns the name of the exception with which `work` rejects, or `none`. */
async function getException(work: Promise<unknown>): Promise<string> {
  const thrown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return thrown instanceof Error ? thrown.name : 'none';
}

describe('a ciphertext', () => {
  it('a ciphertext decrypts to its plaintext, whatever the plaintext and encryption context', async () => {
    const KeyId = await createKey();
    const context = fc.dictionary(fc.string({ unit: 'grapheme', minLength: 1 }), fc.string({ unit: 'grapheme' }), {
      maxKeys: 4,
      noNullPrototype: true,
    });
    const content = fc.uint8Array({ minLength: 1, maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(content, context, async (Plaintext, EncryptionContext) => {
        const sealed = await kms.send(new EncryptCommand({ KeyId, Plaintext, EncryptionContext }));
        const opened = await kms.send(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext }));
        expect(Buffer.from(opened.Plaintext ?? [])).toEqual(Buffer.from(Plaintext));
        expect(opened.KeyId).toBe(sealed.KeyId);
      }),
      { numRuns: 30 },
    );
  });

  it('a ciphertext decrypts with its encryption context in another order', async () => {
    const KeyId = await createKey();
    const { CiphertextBlob } = await kms.send(
      new EncryptCommand({ KeyId, Plaintext: toBytes('x'), EncryptionContext: { a: '1', b: '2' } }),
    );
    const opened = await kms.send(new DecryptCommand({ CiphertextBlob, EncryptionContext: { b: '2', a: '1' } }));
    expect(opened.Plaintext).toEqual(Uint8Array.from(toBytes('x')));
  });

  it.each([
    ['none', undefined],
    ['less', { tenant: 'acme' }],
    ['more', { ...TENANT, extra: '1' }],
    ["another tenant's", { ...TENANT, tenant: 'evil' }],
    ['the same letters, shifted', { tenan: 'tacme', purpose: 'content' }],
  ])('a ciphertext does not decrypt with another encryption context: %s', async (_case, EncryptionContext) => {
    const KeyId = await createKey();
    const { CiphertextBlob } = await kms.send(
      new EncryptCommand({ KeyId, Plaintext: toBytes('secret'), EncryptionContext: TENANT }),
    );
    const work = kms.send(new DecryptCommand({ CiphertextBlob, EncryptionContext }));
    expect(await getException(work)).toBe('InvalidCiphertextException');
  });

  it('a ciphertext does not decrypt if a bit of it has changed', async () => {
    const KeyId = await createKey();
    const { CiphertextBlob = new Uint8Array() } = await kms.send(
      new EncryptCommand({ KeyId, Plaintext: toBytes('secret') }),
    );
    for (let at = 0; at < CiphertextBlob.length; at += 3) {
      const changed = Uint8Array.from(CiphertextBlob);
      changed[at] = (changed[at] ?? 0) ^ 1;
      const name = await getException(kms.send(new DecryptCommand({ CiphertextBlob: changed })));
      // A ciphertext contains its key's id, and a changed id names a key that doesn't exist.
      expect(['InvalidCiphertextException', 'NotFoundException']).toContain(name);
    }
    const short = kms.send(new DecryptCommand({ CiphertextBlob: toBytes('short') }));
    expect(await getException(short)).toBe('InvalidCiphertextException');
  });

  it('a ciphertext does not decrypt if the caller names another key', async () => {
    const [KeyId, other] = [await createKey(), await createKey()];
    const { CiphertextBlob } = await kms.send(new EncryptCommand({ KeyId, Plaintext: toBytes('x') }));
    expect(await getException(kms.send(new DecryptCommand({ CiphertextBlob, KeyId: other })))).toBe(
      'IncorrectKeyException',
    );
    await kms.send(new DecryptCommand({ CiphertextBlob, KeyId }));
  });

  it('a ciphertext can be re-encrypted under another key and context', async () => {
    const [KeyId, DestinationKeyId] = [await createKey(), await createKey()];
    const { CiphertextBlob } = await kms.send(
      new EncryptCommand({ KeyId, Plaintext: toBytes('x'), EncryptionContext: TENANT }),
    );
    const moved = await kms.send(
      new ReEncryptCommand({
        CiphertextBlob,
        SourceEncryptionContext: TENANT,
        DestinationKeyId,
        DestinationEncryptionContext: { a: 'b' },
      }),
    );
    const opened = await kms.send(
      new DecryptCommand({
        CiphertextBlob: moved.CiphertextBlob,
        EncryptionContext: { a: 'b' },
        KeyId: DestinationKeyId,
      }),
    );
    expect(opened.Plaintext).toEqual(Uint8Array.from(toBytes('x')));
  });

  it('a ciphertext decrypts after a restart', async () => {
    const KeyId = await createKey();
    const { CiphertextBlob } = await kms.send(new EncryptCommand({ KeyId, Plaintext: toBytes('x') }));
    await stop();
    await start();
    expect((await kms.send(new DecryptCommand({ CiphertextBlob }))).Plaintext).toEqual(Uint8Array.from(toBytes('x')));
  });
});

describe('a data key', () => {
  it('a data key has 32 random bytes, to which its ciphertext decrypts', async () => {
    const KeyId = await createKey();
    const generate = () =>
      kms.send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256', EncryptionContext: TENANT }));
    const [one, two] = [await generate(), await generate()];
    expect(one.Plaintext).toHaveLength(32);
    expect(one.Plaintext).not.toEqual(two.Plaintext);
    const opened = await kms.send(
      new DecryptCommand({ CiphertextBlob: one.CiphertextBlob, EncryptionContext: TENANT }),
    );
    expect(opened.Plaintext).toEqual(one.Plaintext);
  });

  it('a data key has the requested size', async () => {
    const KeyId = await createKey();
    const sized = await kms.send(new GenerateDataKeyCommand({ KeyId, NumberOfBytes: 64 }));
    const small = await kms.send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_128' }));
    expect([sized.Plaintext?.length, small.Plaintext?.length]).toEqual([64, 16]);
    expect(await getException(kms.send(new GenerateDataKeyCommand({ KeyId })))).toBe('ValidationException');
  });

  it('a data key is left out of the response of GenerateDataKeyWithoutPlaintext', async () => {
    const KeyId = await createKey();
    const answer = await kms.send(new GenerateDataKeyWithoutPlaintextCommand({ KeyId, KeySpec: 'AES_256' }));
    expect(answer).not.toHaveProperty('Plaintext');
    const opened = await kms.send(new DecryptCommand({ CiphertextBlob: answer.CiphertextBlob }));
    expect(opened.Plaintext).toHaveLength(32);
  });
});

describe('a KMS key', () => {
  it('a KMS key is found by its id, its ARN, its alias and the alias’s ARN', async () => {
    const KeyId = await createKey();
    await kms.send(new CreateAliasCommand({ AliasName: 'alias/lambent', TargetKeyId: KeyId }));
    const { Aliases = [] } = await kms.send(new ListAliasesCommand({}));
    expect(Aliases.map(({ AliasName, TargetKeyId }) => [AliasName, TargetKeyId])).toEqual([['alias/lambent', KeyId]]);
    const described = await kms.send(new DescribeKeyCommand({ KeyId }));
    const names = [described.KeyMetadata?.Arn, 'alias/lambent', Aliases[0]?.AliasArn];
    for (const name of names) {
      const { KeyMetadata } = await kms.send(new DescribeKeyCommand({ KeyId: name }));
      expect(KeyMetadata).toMatchObject({ KeyId, KeyState: 'Enabled', Enabled: true, Description: 'for tests' });
    }
    const { KeyRotationEnabled } = await kms.send(new GetKeyRotationStatusCommand({ KeyId }));
    expect(KeyRotationEnabled).toBe(false);
  });

  it.each(['nothing', 'alias/nothing', 'alias/../x'])(
    'a KMS key that does not exist is not found: %s',
    async (KeyId) => {
      expect(await getException(kms.send(new DescribeKeyCommand({ KeyId })))).toBe('NotFoundException');
      expect(await getException(kms.send(new EncryptCommand({ KeyId, Plaintext: toBytes('x') })))).toBe(
        'NotFoundException',
      );
    },
  );

  it('a KMS key cannot get an alias that is in use or reserved for AWS', async () => {
    const TargetKeyId = await createKey();
    const alias = (AliasName: string) => getException(kms.send(new CreateAliasCommand({ AliasName, TargetKeyId })));
    expect(await alias('alias/a')).toBe('none');
    expect(await alias('alias/a')).toBe('AlreadyExistsException');
    expect(await alias('alias/aws/s3')).toBe('InvalidAliasNameException');
    expect(await alias('a')).toBe('InvalidAliasNameException');
  });

  it('a disabled KMS key refuses every operation until it is enabled again', async () => {
    const KeyId = await createKey();
    const { CiphertextBlob } = await kms.send(new EncryptCommand({ KeyId, Plaintext: toBytes('x') }));
    await kms.send(new DisableKeyCommand({ KeyId }));
    expect(await getException(kms.send(new DecryptCommand({ CiphertextBlob })))).toBe('DisabledException');
    expect(await getException(kms.send(new EncryptCommand({ KeyId, Plaintext: toBytes('x') })))).toBe(
      'DisabledException',
    );
    await kms.send(new EnableKeyCommand({ KeyId }));
    await kms.send(new DecryptCommand({ CiphertextBlob }));
  });

  it('a KMS key that is pending deletion refuses every operation, and is gone after its waiting period', async () => {
    const KeyId = await createKey();
    const { CiphertextBlob } = await kms.send(new EncryptCommand({ KeyId, Plaintext: toBytes('x') }));
    const { DeletionDate } = await kms.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }));
    expect(DeletionDate?.getTime()).toBe(nowMs + 7 * 86_400_000);
    const decrypt = () => getException(kms.send(new DecryptCommand({ CiphertextBlob })));
    expect(await decrypt()).toBe('KMSInvalidStateException');
    expect(await getException(kms.send(new EnableKeyCommand({ KeyId })))).toBe('KMSInvalidStateException');
    nowMs += 8 * 86_400_000;
    expect(await decrypt()).toBe('NotFoundException');
  });
});

it('the KMS stand-in encrypts 1 to 4096 bytes', async () => {
  const KeyId = await createKey();
  const encrypt = (size: number) =>
    getException(kms.send(new EncryptCommand({ KeyId, Plaintext: new Uint8Array(size) })));
  expect([await encrypt(0), await encrypt(1), await encrypt(4_096), await encrypt(4_097)]).toEqual([
    'ValidationException',
    'none',
    'none',
    'ValidationException',
  ]);
});

it('the state file of the KMS stand-in is readable by its owner only, and contains no plaintext', async () => {
  const KeyId = await createKey();
  await kms.send(new EncryptCommand({ KeyId, Plaintext: toBytes('canary') }));
  expect((await stat(stateFile)).mode & 0o777).toBe(0o600);
  expect(await readFile(stateFile, 'utf8')).not.toContain('canary');
});

it('a change that the KMS stand-in cannot save has no effect, and can be repeated', async () => {
  const TargetKeyId = await createKey();
  const draft = `${stateFile}.${process.pid}.draft`;
  await mkdir(draft);
  const createAlias = () => kms.send(new CreateAliasCommand({ AliasName: 'alias/repeated', TargetKeyId }));
  await expect(createAlias()).rejects.toMatchObject({ name: 'KMSInternalException' });
  await rm(draft, { recursive: true });
  expect((await kms.send(new ListAliasesCommand({}))).Aliases).toEqual([]);
  await createAlias();
  expect((await kms.send(new ListAliasesCommand({}))).Aliases).toMatchObject([{ AliasName: 'alias/repeated' }]);
});

it("the KMS stand-in answers an unknown operation and an invalid body with errors in KMS's format", async () => {
  const call = async (target: string, body: string): Promise<unknown> => {
    const headers = { 'x-amz-target': `TrentService.${target}`, 'content-type': 'application/x-amz-json-1.1' };
    const response = await fetch(server.url, { method: 'POST', headers, body });
    return { status: response.status, type: ((await response.json()) as { __type: string }).__type };
  };
  expect(await call('ImportKeyMaterial', '{}')).toEqual({ status: 400, type: 'UnknownOperationException' });
  expect(await call('toString', '{}')).toEqual({ status: 400, type: 'UnknownOperationException' });
  expect(await call('CreateKey', '{')).toEqual({ status: 400, type: 'ValidationException' });
  expect(await call('Encrypt', '{"KeyId":"x","Plaintext":"%%"}')).toEqual({ status: 400, type: 'ValidationException' });
});

describe('a key that signs', () => {
  const Message = toBytes('a digest');
  const SigningAlgorithm = 'ECDSA_SHA_256';

  async function createSigningKey(): Promise<string> {
    const { KeyMetadata } = await kms.send(new CreateKeyCommand({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' }));
    expect(KeyMetadata).toMatchObject({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' });
    return KeyMetadata?.KeyId ?? '';
  }

  it('signs a message so that its public key verifies it, also after a restart', async () => {
    const KeyId = await createSigningKey();
    await stop();
    await start();
    const { Signature = new Uint8Array() } = await kms.send(new SignCommand({ KeyId, Message, SigningAlgorithm }));
    const { PublicKey, SigningAlgorithms } = await kms.send(new GetPublicKeyCommand({ KeyId }));
    expect(SigningAlgorithms).toEqual([SigningAlgorithm]);
    const key = createPublicKey({ key: Buffer.from(PublicKey ?? []), format: 'der', type: 'spki' });
    expect(verify('sha256', Message, key, Signature)).toBe(true);
    const command = { KeyId, Message, SigningAlgorithm, Signature } as const;
    expect(await kms.send(new VerifyCommand(command))).toMatchObject({ SignatureValid: true });
    const changed = new VerifyCommand({ ...command, Message: toBytes('another') });
    expect(await getException(kms.send(changed))).toBe('KMSInvalidSignatureException');
  });

  it('refuses what KMS refuses: encryption, other algorithms, long messages, rotation', async () => {
    const KeyId = await createSigningKey();
    const plaintext = new EncryptCommand({ KeyId, Plaintext: Message });
    expect(await getException(kms.send(plaintext))).toBe('InvalidKeyUsageException');
    const rsa = new SignCommand({ KeyId, Message, SigningAlgorithm: 'RSASSA_PSS_SHA_256' });
    expect(await getException(kms.send(rsa))).toBe('InvalidKeyUsageException');
    const long = new SignCommand({ KeyId, Message: new Uint8Array(4_097), SigningAlgorithm });
    expect(await getException(kms.send(long))).toBe('ValidationException');
    expect(await getException(kms.send(new GetKeyRotationStatusCommand({ KeyId })))).toBe(
      'UnsupportedOperationException',
    );
    const mixed = new CreateKeyCommand({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'ENCRYPT_DECRYPT' });
    expect(await getException(kms.send(mixed))).toBe('ValidationException');
    await kms.send(new DisableKeyCommand({ KeyId }));
    expect(await getException(kms.send(new SignCommand({ KeyId, Message, SigningAlgorithm })))).toBe(
      'DisabledException',
    );
  });

  it('is no key that encrypts, nor the other way round', async () => {
    const KeyId = await createKey();
    expect(await getException(kms.send(new SignCommand({ KeyId, Message, SigningAlgorithm })))).toBe(
      'InvalidKeyUsageException',
    );
    expect(await getException(kms.send(new GetPublicKeyCommand({ KeyId })))).toBe('UnsupportedOperationException');
  });
});
