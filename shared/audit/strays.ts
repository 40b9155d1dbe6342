import { getOrCreate } from '../core/get-or-create.ts';
import { formatDay, getChainPrefix, getDigestPrefix, getEntriesPrefix } from './digest.ts';
import { type AuditObjects, DAY_MS, type Expiry, hasExpired, readDay } from './verify.ts';

/** Sorts behind every other character of a key. */
const LAST = '\u{10FFFF}';

/**
 * Finds the objects of a chain that are neither digests nor entries of one, while the chain is verified. Leaves out entries that
 * have expired: their digest may have been removed before them.
 *
 * Entries are listed day by day as the digests proceed, so that memory holds the names of few days. Those of the last two days are
 * listed at the beginning, because entries that are written later have digests that may not be verified.
 */
export class StrayFinder {
  readonly #chain: number;
  readonly #objects: Pick<AuditObjects, 'listKeys'>;
  readonly #expiry: Expiry;
  readonly #prefix: string;
  /** The day of the digest from which the chain is verified. Its entries, and earlier ones, may have digests that are not read. */
  readonly #after: string | undefined;
  /** Names from here on were listed at the beginning. */
  readonly #recentFrom: string;
  /** Listed at the beginning, without a digest so far. */
  readonly #recent = new Set<string>();
  /** Names of entries before `#recentFrom`. */
  readonly #older: AsyncIterator<string>;
  #next: string | undefined;
  /** The days before this one have been compared. */
  #closed = '';
  /** The names to which digests refer, by day. */
  readonly #referred = new Map<string, Set<string>>();
  readonly #strays = new Set<string>();

  private constructor(chain: number, objects: Pick<AuditObjects, 'listKeys'>, expiry: Expiry, after?: string) {
    this.#chain = chain;
    this.#objects = objects;
    this.#expiry = expiry;
    this.#prefix = getEntriesPrefix(chain);
    this.#after = after && `${this.#prefix}${formatDay(Date.parse(after))}/${LAST}`;
    this.#recentFrom = this.#prefix + formatDay(expiry.now() - DAY_MS);
    this.#older = objects.listKeys(this.#prefix, this.#after)[Symbol.asyncIterator]();
  }

  /**
   * Begins to look, before the chain's digests are listed and its head is read: entries are written before their digest.
   * @param after when the digest was made from which the chain is verified, in ISO 8601. Only entries of later days are compared
   */
  static async begin(
    chain: number,
    objects: Pick<AuditObjects, 'listKeys'>,
    expiry: Expiry,
    after?: string,
  ): Promise<StrayFinder> {
    const finder = new StrayFinder(chain, objects, expiry, after);
    const from = [finder.#recentFrom, finder.#after ?? ''].sort().at(-1);
    for await (const name of objects.listKeys(finder.#prefix, from)) finder.#recent.add(name);
    return finder;
  }

  /**
   * Notes that a digest refers to entries. Digests follow each other in the order of their chain.
   * @param at when the digest was made, in ISO 8601
   */
  async refer(key: string, at: string): Promise<void> {
    const day = findDay(key);
    if (!this.#recent.delete(key) && !this.#strays.delete(key) && day !== undefined && day >= this.#closed) {
      if (key < this.#recentFrom) getOrCreate(this.#referred, day, () => new Set()).add(key);
    }
    // Entries are written at most minutes before their digest. Those of earlier days than its eve have had theirs.
    const eve = formatDay(Date.parse(at) - DAY_MS);
    if (eve > this.#closed) await this.#close(eve);
  }

  /**
   * Returns the entries that no digest refers to, once every digest was noted: they are forged, or of a recorder that has not ended yet
   * or has failed.
   */
  async finish(): Promise<string[]> {
    await this.#close(LAST);
    const isKept = (name: string): boolean => {
      const day = readDay(name);
      return day === undefined || !hasExpired(new Date(day).toISOString(), this.#expiry);
    };
    return [...this.#strays, ...this.#recent].filter(isKept);
  }

  /** Returns the objects that are neither below the chain's digests nor below its entries. No recorder writes such objects. */
  async findOthers(): Promise<string[]> {
    const chain = getChainPrefix(this.#chain);
    const others: string[] = [];
    let after: string | undefined;
    // Skips each of the two folders: the larger part of the bucket.
    for (const folder of [getDigestPrefix(this.#chain), this.#prefix, undefined]) {
      for await (const name of this.#objects.listKeys(chain, after)) {
        if (after !== undefined && name.startsWith(after.slice(0, -LAST.length))) continue;
        if (folder !== undefined && name >= folder) break;
        others.push(name);
      }
      after = folder + LAST;
    }
    return others;
  }

  /** Compares the entries of the days before `limit` with those to which digests refer. */
  async #close(limit: string): Promise<void> {
    const end = [this.#prefix + limit, this.#recentFrom].sort()[0] ?? '';
    for (;;) {
      this.#next ??= await this.#take();
      if (this.#next === undefined || this.#next >= end) break;
      if (!this.#referred.get(findDay(this.#next) ?? '')?.has(this.#next)) this.#strays.add(this.#next);
      this.#next = undefined;
    }
    this.#closed = limit;
    for (const day of this.#referred.keys()) if (day < limit) this.#referred.delete(day);
  }

  async #take(): Promise<string | undefined> {
    const { done, value } = await this.#older.next();
    return done ? undefined : value;
  }
}

/** Returns the day on which entries were written, as in their key; undefined for other keys. */
function findDay(key: string): string | undefined {
  const day = readDay(key);
  return day === undefined || Number.isNaN(day) ? undefined : formatDay(day);
}
