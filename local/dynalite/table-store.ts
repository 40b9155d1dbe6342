import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClassicLevel } from 'classic-level';
import type sortedBtree from 'sorted-btree';
import { createKeyLock } from './key-lock.ts';

// Node and Vite disagree on what the default import of such a CommonJS module is.
const { default: BTree }: typeof sortedBtree = createRequire(import.meta.url)('sorted-btree');
type Tree = InstanceType<typeof BTree<string, string>>;

type Done = (error: Error | null) => void;

/** A part of the store: the items of a table, an index, a table's tags, or the definitions of all tables. */
interface Section {
  readonly lock: ReturnType<typeof createKeyLock>;
  get(key: string, done: (error: null, value: unknown) => void): void;
  put(key: string, value: unknown, done: Done): void;
  del(key: string, done: Done): void;
  batch(operations: readonly { type: 'put' | 'del'; key: string; value?: unknown }[], done: Done): void;
  createKeyStream(): Readable;
  createValueStream(range?: Range): Readable;
}

interface Range {
  readonly gt?: string;
  readonly gte?: string;
  readonly lt?: string;
  readonly lte?: string;
  readonly reverse?: boolean;
  /** At most so many; -1 for all. */
  readonly limit?: number;
}

/** A change of an entry, in LevelDB's format. */
type Change =
  | { readonly type: 'put'; readonly key: string; readonly value: string }
  | { readonly type: 'del'; readonly key: string };

/** The definition of a table, as far as the store reads it. */
interface TableDefinition {
  readonly TableStatus: string;
}

/**
 * Opens a store for dynalite in place of its own. All entries are in memory, as JSON. With a path, changes are also written to
 * a LevelDB store, in dynalite's own layout: `<section>~<key>`.
 * @returns the methods that dynalite 4.0.0 calls
 * @throws Error of LevelDB if the folder can't be opened, for example while another process uses it
 */
export async function openTableStore(path: string | undefined) {
  const level = path === undefined ? undefined : new ClassicLevel<string, string>(path);
  const log = level === undefined ? undefined : new ChangeLog(level);
  const sections = new Map<string, Entries>();
  const getSection = (name: string): Entries => {
    const found = sections.get(name) ?? new Entries(name, log);
    sections.set(name, found);
    return found;
  };
  if (level !== undefined) {
    for await (const [stored, value] of level.iterator()) {
      const { name, key } = splitStoredKey(stored);
      getSection(name).load(key, value);
    }
  }
  const tables = Object.assign(getSection('table'), { awsAccountId: '000000000000', awsRegion: 'us-east-1' });
  const toIndex = (type: string, table: string, index: string) => `index-${type.toLowerCase()}~${table}~${index}`;
  const definitions = new Map<string, { readonly json: string; readonly definition: TableDefinition }>();

  return {
    options: { createTableMs: 0, updateTableMs: 0, deleteTableMs: 0, maxItemSizeKb: 400, maxItemSize: 400 * 1024 },
    db: {
      close(done: Done): void {
        (log?.close() ?? Promise.resolve()).then(() => done(null), done);
      },
    },
    tableDb: tables,
    getItemDb: (name: string): Section => getSection(`item-${name}`),
    getIndexDb: (type: string, table: string, index: string): Section => getSection(toIndex(type, table, index)),
    getTagDb: (name: string): Section => getSection(`tag-${name}`),
    deleteItemDb: (name: string, done: Done) => getSection(`item-${name}`).clear(done),
    deleteIndexDb: (type: string, table: string, index: string, done: Done) =>
      getSection(toIndex(type, table, index)).clear(done),
    deleteTagDb: (name: string, done: Done) => getSection(`tag-${name}`).clear(done),

    /**
     * Finds a table's definition. With `false`, also one that is being deleted, for the caller to change. A table is created without a
     * delay, but dynalite makes it active by a timer: on a busy machine, a request may come first.
     */
    getTable(name: string, ...[check, callback]: [false, FoundTable] | [FoundTable, undefined?]): void {
      const done = check === false ? callback : check;
      const json = tables.find(name);
      const known = definitions.get(name);
      const definition: TableDefinition | undefined =
        json === undefined ? undefined : check !== false && known?.json === json ? known.definition : JSON.parse(json);
      if (definition === undefined || (check !== false && definition.TableStatus === 'DELETING')) {
        done?.(createNotFoundError(check === false ? `: Table: ${name} not found` : ''));
        return;
      }
      if (check !== false && json !== undefined) definitions.set(name, { json, definition });
      done?.(null, definition);
    },
  };
}

