import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import {
  type Digest,
  type DigestText,
  getDigestKey,
  getDigestPrefix,
  hashText,
  parseDigest,
  parseSignedDigest,
} from './digest.ts';
import { type Entry, parseEntries, unpackEntries } from './entry.ts';

/** Where the objects of the audit log are read. */
export interface AuditObjects {
  /**
   * Yields all keys that begin with a prefix, in the order of their bytes, and asks for them page by page.
   * @param after only keys behind this one
   */
  listKeys(prefix: string, after?: string): AsyncIterable<string>;
  get(key: string): Promise<Uint8Array | undefined>;
}

/** When objects of the audit log expire. */
export interface Expiry {
  /** Days after which objects expire. S3 then removes them, within days and in no order. */
  readonly keptDays: number;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
}

/** A digest up to which a chain is in order. */
export interface VerifiedDigest {
  readonly sequence: number;
  /** SHA-256 of its text. */
  readonly hash: string;
  /** When it was made, in ISO 8601. */
  readonly at: string;
}

export interface VerifyOptions extends Expiry {
  readonly objects: AuditObjects;
  /** The public key of the digests, in DER. */
  readonly publicKey: Uint8Array;
  /** The last digest of the chain, by the table. Undefined if the chain is empty. */
  readonly head: (DigestText & { readonly isSettled: boolean }) | undefined;
  /** Reads the head again. The first digest of an empty chain may be added after `head` was read. */
  readonly readHead: () => Promise<DigestText | undefined>;
  /** The digest up to which the chain was verified before. It and those before it are not read. Default: none was verified. */
  readonly from?: VerifiedDigest | undefined;
  /** Called with each digest that is in order, and its entries, in the order of the chain, and awaited. No entries if they have expired. */
  readonly onDigest?: (digest: Digest, entries: readonly Entry[], verified: VerifiedDigest) => unknown;
  /** Called with the names below the chain's digests that are not those of digests, maybe repeatedly. */
  readonly onForeignName?: (name: string) => void;
}

/** The first gap or change on a chain. */
export interface AuditProblem {
  readonly chain: number;
  readonly sequence: number;
  readonly problem: string;
}

export const DAY_MS = 86_400_000;
/** Digests that are read at once, with their entries. S3 answers within tens of milliseconds. */
const AHEAD = 32;

/**
 * Checks a chain from its first digest, or from one that was verified before, to its head: sequence numbers, hashes, signatures
 * and entries. Returns the first problem, or undefined if the chain is in order. Expired digests and entries may be missing anywhere. Memory
 * holds a few digests with their entries, however long the chain is.
 */
export async function verifyChain(chain: number, options: VerifyOptions): Promise<AuditProblem | undefined> {
  const { objects, from, onDigest } = options;
  const key = createPublicKey({ key: Buffer.from(options.publicKey), format: 'der', type: 'spki' });
  let last = from;
  const names = listDigests(chain, options, from && getDigestKey({ chain, sequence: from.sequence }));
  for await (const read of mapAhead(names, AHEAD, (name) => readDigest(name, key, objects))) {
    // Removed since it was listed. Whether it had expired shows at the next digest, or at the head.
    if (read === undefined) continue;
    const checked = checkDigest(read, last, options);
    if (typeof checked === 'string') {
      for await (const _ of listDigests(chain, options, getDigestKey({ chain, sequence: read.sequence })));
      return { chain, sequence: read.sequence, problem: checked };
    }
    const { text, digest } = checked.digest;
    last = { sequence: digest.sequence, hash: hashText(text), at: digest.at };
    await onDigest?.(digest, checked.entries, last);
  }
  const isEmpty = options.head === undefined && from === undefined;
  const isBegun = isEmpty && last !== undefined && (await options.readHead()) !== undefined;
  const problem = isBegun ? undefined : checkEnd(last, options);
  return problem === undefined ? undefined : { chain, sequence: (last?.sequence ?? 0) + 1, problem };
}

/** Yields the sequence numbers of a chain's digests in the bucket, behind a key. */
async function* listDigests(
  chain: number,
  { objects, onForeignName }: Pick<VerifyOptions, 'objects' | 'onForeignName'>,
  after: string | undefined,
): AsyncGenerator<DigestName> {
  for await (const name of objects.listKeys(getDigestPrefix(chain), after)) {
    const sequence = readSequence(chain, name);
    if (sequence === undefined) onForeignName?.(name);
    else yield { name, sequence };
  }
}

interface DigestName {
  readonly name: string;
  readonly sequence: number;
}

