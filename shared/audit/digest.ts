import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { LogBatch } from '../lambda/log-event.ts';

/**
 * Number of chains. A digest follows the one before it, so that one chain takes some twenty batches a second. Batches of one log
 * stream always go to the same chain; a changed number would let a batch that is delivered again be recorded twice.
 */
export const CHAINS = 8;

const digestSchema = v.object({
  version: v.literal(1),
  chain: v.number(),
  /** 1 for the first digest of the chain. */
  sequence: v.number(),
  /** SHA-256 of the text of the digest before. */
  previous: v.nullable(v.string()),
  /** When the digest before was made. Objects expire, so that a chain in the bucket may begin later. */
  previousAt: v.nullable(v.string()),
  at: v.string(),
  /** The id of the batch of log lines. */
  batch: v.string(),
  logGroup: v.string(),
  logStream: v.string(),
  entries: v.object({
    /** The object's key. */
    key: v.string(),
    count: v.number(),
    /** SHA-256 of the lines, before they were compressed. */
    sha256: v.string(),
  }),
});

/** A link of a chain: what was recorded of one batch of log lines, and what was recorded before. */
export type Digest = v.InferOutput<typeof digestSchema>;

/** A digest as it is stored. Its text is kept, because the hash and the signature are those of the text. */
export interface DigestText {
  readonly text: string;
  readonly digest: Digest;
}

/** Returns the digest that follows another on a chain. */
export function makeDigest(
  { id, logGroup, logStream }: LogBatch,
  entries: Digest['entries'],
  previous: DigestText | undefined,
  now: number,
): DigestText {
  const digest: Digest = {
    version: 1,
    chain: findChain({ logGroup, logStream }),
    sequence: (previous?.digest.sequence ?? 0) + 1,
    previous: previous === undefined ? null : hashText(previous.text),
    previousAt: previous?.digest.at ?? null,
    at: new Date(now).toISOString(),
    ...{ batch: id, logGroup, logStream, entries },
  };
  return { text: JSON.stringify(digest), digest };
}

/**
 * Parses the text of a digest.
 * @throws SyntaxError, ValiError if it is invalid
 */
export function parseDigest(text: string): DigestText {
  return { text, digest: v.parse(digestSchema, JSON.parse(text)) };
}

/** Returns the chain of a log stream. */
export function findChain({ logGroup, logStream }: Pick<LogBatch, 'logGroup' | 'logStream'>): number {
  return (
    createHash('sha256')
      .update(JSON.stringify([logGroup, logStream]))
      .digest()
      .readUInt32BE() % CHAINS
  );
}

/** Returns the SHA-256 of a text, as hexadecimal digits. */
export function hashText(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Returns the prefix of the keys of all objects of a chain. */
export function getChainPrefix(chain: number): string {
  return `audit/${chain}/`;
}

/** Returns the prefix of the keys of a chain's digests. They sort by their sequence numbers. */
export function getDigestPrefix(chain: number): string {
  return `${getChainPrefix(chain)}digests/`;
}

/** Returns the key of the object that holds a digest. */
export function getDigestKey({ chain, sequence }: Pick<Digest, 'chain' | 'sequence'>): string {
  return `${getDigestPrefix(chain)}${String(sequence).padStart(12, '0')}.json`;
}

/** Returns the prefix of the keys of a chain's entries. They sort by the days on which they were written. */
export function getEntriesPrefix(chain: number): string {
  return `${getChainPrefix(chain)}entries/`;
}

/** Returns the key of the object that holds the entries of a batch that is recorded at `now`. */
export function getEntriesKey(chain: number, batch: string, now: number): string {
  return `${getEntriesPrefix(chain)}${formatDay(now)}/${batch}.ndjson.gz`;
}

/** Returns the day of a time, in epoch milliseconds, as in the keys of entries: `YYYY-MM-DD` in UTC. */
export function formatDay(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

const signedSchema = v.object({
  /** The text of the digest. */
  digest: v.string(),
  /** Of the text: ECDSA on the curve P-256 with SHA-256, DER, base64. */
  signature: v.string(),
  /** The ARN of the key. */
  key: v.string(),
});

/** The content of the object that holds a digest. */
export type SignedDigest = v.InferOutput<typeof signedSchema>;

/**
 * Parses the content of an object that holds a digest.
 * @throws SyntaxError, ValiError if it is invalid
 */
export function parseSignedDigest(bytes: Uint8Array): SignedDigest {
  return v.parse(signedSchema, JSON.parse(Buffer.from(bytes).toString('utf8')));
}