type FoundTable = (error: Error | null, table?: TableDefinition) => void;

function createNotFoundError(detail: string): Error {
  const body = {
    __type: 'com.amazonaws.dynamodb.v20120810#ResourceNotFoundException',
    message: `Requested resource not found${detail}`,
  };
  return Object.assign(new Error(body.message), { name: 'NotFoundError', statusCode: 400, body });
}

/** Sorted entries in memory, whose changes are logged. */
class Entries implements Section {
  readonly lock = createKeyLock();
  readonly #name: string;
  readonly #log: ChangeLog | undefined;
  readonly #entries = new BTree<string, string>(undefined, compareStrings);

  constructor(name: string, log: ChangeLog | undefined) {
    this.#name = name;
    this.#log = log;
  }

  find(key: string): string | undefined {
    return this.#entries.get(key);
  }

  /** Adds an entry that is on disk already. */
  load(key: string, value: string): void {
    this.#entries.set(key, value);
  }

  get(key: string, done: (error: null, value: unknown) => void): void {
    const json = this.#entries.get(key);
    done(null, json === undefined ? undefined : JSON.parse(json));
  }

  put(key: string, value: unknown, done: Done): void {
    const json = JSON.stringify(value);
    this.#entries.set(key, json);
    this.#log?.add({ type: 'put', key: `${this.#name}~${key}`, value: json });
    done(null);
  }

  del(key: string, done: Done): void {
    this.#entries.delete(key);
    this.#log?.add({ type: 'del', key: `${this.#name}~${key}` });
    done(null);
  }

  batch(operations: readonly { type: 'put' | 'del'; key: string; value?: unknown }[], done: Done): void {
    for (const { type, key, value } of operations) {
      if (type === 'put') this.put(key, value, ignore);
      else this.del(key, ignore);
    }
    done(null);
  }

  clear(done: Done): void {
    for (const key of this.#entries.keysArray()) this.del(key, ignore);
    done(null);
  }

  createKeyStream(): Readable {
    return Readable.from(this.#entries.keysArray());
  }

  createValueStream(range: Range = {}): Readable {
    return Readable.from(readValues(this.#entries.clone(), range));
  }
}

function* readValues(tree: Tree, { gt, gte, lt, lte, reverse = false, limit = -1 }: Range): Iterable<unknown> {
  const isBelow = (key: string) => (gte !== undefined && key < gte) || (gt !== undefined && key <= gt);
  const isAbove = (key: string) => (lte !== undefined && key > lte) || (lt !== undefined && key >= lt);
  const [isBefore, isPast] = reverse ? [isAbove, isBelow] : [isBelow, isAbove];
  let left = limit < 0 ? Number.POSITIVE_INFINITY : limit;
  for (const [key, value] of reverse ? tree.entriesReversed(lte ?? lt) : tree.entries(gte ?? gt)) {
    if (isBefore(key)) continue;
    if (isPast(key) || left === 0) return;
    left -= 1;
    yield JSON.parse(value);
  }
}

/** All keys of items and indexes are ASCII, so that this is also the order of their bytes. */
function compareStrings(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Splits a key of LevelDB. No name of a table or an index contains `~`. */
function splitStoredKey(stored: string): { name: string; key: string } {
  const parts = stored.split('~');
  const count = stored.startsWith('index-') ? 3 : 1;
  return { name: parts.slice(0, count).join('~'), key: parts.slice(count).join('~') };
}

function ignore(): void {
  // The change can't fail.
}

/** How long changes wait for others, so that they are written together, in milliseconds. */
const GATHER_MS = 20;

/** Writes changes to LevelDB, in their order and soon after they were made. */
class ChangeLog {
  readonly #level: ClassicLevel<string, string>;
  #waiting: Change[] = [];
  #writing: Promise<void> | undefined;
  #isClosed = false;

  constructor(level: ClassicLevel<string, string>) {
    this.#level = level;
  }

  /** Logs a change. A timer of dynalite may make one after the end, which is ignored. */
  add(change: Change): void {
    if (this.#isClosed) return;
    this.#waiting.push(change);
    this.#writing ??= this.#write();
  }

  /** Writes all changes and closes LevelDB. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#writing;
    await this.#level.close();
  }

  /** Writes until nothing is left. If the disk is full, the process ends with the rejection. */
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      await sleep(GATHER_MS);
      await this.#level.batch(this.#waiting.splice(0));
    }
    this.#writing = undefined;
  }
}
