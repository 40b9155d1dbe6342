import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import {
  type Digest,
  type DigestText,
  getChainPrefix,
  getDigestKey,
  getDigestPrefix,
  hashText,
  parseDigest,
  parseSignedDigest,
} from './digest.ts';
import { type Entry, parseEntries, unpackEntries } from './entry.ts';

/** Where the objects of the audit log are read. */
export interface AuditObjects {
  /** Lists all keys that begin with a prefix, in the order of their bytes. */
  list(prefix: string): Promise<readonly string[]>;
  get(key: string): Promise<Uint8Array | undefined>;
}

export interface VerifyOptions {
  readonly objects: AuditObjects;
  /** The public key of the digests, in DER. */
  readonly publicKey: Uint8Array;
  /** The last digest of the chain, by the table. Undefined if the chain is empty. */
  readonly head: (DigestText & { readonly isSettled: boolean }) | undefined;
  /** Days after which objects expire. */
  readonly keptDays: number;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
  /** Called with each digest that is in order, and its entries, in the order of the chain. */
  readonly onDigest?: (digest: Digest, entries: readonly Entry[]) => void;
}

/** The first gap or change on a chain. */
export interface AuditProblem {
  readonly chain: number;
  readonly sequence: number;
  readonly problem: string;
}

const DAY_MS = 86_400_000;

/**
 * Checks a chain from its first digest to its head: sequence numbers, hashes, signatures and entries. Returns the first problem;
 * undefined if there is none. Ignores objects whose names are not those of digests: `findStrays` returns them.
 */
export async function verifyChain(chain: number, options: VerifyOptions): Promise<AuditProblem | undefined> {
  const { objects } = options;
  const key = createPublicKey({ key: Buffer.from(options.publicKey), format: 'der', type: 'spki' });
  let last: DigestText | undefined;
  for (const name of await objects.list(getDigestPrefix(chain))) {
    const sequence = readSequence(chain, name);
    if (sequence === undefined) continue;
    const checked = await checkDigest({ name, sequence }, last, key, options);
    if (typeof checked === 'string') return { chain, sequence, problem: checked };
    last = checked.digest;
    options.onDigest?.(checked.digest.digest, checked.entries);
  }
  const problem = checkEnd(last, options);
  return problem === undefined ? undefined : { chain, sequence: (last?.digest.sequence ?? 0) + 1, problem };
}

/** Returns a digest that is in order, with its entries, or what is wrong with it. */
async function checkDigest(
  { name, sequence: expected }: { readonly name: string; readonly sequence: number },
  last: DigestText | undefined,
  key: KeyObject,
  { objects, keptDays, now }: VerifyOptions,
): Promise<{ readonly digest: DigestText; readonly entries: readonly Entry[] } | string> {
  const bytes = await objects.get(name);
  if (bytes === undefined) return 'the digest is missing';
  const parsed = attempt(() => {
    const signed = parseSignedDigest(bytes);
    return { signed, digest: parseDigest(signed.digest) };
  });
  if (parsed === undefined) return "the digest can't be read";
  const { signed, digest } = parsed;
  const { sequence, previous, previousAt, entries } = digest.digest;
  if (
    !verify('sha256', Buffer.from(signed.digest), { key, dsaEncoding: 'der' }, Buffer.from(signed.signature, 'base64'))
  )
    return "the signature isn't that of the audit key";
  if (sequence !== expected) return `the object holds the digest ${sequence}`;
  if (last === undefined) {
    const isBegin = sequence === 1 && previous === null;
    const isExpired = previousAt !== null && now() - Date.parse(previousAt) >= keptDays * DAY_MS;
    if (!isBegin && !isExpired) return 'the digest before is missing, and has not expired';
  } else if (sequence !== last.digest.sequence + 1) return `the digest ${last.digest.sequence + 1} is missing`;
  else if (previous !== hashText(last.text)) return "the digest doesn't follow the one before: one of them was changed";
  const packed = await objects.get(entries.key);
  if (packed === undefined) return `its entries are missing: ${entries.key}`;
  const text = attempt(() => unpackEntries(packed));
  if (text === undefined || hashText(text) !== entries.sha256) return `its entries were changed: ${entries.key}`;
  return { digest, entries: parseEntries(text) };
}

/** Compares the last digest in the bucket with the head. The object of a head that isn't settled may not be written yet. */
function checkEnd(last: DigestText | undefined, { head, keptDays, now }: VerifyOptions): string | undefined {
  if (head === undefined) return last === undefined ? undefined : 'the table has no head of the chain';
  if (last === undefined && now() - Date.parse(head.digest.at) >= keptDays * DAY_MS) return undefined;
  const { sequence } = last?.digest ?? { sequence: 0 };
  const missing = head.digest.sequence - sequence;
  if (missing === 1 && !head.isSettled && (last === undefined || head.digest.previous === hashText(last.text)))
    return undefined;
  if (missing > 0) return `the digest is missing: the head is ${head.digest.sequence}`;
  // A digest may have been added since the head was read.
  if (missing === 0 && last?.text !== head.text) return 'the last digest differs from the head';
  return undefined;
}

/** Returns the sequence number in the key of a chain's digest; undefined for any other key. */
function readSequence(chain: number, name: string): number | undefined {
  const sequence = Number(/(\d+)\.json$/.exec(name)?.[1]);
  return name === getDigestKey({ chain, sequence }) ? sequence : undefined;
}

/** Objects below a chain's prefix that are no part of the log, by their keys. */
export interface Strays {
  /** Entries that no digest refers to: forged, or of a recorder that has not ended yet, or that has failed. */
  readonly entries: readonly string[];
  /** No recorder writes such objects. */
  readonly others: readonly string[];
}

/**
 * Returns the objects among those of a chain that are neither digests nor entries of one.
 * @param names all keys below `getChainPrefix`, listed before the chain was verified: entries are written before their digest
 * @param referred the keys of the entries of all digests
 */
export function findStrays(chain: number, names: readonly string[], referred: ReadonlySet<string>): Strays {
  const strays = names.filter((name) => readSequence(chain, name) === undefined && !referred.has(name));
  const isEntries = (name: string) => name.startsWith(`${getChainPrefix(chain)}entries/`);
  return { entries: strays.filter(isEntries), others: strays.filter((name) => !isEntries(name)) };
}

function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}
