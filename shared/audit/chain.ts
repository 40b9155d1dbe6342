import type { LogBatch } from '../lambda/log-event.ts';
import {
  type Digest,
  type DigestText,
  findChain,
  getDigestKey,
  getEntriesKey,
  hashText,
  makeDigest,
} from './digest.ts';
import { type Entry, encodeEntries, packEntries, parseEntries, unpackEntries } from './entry.ts';

/** The last digest of a chain. */
export interface Head extends DigestText {
  /** True if all that follows from the digest is written: its object, what was added up, and that its batch is recorded. */
  readonly isSettled: boolean;
}

/** Where the state of the chains is kept. Reads are strongly consistent. */
export interface ChainStore {
  readHead(chain: number): Promise<Head | undefined>;
  /** Makes a digest the head of its chain, unless its predecessor isn't the head any more. Returns whether it did. */
  advance(digest: DigestText): Promise<boolean>;
  /** Notes that the head of a chain is settled, if it still has this sequence number. */
  markSettled(digest: Digest): Promise<void>;
  isRecorded(batch: string): Promise<boolean>;
  markRecorded(digest: Digest): Promise<void>;
}

export interface ChainPorts {
  readonly store: ChainStore;
  readonly objects: {
    /** Writes an object, unless it exists. */
    putNew(key: string, bytes: Uint8Array): Promise<void>;
    get(key: string): Promise<Uint8Array | undefined>;
  };
  /** Signs the text of a digest. */
  readonly sign: (text: string) => Promise<{ readonly signature: string; readonly key: string }>;
  /**
   * Adds the entries of a digest to what is computed from them. Called at least once for each digest, and maybe by several
   * recorders at once. A call for a digest has returned before the first for the next one on its chain begins.
   */
  readonly apply: (digest: Digest, entries: readonly Entry[]) => Promise<void>;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<unknown>;
}

/** How long a recorder waits for another one to settle the head before it does so itself, in milliseconds. */
const HELP_AFTER_MS = 3_000;
const POLL_MS = 50;

/**
 * Appends a batch's entries to its chain, exactly once, however often the batch is delivered and wherever a recorder ends.
 *
 * The entries are written first, under the batch's own id. A conditional write makes their digest the head of the chain. Then the
 * digest is *settled*: signed and stored as an object, its entries are applied, and its batch is noted as recorded. No digest
 * follows one that isn't settled; a recorder that finds such a head settles it, because its own recorder may be gone. So a batch
 * that is the head or noted is recorded, and any other isn't.
 */
export async function appendToChain(batch: LogBatch, entries: readonly Entry[], ports: ChainPorts): Promise<void> {
  const { store, objects, now, sleep } = ports;
  const chain = findChain(batch);
  const text = encodeEntries(entries);
  let stored: Digest['entries'] | undefined;
  let waiting: { readonly sequence: number; readonly since: number } | undefined;
  for (;;) {
    const head = await store.readHead(chain);
    if (head !== undefined && !head.isSettled) {
      const { sequence, batch: other } = head.digest;
      if (other === batch.id) return settle(head, ports, entries);
      if (waiting?.sequence !== sequence) waiting = { sequence, since: now() };
      if (now() - waiting.since >= HELP_AFTER_MS) await settle(head, ports, undefined);
      else await sleep(POLL_MS);
      continue;
    }
    // Read after the head: a batch that isn't noted yet was recorded neither before the head nor as the head.
    if (head?.digest.batch === batch.id || (await store.isRecorded(batch.id))) return;
    stored ??= await storeEntries(chain, batch, entries.length, text, objects, now());
    const next = makeDigest(batch, stored, head, now());
    if (await store.advance(next)) return settle(next, ports, entries);
  }
}

async function storeEntries(
  chain: number,
  batch: LogBatch,
  count: number,
  text: string,
  objects: ChainPorts['objects'],
  now: number,
): Promise<Digest['entries']> {
  const key = getEntriesKey(chain, batch.id, now);
  await objects.putNew(key, packEntries(text));
  return { key, count, sha256: hashText(text) };
}

/** @param entries those of the digest; read from their object if undefined */
async function settle(
  { text, digest }: DigestText,
  { store, objects, sign, apply }: ChainPorts,
  entries: readonly Entry[] | undefined,
): Promise<void> {
  const all = entries ?? (await readStoredEntries(digest, objects));
  await Promise.all([
    sign(text).then((signed) =>
      objects.putNew(getDigestKey(digest), Buffer.from(JSON.stringify({ digest: text, ...signed }))),
    ),
    apply(digest, all),
    store.markRecorded(digest),
  ]);
  await store.markSettled(digest);
}

async function readStoredEntries({ entries: { key } }: Digest, objects: ChainPorts['objects']): Promise<Entry[]> {
  const bytes = await objects.get(key);
  // Written before the digest became the head. Only a person can have removed it.
  if (bytes === undefined) throw new Error(`The entries ${key} are missing`);
  return parseEntries(unpackEntries(bytes));
}
