import { GetPublicKeyCommand, type KMSClient, SignCommand } from '@aws-sdk/client-kms';
import type { ChainPorts } from './chain.ts';

/** Creates the function that signs digests with a KMS key on the curve P-256. It throws KMS's errors. */
export function createSigner(client: KMSClient, keyId: string): ChainPorts['sign'] {
  return async (text) => {
    const { Signature, KeyId } = await client.send(
      new SignCommand({
        KeyId: keyId,
        Message: Buffer.from(text),
        MessageType: 'RAW',
        SigningAlgorithm: 'ECDSA_SHA_256',
      }),
    );
    if (Signature === undefined) throw new Error("KMS's response contains no signature");
    return { signature: Buffer.from(Signature).toString('base64'), key: KeyId ?? keyId };
  };
}

/** Reads the public key of a KMS key, in DER. Throws KMS's errors. */
export async function readPublicKey(client: KMSClient, keyId: string): Promise<Uint8Array> {
  const { PublicKey } = await client.send(new GetPublicKeyCommand({ KeyId: keyId }));
  if (PublicKey === undefined) throw new Error("KMS's response contains no public key");
  return PublicKey;
}
