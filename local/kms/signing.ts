import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import * as v from 'valibot';
import { KmsException } from './exception.ts';
import { buildKeyArn, type Key, type Keyring } from './keyring.ts';
import { blob, defineOperation, encodeBase64, KeyId, type Operation } from './operation.ts';

/** The only algorithm of a key on the curve P-256. */
const ALGORITHM = 'ECDSA_SHA_256';

const signing = {
  KeyId,
  /** KMS hashes a message of up to 4,096 bytes itself. Lambent sends no hashes. */
  Message: blob(4_096),
  MessageType: v.optional(v.literal('RAW')),
  SigningAlgorithm: v.string(),
};

/**
 * Returns the operations on keys that sign.
 * @see https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
 */
export function createSigning(keyring: Keyring): Readonly<Record<string, Operation>> {
  return {
    Sign: defineOperation(v.object(signing), (input) => {
      const key = findSigningKey(keyring, input);
      const signature = sign('sha256', input.Message, { key: readPrivateKey(key), dsaEncoding: 'der' });
      return { KeyId: buildKeyArn(key), Signature: encodeBase64(signature), SigningAlgorithm: ALGORITHM };
    }),
    Verify: defineOperation(v.object({ ...signing, Signature: blob(6_144) }), (input) => {
      const key = findSigningKey(keyring, input);
      const publicKey = createPublicKey(readPrivateKey(key));
      // KMS answers with an exception instead of `false`.
      if (!verify('sha256', input.Message, { key: publicKey, dsaEncoding: 'der' }, input.Signature)) {
        throw new KmsException('KMSInvalidSignatureException');
      }
      return { KeyId: buildKeyArn(key), SignatureValid: true, SigningAlgorithm: ALGORITHM };
    }),
    GetPublicKey: defineOperation(v.object({ KeyId }), (input) => {
      if (keyring.find(input.KeyId).spec === 'SYMMETRIC_DEFAULT') {
        throw new KmsException('UnsupportedOperationException', 'A symmetric key has no public key.');
      }
      const key = keyring.findUsable(input.KeyId, 'ECC_NIST_P256');
      return {
        KeyId: buildKeyArn(key),
        PublicKey: encodeBase64(createPublicKey(readPrivateKey(key)).export({ format: 'der', type: 'spki' })),
        KeySpec: key.spec,
        KeyUsage: 'SIGN_VERIFY',
        SigningAlgorithms: [ALGORITHM],
      };
    }),
  };
}

function findSigningKey(keyring: Keyring, input: { readonly KeyId: string; readonly SigningAlgorithm: string }): Key {
  const key = keyring.findUsable(input.KeyId, 'ECC_NIST_P256');
  if (input.SigningAlgorithm === ALGORITHM) return key;
  const problem = `Algorithm ${input.SigningAlgorithm} and key spec ${key.spec} are incompatible for this operation.`;
  throw new KmsException('InvalidKeyUsageException', problem);
}

function readPrivateKey({ material }: Key): KeyObject {
  return createPrivateKey({ key: Buffer.from(material, 'base64'), format: 'der', type: 'pkcs8' });
}
