import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { KmsFault } from './fault.ts';

const keySchema = v.object({
  id: v.pipe(v.string(), v.uuid()),
  /** 32 bytes, base64. */
  material: v.string(),
  description: v.string(),
  /** Epoch milliseconds. */
  createdAt: v.number(),
  state: v.picklist(['Enabled', 'Disabled', 'PendingDeletion']),
  /** Epoch milliseconds; only while deletion is pending. */
  deletionAt: v.optional(v.number()),
});

const stateSchema = v.object({ keys: v.array(keySchema), aliases: v.record(v.string(), v.string()) });

export type Key = v.InferOutput<typeof keySchema>;
export type EncryptionContext = Readonly<Record<string, string>>;

const ARN = 'arn:aws:kms:us-east-1:000000000000:';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ID_BYTES = 16;
/** Marks a blob as ours, in its first layout. */
const FORMAT = 1;

/** The keys of the local KMS, kept in one file that only its owner may read. */
export class Keyring {
  readonly #file: string;
  readonly #now: () => number;
  readonly #keys: Map<string, Key>;
  readonly #aliases: Map<string, string>;

  /**
   * @param file created when something is first kept
   * @param now epoch milliseconds
   * @throws Error when the file is there but is not a state file
   */
  constructor(file: string, now: () => number) {
    this.#file = file;
    this.#now = now;
    const state = existsSync(file) ? v.parse(stateSchema, JSON.parse(readFileSync(file, 'utf8'))) : undefined;
    this.#keys = new Map(state?.keys.map((key) => [key.id, key]));
    this.#aliases = new Map(Object.entries(state?.aliases ?? {}));
  }

  create(description: string): Key {
    const material = randomBytes(32).toString('base64');
    return this.put({ id: randomUUID(), material, description, createdAt: this.#now(), state: 'Enabled' });
  }

  put(key: Key): Key {
    this.#keys.set(key.id, key);
    this.#save();
    return key;
  }

  /**
   * @param reference a key's id or ARN, or an alias's name or ARN
   * @throws KmsFault `NotFoundException`
   */
  find(reference: string): Key {
    const name = reference.startsWith(ARN) ? reference.slice(ARN.length) : reference;
    const id = name.startsWith('alias/') ? this.#aliases.get(name) : name.replace(/^key\//, '');
    const key = id === undefined ? undefined : this.#keys.get(id);
    if (!key || (key.deletionAt ?? Number.POSITIVE_INFINITY) <= this.#now()) {
      throw new KmsFault('NotFoundException', `Key '${reference}' does not exist`);
    }
    return key;
  }

  /** @throws KmsFault like `find`, and when the key may not be used now */
  usable(reference: string): Key {
    const key = this.find(reference);
    if (key.state === 'Disabled') throw new KmsFault('DisabledException', `${arnOf(key)} is disabled.`);
    if (key.state === 'PendingDeletion') {
      throw new KmsFault('KMSInvalidStateException', `${arnOf(key)} is pending deletion.`);
    }
    return key;
  }

  /** @throws KmsFault `AlreadyExistsException` */
  alias(name: string, key: Key): void {
    if (this.#aliases.has(name)) throw new KmsFault('AlreadyExistsException', `An alias with the name ${name} exists`);
    this.#aliases.set(name, key.id);
    this.#save();
  }

  aliases(): { name: string; arn: string; keyId: string }[] {
    return [...this.#aliases].map(([name, keyId]) => ({ name, arn: ARN + name, keyId }));
  }

  /** A rename puts the new state in place whole: a crash leaves the old one. */
  #save(): void {
    mkdirSync(dirname(this.#file), { recursive: true });
    const draft = `${this.#file}.${process.pid}.draft`;
    const file = openSync(draft, 'w', 0o600);
    try {
      writeFileSync(
        file,
        JSON.stringify({ keys: [...this.#keys.values()], aliases: Object.fromEntries(this.#aliases) }),
      );
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, this.#file);
  }
}

export function arnOf(key: Key): string {
  return `${ARN}key/${key.id}`;
}

/** Encrypts under `key`. The blob names its key, so that decryption needs no more than the blob and the context. */
export function encrypt(key: Key, plaintext: Uint8Array, context: EncryptionContext): Uint8Array {
  const header = Buffer.concat([Buffer.of(FORMAT), Buffer.from(key.id.replaceAll('-', ''), 'hex')]);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(key.material, 'base64'), nonce);
  cipher.setAAD(associatedData(header, context));
  const body = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([header, nonce, cipher.getAuthTag(), body]);
}

/**
 * @param usable finds the key that the blob names
 * @throws KmsFault `InvalidCiphertextException` when blob and context don't belong together, and what `usable` throws
 */
export function decrypt(
  blob: Uint8Array,
  context: EncryptionContext,
  usable: (id: string) => Key,
): { key: Key; plaintext: Uint8Array } {
  const bytes = Buffer.from(blob);
  const headerEnd = 1 + ID_BYTES;
  const bodyStart = headerEnd + NONCE_BYTES + TAG_BYTES;
  if (bytes.length <= bodyStart || bytes[0] !== FORMAT) throw new KmsFault('InvalidCiphertextException');
  const header = bytes.subarray(0, headerEnd);
  const key = usable(uuid(header.subarray(1)));
  const nonce = bytes.subarray(headerEnd, headerEnd + NONCE_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', Buffer.from(key.material, 'base64'), nonce);
  decipher.setAAD(associatedData(header, context));
  decipher.setAuthTag(bytes.subarray(headerEnd + NONCE_BYTES, bodyStart));
  try {
    return { key, plaintext: Buffer.concat([decipher.update(bytes.subarray(bodyStart)), decipher.final()]) };
  } catch {
    // GCM can't tell a changed blob from another context, and neither may the answer.
    throw new KmsFault('InvalidCiphertextException');
  }
}

function uuid(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Sorted and length-prefixed, so that no two contexts look alike. */
function associatedData(header: Uint8Array, context: EncryptionContext): Uint8Array {
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  const texts = pairs.flat().map((text) => {
    const bytes = Buffer.from(text, 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  });
  return Buffer.concat([header, ...texts]);
}
