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

/** When objects of the audit log expire. */
export interface Expiry {
  /** Days after which objects expire. S3 then removes them, within days and in no order. */
  readonly keptDays: number;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
}

export interface VerifyOptions extends Expiry {
  readonly objects: AuditObjects;
  /** The public key of the digests, in DER. */
  readonly publicKey: Uint8Array;
  /** The last digest of the chain, by the table. Undefined if the chain is empty. */
  readonly head: (DigestText & { readonly isSettled: boolean }) | undefined;
  /** Reads the head again. The first digest of an empty chain may be added after `head` was read. */
  readonly readHead: () => Promise<DigestText | undefined>;
  /** Called with each digest that is in order, and its entries, in the order of the chain. None if they have expired. */
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
 * undefined if there is none. Expired digests and entries may be missing anywhere. Ignores objects whose names are not those of
 * digests: `findStrays` returns them.
 */
export async function verifyChain(chain: number, options: VerifyOptions): Promise<AuditProblem | undefined> {
  const { objects } = options;
  const key = createPublicKey({ key: Buffer.from(options.publicKey), format: 'der', type: 'spki' });
  let last: DigestText | undefined;
  for (const name of await objects.list(getDigestPrefix(chain))) {
    const sequence = readSequence(chain, name);
    if (sequence === undefined) continue;
    const bytes = await objects.get(name);
    // Removed since it was listed. Whether it had expired shows at the next digest, or at the head.
    if (bytes === undefined) continue;
    const checked = await checkDigest({ bytes, sequence }, last, key, options);
    if (typeof checked === 'string') return { chain, sequence, problem: checked };
    last = checked.digest;
    options.onDigest?.(checked.digest.digest, checked.entries);
  }
  const isBegun = options.head === undefined && last !== undefined && (await options.readHead()) !== undefined;
  const problem = isBegun ? undefined : checkEnd(last, options);
  return problem === undefined ? undefined : { chain, sequence: (last?.digest.sequence ?? 0) + 1, problem };
}

/** Returns a digest that is in order, with its entries, or what is wrong with it. */
async function checkDigest(
  { bytes, sequence: expected }: { readonly bytes: Uint8Array; readonly sequence: number },
  last: DigestText | undefined,
  key: KeyObject,
  { objects, ...expiry }: VerifyOptions,
): Promise<{ readonly digest: DigestText; readonly entries: readonly Entry[] } | string> {
  const parsed = attempt(() => {
    const signed = parseSignedDigest(bytes);
    return { signed, digest: parseDigest(signed.digest) };
  });
  if (parsed === undefined) return "the digest can't be read";
  const { signed, digest } = parsed;
  const { sequence, entries } = digest.digest;
  if (
    !verify('sha256', Buffer.from(signed.digest), { key, dsaEncoding: 'der' }, Buffer.from(signed.signature, 'base64'))
  )
    return "the signature isn't that of the audit key";
  if (sequence !== expected) return `the object holds the digest ${sequence}`;
  const gap = checkPosition(digest.digest, last, expiry);
  if (gap !== undefined) return gap;
  const packed = await objects.get(entries.key);
  if (packed === undefined)
    return haveEntriesExpired(digest.digest, expiry)
      ? { digest, entries: [] }
      : `its entries are missing: ${entries.key}`;
  const text = attempt(() => unpackEntries(packed));
  if (text === undefined || hashText(text) !== entries.sha256) return `its entries were changed: ${entries.key}`;
  return { digest, entries: parseEntries(text) };
}

/** Returns what is wrong with the place of a digest after the one that was found before it. */
function checkPosition(
  { sequence, previous, previousAt }: Digest,
  last: DigestText | undefined,
  expiry: Expiry,
): string | undefined {
  if (sequence === (last?.digest.sequence ?? 0) + 1) {
    if (previous === (last === undefined ? null : hashText(last.text))) return undefined;
    return "the digest doesn't follow the one before: one of them was changed";
  }
  // Those before the missing one are older, and have expired, too.
  if (hasExpired(previousAt, expiry)) return undefined;
  if (last === undefined) return 'the digest before is missing, and has not expired';
  return `the digest ${last.digest.sequence + 1} is missing`;
}

/** @param at when an object was made; null if there was none */
function hasExpired(at: string | null, { keptDays, now }: Expiry): boolean {
  return at !== null && now() - Date.parse(at) >= keptDays * DAY_MS;
}

/**
 * Returns whether the entries of a digest have expired: with the digest, or earlier if they were written on the day before. S3 expires
 * an object with the end of the day.
 */
function haveEntriesExpired({ at, entries }: Digest, { keptDays, now }: Expiry): boolean {
  const day = readDay(entries.key);
  return hasExpired(at, { keptDays, now }) || (day !== undefined && now() - day >= (keptDays + 1) * DAY_MS);
}

/** Returns the start of the day, in epoch milliseconds, on which the entries with this key were written. */
function readDay(key: string): number | undefined {
  const day = /\/entries\/(\d{4}-\d{2}-\d{2})\//.exec(key)?.[1];
  return day === undefined ? undefined : Date.parse(day);
}

/** Compares the last digest in the bucket with the head. The object of a head that isn't settled may not be written yet. */
function checkEnd(last: DigestText | undefined, { head, ...expiry }: VerifyOptions): string | undefined {
  if (head === undefined) return last === undefined ? undefined : 'the table has no head of the chain';
  const { sequence } = last?.digest ?? { sequence: 0 };
  const missing = head.digest.sequence - sequence;
  if (missing > 0 && hasExpired(head.digest.at, expiry)) return undefined;
  if (missing > 0 && !head.isSettled && checkPosition(head.digest, last, expiry) === undefined) return undefined;
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
 * @param expiry if given, leaves out entries that have expired: their digest may have been removed before them
 */
export function findStrays(
  chain: number,
  names: readonly string[],
  referred: ReadonlySet<string>,
  expiry?: Expiry,
): Strays {
  const strays = names.filter((name) => readSequence(chain, name) === undefined && !referred.has(name));
  const isEntries = (name: string) => name.startsWith(`${getChainPrefix(chain)}entries/`);
  const isKept = (name: string): boolean => {
    const day = readDay(name);
    return expiry === undefined || day === undefined || !hasExpired(new Date(day).toISOString(), expiry);
  };
  return {
    entries: strays.filter((name) => isEntries(name) && isKept(name)),
    others: strays.filter((name) => !isEntries(name)),
  };
}

function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}
