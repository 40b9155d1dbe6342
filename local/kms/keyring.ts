import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
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
import { KmsException } from './exception.ts';

const keySchema = v.object({
  id: v.pipe(v.string(), v.uuid()),
  /** Keys of earlier versions have none: they encrypt. */
  spec: v.optional(v.picklist(['SYMMETRIC_DEFAULT', 'ECC_NIST_P256']), 'SYMMETRIC_DEFAULT'),
  /** Base64: 32 bytes, or a private key as PKCS #8 in DER. */
  material: v.string(),
  description: v.string(),
  /** Epoch milliseconds. */
  createdAt: v.number(),
  state: v.picklist(['Enabled', 'Disabled', 'PendingDeletion']),
  /** Epoch milliseconds; present while deletion is pending. */
  deletionAt: v.optional(v.number()),
});

const stateSchema = v.object({ keys: v.array(keySchema), aliases: v.record(v.string(), v.string()) });

export type Key = v.InferOutput<typeof keySchema>;
/** The kinds of keys that Lambent uses: one encrypts, the other signs. */
export type KeySpec = Key['spec'];

const ARN_PREFIX = 'arn:aws:kms:us-east-1:000000000000:';

/** The keys of the local KMS, in a file that only its owner may read. */
export class Keyring {
  readonly #file: string;
  readonly #now: () => number;
  #keys: ReadonlyMap<string, Key>;
  #aliases: ReadonlyMap<string, string>;

  /**
   * Reads the keys from a file. If there is no file, the first change creates it.
   * @param now returns epoch milliseconds
   * @throws Error if the file is not a keyring
   */
  constructor(file: string, now: () => number) {
    this.#file = file;
    this.#now = now;
    const state = existsSync(file) ? v.parse(stateSchema, JSON.parse(readFileSync(file, 'utf8'))) : undefined;
    this.#keys = new Map(state?.keys.map((key) => [key.id, key]));
    this.#aliases = new Map(Object.entries(state?.aliases ?? {}));
  }

  /** Creates a key that is enabled. */
  create(description: string, spec: KeySpec = 'SYMMETRIC_DEFAULT'): Key {
    const material = createMaterial(spec).toString('base64');
    return this.put({ id: randomUUID(), spec, material, description, createdAt: this.#now(), state: 'Enabled' });
  }

  /** Adds a key, or replaces the key with its id. */
  put(key: Key): Key {
    this.#save(new Map(this.#keys).set(key.id, key), this.#aliases);
    return key;
  }

  /** Returns the key of an alias. Creates both if the alias doesn't exist. */
  findOrCreate(alias: string, spec?: KeySpec): Key {
    if (this.#aliases.has(alias)) return this.find(alias);
    const key = this.create(alias, spec);
    this.addAlias(alias, key);
    return key;
  }

  /**
   * Returns a key.
   * @param reference a key's id or ARN, or an alias's name or ARN
   * @throws KmsException `NotFoundException`
   */
  find(reference: string): Key {
    const name = reference.startsWith(ARN_PREFIX) ? reference.slice(ARN_PREFIX.length) : reference;
    const id = name.startsWith('alias/') ? this.#aliases.get(name) : name.replace(/^key\//, '');
    const key = id === undefined ? undefined : this.#keys.get(id);
    if (!key || (key.deletionAt ?? Number.POSITIVE_INFINITY) <= this.#now()) {
      throw new KmsException('NotFoundException', `Key '${reference}' does not exist`);
    }
    return key;
  }

  /**
   * Returns a key for an operation of its kind: encryption, unless `spec` is that of keys that sign.
   * @throws KmsException `NotFoundException`, `DisabledException`, `InvalidKeyUsageException` for a key of another kind, or
   * `KMSInvalidStateException` while deletion is pending
   */
  findUsable(reference: string, spec: KeySpec = 'SYMMETRIC_DEFAULT'): Key {
    const key = this.find(reference);
    if (key.spec !== spec) {
      const problem = `${buildKeyArn(key)} key usage is ${getUsage(key)} which is not valid for this operation.`;
      throw new KmsException('InvalidKeyUsageException', problem);
    }
    if (key.state === 'Disabled') throw new KmsException('DisabledException', `${buildKeyArn(key)} is disabled.`);
    if (key.state === 'PendingDeletion') {
      throw new KmsException('KMSInvalidStateException', `${buildKeyArn(key)} is pending deletion.`);
    }
    return key;
  }

  /**
   * Adds an alias for a key.
   * @throws KmsException `AlreadyExistsException`
   */
  addAlias(name: string, key: Key): void {
    if (this.#aliases.has(name))
      throw new KmsException('AlreadyExistsException', `An alias with the name ${name} exists`);
    this.#save(this.#keys, new Map(this.#aliases).set(name, key.id));
  }

  listAliases(): { name: string; arn: string; keyId: string }[] {
    return [...this.#aliases].map(([name, keyId]) => ({ name, arn: ARN_PREFIX + name, keyId }));
  }

  /** Replaces the file as a whole: a crash leaves either the old or the new state. If it throws, nothing changes. */
  #save(keys: ReadonlyMap<string, Key>, aliases: ReadonlyMap<string, string>): void {
    mkdirSync(dirname(this.#file), { recursive: true });
    const draft = `${this.#file}.${process.pid}.draft`;
    const file = openSync(draft, 'w', 0o600);
    try {
      writeFileSync(file, JSON.stringify({ keys: [...keys.values()], aliases: Object.fromEntries(aliases) }));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, this.#file);
    this.#keys = keys;
    this.#aliases = aliases;
  }
}

/** Returns a key's ARN. */
export function buildKeyArn(key: Key): string {
  return `${ARN_PREFIX}key/${key.id}`;
}

/** Returns what a key may be used for. */
export function getUsage({ spec }: Key): 'ENCRYPT_DECRYPT' | 'SIGN_VERIFY' {
  return spec === 'SYMMETRIC_DEFAULT' ? 'ENCRYPT_DECRYPT' : 'SIGN_VERIFY';
}

function createMaterial(spec: KeySpec): Buffer {
  if (spec === 'SYMMETRIC_DEFAULT') return randomBytes(32);
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'der', type: 'pkcs8' });
}
