import { DynamoDBServiceException } from '@aws-sdk/client-dynamodb';
import {
  comparePositions,
  createMemoryStore,
  type Entry,
  type IndexPosition,
  placeOf,
} from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { Heap } from '../heap.ts';
import type { VirtualTime } from '../virtual-time.ts';

export interface IndexModelOptions {
  /** Chooses each write's lag. */
  readonly random: () => number;
  /** The index shows a write after 0 to this many milliseconds. Default: `MAX_LAG_MS`. */
  readonly maxLagMs?: number;
  /** Shards of each partition of the index. Default: 1. */
  readonly shards?: number;
}

export interface IndexModel {
  readonly store: JobStore;
  /** The table's entries, with all writes. */
  readonly entries: ReadonlyMap<string, Entry>;
  /** Begins or ends an outage, in which every request fails. */
  setAvailable(isAvailable: boolean): void;
  isAvailable(): boolean;
}

/** The methods of the store that read the index. All others read and write the table. */
const INDEX_READS: ReadonlySet<PropertyKey> = new Set<keyof JobStore>(['list', 'count']);
/** The longest lag, unless another is asked for. */
export const MAX_LAG_MS = 5_000;

/**
 * Creates the jobs' table on virtual time: the store in memory, whose index is eventually consistent as DynamoDB's global
 * secondary indexes are. A write reaches the table at once and the index later. The writes of one item reach it in order;
 * those of different items may not.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html
 */
export function createIndexModel(
  time: VirtualTime,
  { random, maxLagMs = MAX_LAG_MS, shards = 1 }: IndexModelOptions,
): IndexModel {
  const indexed = new LaggingEntries(time, () => random() * maxLagMs);
  const table = createMemoryStore(time.now, indexed.table, { shards });
  const index = createMemoryStore(time.now, indexed.index, {
    shards,
    readPartition: (partition) => indexed.index.readPartition(partition),
  });
  let isAvailable = true;
  const store = new Proxy(table, {
    get(target, name) {
      const isIndexRead = INDEX_READS.has(name);
      const member: unknown = Reflect.get(isIndexRead ? index : target, name);
      if (typeof member !== 'function') return member;
      return async (...parameters: unknown[]) => {
        if (!isAvailable) throw createOutageError();
        if (isIndexRead) indexed.applyDue();
        return Reflect.apply(member, target, parameters);
      };
    },
  });
  return {
    store,
    entries: indexed.table,
    setAvailable(available) {
      isAvailable = available;
    },
    isAvailable: () => isAvailable,
  };
}

interface PendingWrite {
  readonly at: number;
  readonly order: number;
  readonly key: string;
  /** Undefined if the entry was removed. */
  readonly entry: Entry | undefined;
}

/** The table's entries, and a copy of them that lags. */
class LaggingEntries {
  readonly index = new PartitionedEntries();
  readonly table: Map<string, Entry>;
  readonly #time: VirtualTime;
  readonly #pending = new Heap<PendingWrite>((a, b) => a.at < b.at || (a.at === b.at && a.order < b.order));
  /** When the last write of an entry reaches the index. */
  readonly #lastAt = new Map<string, number>();
  readonly #chooseLagMs: () => number;
  #writes = 0;

  constructor(time: VirtualTime, chooseLagMs: () => number) {
    this.#time = time;
    this.#chooseLagMs = chooseLagMs;
    this.table = new ObservedMap((key, entry) => this.#write(key, entry));
  }

  /** Brings the index to the state that it has by now. */
  applyDue(): void {
    const now = this.#time.now();
    for (let next = this.#pending.peek(); next !== undefined && next.at <= now; next = this.#pending.peek()) {
      this.#pending.pop();
      if (next.entry === undefined) this.index.delete(next.key);
      else this.index.set(next.key, next.entry);
    }
  }

  #write(key: string, entry: Entry | undefined): void {
    const at = Math.max(this.#lastAt.get(key) ?? 0, this.#time.now() + this.#chooseLagMs());
    this.#lastAt.set(key, at);
    this.#pending.push({ at, order: this.#writes++, key, entry });
  }
}

/** Entries that are also held by partition, because a scan of all for each query takes most of a long run's time. */
class PartitionedEntries extends Map<string, Entry> {
  readonly #partitions = new Map<string, Map<string, IndexPosition>>();
  /** Sorted positions of the partitions that have not changed since they were read. */
  readonly #sorted = new Map<string, readonly IndexPosition[]>();

  readPartition(partition: string): readonly IndexPosition[] {
    const known = this.#sorted.get(partition);
    if (known !== undefined) return known;
    const sorted = [...(this.#partitions.get(partition)?.values() ?? [])].sort(comparePositions);
    this.#sorted.set(partition, sorted);
    return sorted;
  }

  override set(key: string, entry: Entry): this {
    this.#remove(key);
    const { duePartition, dueAt } = placeOf(entry);
    if (duePartition !== undefined && dueAt !== undefined) {
      const positions = this.#partitions.get(duePartition) ?? new Map<string, IndexPosition>();
      this.#partitions.set(duePartition, positions.set(key, { key, dueAt }));
      this.#sorted.delete(duePartition);
    }
    return super.set(key, entry);
  }

  override delete(key: string): boolean {
    this.#remove(key);
    return super.delete(key);
  }

  #remove(key: string): void {
    const entry = this.get(key);
    const partition = entry && placeOf(entry).duePartition;
    if (partition === undefined) return;
    this.#partitions.get(partition)?.delete(key);
    this.#sorted.delete(partition);
  }
}

/** A map that reports its changes. */
class ObservedMap extends Map<string, Entry> {
  readonly #onChange: (key: string, entry: Entry | undefined) => void;

  constructor(onChange: (key: string, entry: Entry | undefined) => void) {
    super();
    this.#onChange = onChange;
  }

  override set(key: string, entry: Entry): this {
    super.set(key, entry);
    this.#onChange(key, entry);
    return this;
  }

  override delete(key: string): boolean {
    const wasThere = super.delete(key);
    if (wasThere) this.#onChange(key, undefined);
    return wasThere;
  }
}

/** Creates an error as the SDK throws it. */
export function createOutageError(): DynamoDBServiceException {
  return new DynamoDBServiceException({
    name: 'InternalServerError',
    message: 'Internal server error',
    $fault: 'server',
    $metadata: { httpStatusCode: 500, attempts: 1 },
  });
}
