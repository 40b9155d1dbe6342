import { createHash, createHmac, createSecretKey, type Hash, type KeyObject } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import { BoundedMap } from '../core/bounded-map.ts';
import { once } from '../core/once.ts';

type SigningConfig = Pick<ConstructorParameters<typeof SignatureV4>[0], 'region' | 'credentials'>;
type Secret = ConstructorParameters<ConstructorParameters<typeof SignatureV4>[0]['sha256']>[0];

/**
 * Returns the SDK's signer for a client's option `signer`. Without it, the SDK constructs a signer from a copy of its
 * configuration for each request, and makes each HMAC from a key's bytes. Node needs five times as long for that as from
 * a key object.
 * @param service as it is signed: `dynamodb`, `sqs`…
 * @param getConfig returns the client's configuration. Called at the first request
 */
export function createSigner(service: string, getConfig: () => SigningConfig): () => Promise<SignatureV4> {
  return once(async () => {
    const { region, credentials } = getConfig();
    return new SignatureV4({ service, region, credentials, sha256: Sha256 });
  });
}

/** Keys of HMACs: for each access key its secret, the day's signing key, and the steps between them. */
const MAX_KEYS = 64;
const keyObjects = new BoundedMap<NonNullable<Secret>, KeyObject>(MAX_KEYS);

/** SHA-256, or HMAC with it if there is a secret, as the SDK uses them. */
class Sha256 {
  readonly #secret: Secret;
  #hash: Hash | ReturnType<typeof createHmac>;

  constructor(secret?: Secret) {
    this.#secret = secret;
    this.#hash = start(secret);
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    this.#hash = start(this.#secret);
  }
}

function start(secret: Secret) {
  return secret === undefined ? createHash('sha256') : createHmac('sha256', toKeyObject(secret));
}

/** The SDK caches a signing key as one array, which finds its key object again. */
function toKeyObject(secret: NonNullable<Secret>): KeyObject {
  const known = keyObjects.get(secret);
  if (known !== undefined) return known;
  const key = typeof secret === 'string' ? createSecretKey(secret, 'utf8') : createSecretKey(toBuffer(secret));
  keyObjects.set(secret, key);
  return key;
}

function toBuffer(bytes: Exclude<Secret, string | undefined>): Buffer {
  return ArrayBuffer.isView(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : Buffer.from(bytes);
}