/** A digest as it was read, with the content of its entries' object. */
interface DigestRead {
  readonly sequence: number;
  readonly digest: DigestText;
  /** Undefined if there is no such object. */
  readonly packed: Uint8Array | undefined;
}

/** Reads a digest and its entries. Returns what is wrong with the digest itself as `problem`, or undefined if it doesn't exist. */
async function readDigest(
  { name, sequence }: DigestName,
  key: KeyObject,
  objects: AuditObjects,
): Promise<DigestRead | { readonly sequence: number; readonly problem: string } | undefined> {
  const bytes = await objects.get(name);
  if (bytes === undefined) return undefined;
  const parsed = attempt(() => {
    const signed = parseSignedDigest(bytes);
    return { signed, digest: parseDigest(signed.digest) };
  });
  if (parsed === undefined) return { sequence, problem: "the digest can't be read" };
  const { signed, digest } = parsed;
  if (
    !verify('sha256', Buffer.from(signed.digest), { key, dsaEncoding: 'der' }, Buffer.from(signed.signature, 'base64'))
  )
    return { sequence, problem: "the signature isn't that of the audit key" };
  if (digest.digest.sequence !== sequence)
    return { sequence, problem: `the object holds the digest ${digest.digest.sequence}` };
  return { sequence, digest, packed: await objects.get(digest.digest.entries.key) };
}

/** Returns a digest that is in order, with its entries, or what is wrong with it. */
function checkDigest(
  read: NonNullable<Awaited<ReturnType<typeof readDigest>>>,
  last: VerifiedDigest | undefined,
  expiry: Expiry,
): { readonly digest: DigestText; readonly entries: readonly Entry[] } | string {
  if ('problem' in read) return read.problem;
  const { digest, packed } = read;
  const { entries } = digest.digest;
  const gap = checkPosition(digest.digest, last, expiry);
  if (gap !== undefined) return gap;
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
  last: VerifiedDigest | undefined,
  expiry: Expiry,
): string | undefined {
  if (sequence === (last?.sequence ?? 0) + 1) {
    if (previous === (last?.hash ?? null)) return undefined;
    return "the digest doesn't follow the one before: one of them was changed";
  }
  // Those before the missing one are older, and have expired, too.
  if (hasExpired(previousAt, expiry)) return undefined;
  if (last === undefined) return 'the digest before is missing, and has not expired';
  return `the digest ${last.sequence + 1} is missing`;
}

/**
 * Returns whether an object has expired.
 * @param at when it was made; null if there was none
 */
export function hasExpired(at: string | null, { keptDays, now }: Expiry): boolean {
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

/** Returns the start of the day, in epoch milliseconds, on which the entries with this key were written. Undefined for other keys. */
export function readDay(key: string): number | undefined {
  const day = /\/entries\/(\d{4}-\d{2}-\d{2})\//.exec(key)?.[1];
  return day === undefined ? undefined : Date.parse(day);
}

/** Compares the last digest in the bucket with the head. The object of a head that isn't settled may not be written yet. */
function checkEnd(last: VerifiedDigest | undefined, { head, from, ...expiry }: VerifyOptions): string | undefined {
  if (head === undefined) return last === undefined ? undefined : 'the table has no head of the chain';
  const missing = head.digest.sequence - (last?.sequence ?? 0);
  if (from !== undefined && head.digest.sequence < from.sequence)
    return `the head is ${head.digest.sequence}, but ${from.sequence} was verified before`;
  if (missing > 0 && hasExpired(head.digest.at, expiry)) return undefined;
  if (missing > 0 && !head.isSettled && checkPosition(head.digest, last, expiry) === undefined) return undefined;
  if (missing > 0) return `the digest is missing: the head is ${head.digest.sequence}`;
  // A digest may have been added since the head was read.
  if (missing === 0 && last?.hash !== hashText(head.text)) return 'the last digest differs from the head';
  return undefined;
}

/** Returns the sequence number in the key of a chain's digest; undefined for any other key. */
function readSequence(chain: number, name: string): number | undefined {
  const sequence = Number(/(\d+)\.json$/.exec(name)?.[1]);
  return name === getDigestKey({ chain, sequence }) ? sequence : undefined;
}

/** Maps items in their order, and begins with up to `limit` of them before their results are asked for. */
async function* mapAhead<Item, Result>(
  items: AsyncIterable<Item>,
  limit: number,
  run: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const running: Promise<Result>[] = [];
  for await (const item of items) {
    const result = run(item);
    // A failure is thrown in its turn, or never if an earlier one ends the iteration.
    result.catch(() => {});
    running.push(result);
    const first = running.length < limit ? undefined : running.shift();
    if (first !== undefined) yield await first;
  }
  for (const result of running) yield await result;
}

function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}
