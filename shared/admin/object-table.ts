import * as v from 'valibot';
import type { ORGANIZATION } from '../access/principal.ts';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { deleteItem, getItem, putItem, queryItems, type Table } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import { abbreviateId, newId } from '../core/ids.ts';
import { omitUndefined } from '../core/objects.ts';

/** What owns an object: the organization, or the project with this id. */
export type Owner = typeof ORGANIZATION | `project#${string}`;

/** Returns the owner of a project's objects. */
export function toProjectOwner(projectId: string): Owner {
  return `project#${projectId}`;
}

/** An object of the administration API. Its other fields are those of its type. */
export interface AdminObject {
  readonly id: string;
  /** Epoch seconds. */
  readonly createdAt: number;
}

/** How the objects of a type are stored. */
export interface ObjectType<T extends AdminObject> {
  /** The type's name in the table and in errors, in OpenAI's spelling: `service_account`. */
  readonly type: string;
  /** Checks what was stored. Unknown fields are dropped. */
  readonly schema: v.GenericSchema<unknown, T>;
}

/** The part of a list that a request asks for. */
export interface PageQuery {
  readonly newestFirst: boolean;
  /** From 0. A page without objects has no cursor for the next one. */
  readonly limit: number;
  /** The id of the object that precedes the page. */
  readonly after?: string;
  /** The id of the object that follows the page. */
  readonly before?: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** True if there are more objects in the direction of the query: after the page, or with `before` alone before it. */
  readonly hasMore: boolean;
}

/** The stored objects of one type. Methods throw DynamoDB's errors, and LambentError `record_unreadable`. */
export interface Collection<T extends AdminObject> {
  /** Stores a new object. Returns false, and writes nothing, if the owner has an object with its id. */
  create(owner: Owner, object: T): Promise<boolean>;
  /** Returns undefined if there is no such object. */
  find(owner: Owner, id: string): Promise<T | undefined>;
  /** Like `find`. @throws LambentError `not_found` */
  get(owner: Owner, id: string): Promise<T>;
  /** Returns a page of objects, ordered by id: those with ids of `createObjectId` in the order of their creation. */
  list(owner: Owner, query: PageQuery, matches?: (object: T) => boolean): Promise<Page<T>>;
  /** Yields all objects, ordered by id. */
  listAll(owner: Owner): AsyncGenerator<T>;
  /**
   * Replaces an object by `change` of it, and returns the new version. Repeats both if another request wrote it meanwhile.
   * @throws LambentError `not_found`, or `overloaded` after eight attempts
   */
  update(owner: Owner, id: string, change: (object: T) => T | Promise<T>): Promise<T>;
  /** Stores an object whether or not the owner has one with its id. */
  put(owner: Owner, object: T): Promise<void>;
  /** Returns false if there is no such object. */
  delete(owner: Owner, id: string): Promise<boolean>;
}

/** Creates an id whose order is that of the creation: `proj_` and 28 hexadecimal digits. */
export function createObjectId(prefix: string, now: number): string {
  return `${prefix}_${now.toString(16).padStart(12, '0')}${newId(16)}`;
}

/** Returns the error for an object that doesn't exist. */
export function objectNotFoundError(type: string, id: string): LambentError {
  return new LambentError('not_found', `No ${type.replaceAll('_', ' ')} found with id '${abbreviateId(id)}'.`);
}

const ATTEMPTS = 8;

/** True if an id that a caller sent fits into a key of DynamoDB, which has at most 1,024 bytes. */
export function isKeyText(id: string): boolean {
  return Buffer.byteLength(id) <= 512;
}

/** Creates the collection of a type in the table. An object is one item: owner, type and id are its key. */
export function createCollection<T extends AdminObject>(table: Table, { type, schema }: ObjectType<T>): Collection<T> {
  const toKey = (owner: Owner, id: string): Item => marshall({ pk: owner, sk: `${type}#${id}` });
  const toItem = (owner: Owner, object: T, version: string): Item => ({
    ...toKey(owner, object.id),
    ...marshall({ version, json: JSON.stringify(object) }),
  });
  const parseItem = (item: Item): T => {
    const { sk, json } = unmarshall(item);
    const result = v.safeParse(schema, JSON.parse(String(json)));
    if (result.success) return result.output;
    throw new LambentError('record_unreadable', `The object ${String(sk)} is invalid.`);
  };
  const find = async (owner: Owner, id: string): Promise<T | undefined> => {
    if (!isKeyText(id)) return undefined;
    const item = await getItem(table, toKey(owner, id));
    return item && parseItem(item);
  };
  /** Yields the objects between two ids, without these. */
  async function* query(owner: Owner, { after, before, newestFirst }: Omit<PageQuery, 'limit'>): AsyncGenerator<T> {
    const [low, high] = newestFirst ? [before, after] : [after, before];
    // `$` is the character that follows `#`.
    const values = {
      ':pk': owner,
      ':low': `${type}#${low ?? ''}`,
      ':high': high === undefined ? `${type}$` : `${type}#${high}`,
    };
    // DynamoDB refuses a range whose end precedes its beginning.
    if (Buffer.compare(Buffer.from(values[':low']), Buffer.from(values[':high'])) > 0) return;
    const where = 'pk = :pk AND sk BETWEEN :low AND :high';
    for await (const item of queryItems(table, { where, values: marshall(values), newestFirst })) {
      const id = String(unmarshall(item)['sk']).slice(type.length + 1);
      if (id !== after && id !== before) yield parseItem(item);
    }
  }

  return {
    find,
    create: (owner, object) =>
      putItem(table, toItem(owner, object, newId(16)), { condition: 'attribute_not_exists(pk)' }),

    async get(owner, id) {
      const object = await find(owner, id);
      if (object === undefined) throw objectNotFoundError(type, id);
      return object;
    },

    async list(owner, { newestFirst, limit, after, before }, matches = () => true) {
      // The page before an object ends with it, so it is read backwards.
      const isBackwards = before !== undefined && after === undefined;
      const range = isBackwards ? { newestFirst: !newestFirst, after: before } : { newestFirst, after, before };
      const items: T[] = [];
      for await (const object of query(owner, omitUndefined(range))) {
        if (!matches(object)) continue;
        if (items.length === limit) return { items: isBackwards ? items.reverse() : items, hasMore: true };
        items.push(object);
      }
      return { items: isBackwards ? items.reverse() : items, hasMore: false };
    },

    listAll: (owner) => query(owner, { newestFirst: false }),

    async update(owner, id, change) {
      if (!isKeyText(id)) throw objectNotFoundError(type, id);
      for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
        const item = await getItem(table, toKey(owner, id));
        if (item === undefined) throw objectNotFoundError(type, id);
        const changed = await change(parseItem(item));
        const isWritten = await putItem(table, toItem(owner, changed, newId(16)), {
          condition: 'version = :version',
          values: marshall({ ':version': unmarshall(item)['version'] }),
        });
        if (isWritten) return changed;
      }
      throw new LambentError('overloaded', `Other requests kept changing the ${type} ${id}.`);
    },

    async put(owner, object) {
      await putItem(table, toItem(owner, object, newId(16)));
    },

    delete: async (owner, id) =>
      isKeyText(id) && (await deleteItem(table, toKey(owner, id), { condition: 'attribute_exists(pk)' })),
  };
}
