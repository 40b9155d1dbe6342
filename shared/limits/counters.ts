/** The counters of one item, by name. All are whole numbers; money is in picodollars, which exceed a double's precision. */
export type Counters = Readonly<Record<string, bigint>>;

/**
 * The most counters that one write removes. DynamoDB refuses a write whose update or condition has more than 4,096 bytes, or more
 * than 300 operators.
 */
export const MAX_REMOVED = 64;

/** A conditional change of one item, as data: `DynamoDBCounters` writes it, and a test's memory does the same. */
export interface CounterWrite {
  readonly pk: string;
  readonly add?: Counters;
  readonly set?: Counters;
  readonly remove?: readonly string[];
  /** The write is made only if each of these is absent or at most the value. */
  readonly atMost?: Counters;
  /** … if each of these exists and is at least the value. */
  readonly atLeast?: Counters;
  /** … if each of these has the value, or is absent for `undefined`. */
  readonly equal?: Readonly<Record<string, bigint | undefined>>;
}

export interface CounterResult {
  readonly isWritten: boolean;
  /** The counters after the write, or those for which a condition doesn't hold. */
  readonly counters: Counters;
}

/** Parts of equal size in which the table of limits is listed. */
export const LIST_PARTS = 16;

/** The table of limits. */
export interface CounterStore {
  /** Makes the write once, or not at all: it is not repeated if it may have been made. Throws the table's errors. */
  write(write: CounterWrite): Promise<CounterResult>;
  /** Returns the counters of an item; none if it doesn't exist. */
  read(pk: string): Promise<Counters>;
  /**
   * Yields the items whose partition keys begin with one of `prefixes`. What follows a `*` in a prefix may be anywhere in the key.
   * @param firstPart the part of the table, below `LIST_PARTS`, that is listed first. The others follow it. Default: 0
   */
  list(
    prefixes: readonly string[],
    firstPart?: number,
  ): AsyncIterable<{ readonly pk: string; readonly counters: Counters }>;
}
