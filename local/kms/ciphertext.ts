import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { KmsException } from './exception.ts';
import type { Key } from './keyring.ts';

export type EncryptionContext = Readonly<Record<string, string>>;

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ID_BYTES = 16;
/** The first byte of a ciphertext: the version of its layout. */
const FORMAT = 1;

/**
 * Encrypts under a key. Decryption needs only the ciphertext and its context, because the ciphertext has the key's id.
 */
export function encrypt(key: Key, plaintext: Uint8Array, context: EncryptionContext): Uint8Array {
  const header = Buffer.concat([Buffer.of(FORMAT), Buffer.from(key.id.replaceAll('-', ''), 'hex')]);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(key.material, 'base64'), nonce);
  cipher.setAAD(buildAssociatedData(header, context));
  const body = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([header, nonce, cipher.getAuthTag(), body]);
}

/**
 * Decrypts a ciphertext.
 * @param findKey returns the key with the id that the ciphertext contains
 * @throws KmsException `InvalidCiphertextException` if it was changed, or encrypted with another context; any error of
 * `findKey`
 */
export function decrypt(
  ciphertext: Uint8Array,
  context: EncryptionContext,
  findKey: (id: string) => Key,
): { key: Key; plaintext: Uint8Array } {
  const bytes = Buffer.from(ciphertext);
  const headerEnd = 1 + ID_BYTES;
  const bodyStart = headerEnd + NONCE_BYTES + TAG_BYTES;
  if (bytes.length <= bodyStart || bytes[0] !== FORMAT) throw new KmsException('InvalidCiphertextException');
  const header = bytes.subarray(0, headerEnd);
  const key = findKey(toUuid(header.subarray(1)));
  const nonce = bytes.subarray(headerEnd, headerEnd + NONCE_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', Buffer.from(key.material, 'base64'), nonce);
  decipher.setAAD(buildAssociatedData(header, context));
  decipher.setAuthTag(bytes.subarray(headerEnd + NONCE_BYTES, bodyStart));
  try {
    return { key, plaintext: Buffer.concat([decipher.update(bytes.subarray(bodyStart)), decipher.final()]) };
  } catch {
    // GCM can't distinguish a changed ciphertext from another context, so the response doesn't either.
    throw new KmsException('InvalidCiphertextException');
  }
}

function toUuid(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Encodes a context, sorted and length-prefixed, so that two contexts never have the same bytes. */
function buildAssociatedData(header: Uint8Array, context: EncryptionContext): Uint8Array {
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  const texts = pairs.flat().map((text) => {
    const bytes = Buffer.from(text, 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  });
  return Buffer.concat([header, ...texts]);
}
