import type { HttpRequest, Route } from '../access/route.ts';
import type { Table } from '../aws/table.ts';
import { omitUndefined } from '../core/objects.ts';
import { encodeList, parseListQuery } from '../openai/lists.ts';
import { invalidValueError } from '../openai/validation.ts';
import { type AdminObject, type Collection, isKeyText, type Owner, type PageQuery } from './object-table.ts';

/** What the routes of the administration API depend on. */
export interface AdminApi {
  /** The admin table, for `createCollection`. */
  readonly table: Table;
  /** Returns the time in epoch milliseconds. */
  readonly now: () => number;
}

/** Creates a route that responds with the JSON that `run` returns. */
export function adminRoute(run: (request: HttpRequest) => Promise<unknown>): Route {
  return { run: async (request) => ({ json: await run(request) }) };
}

/** Lists a page of objects, as the query of the request asks for it: the oldest first, unless it has `order=desc`. */
export async function listObjects<T extends AdminObject>(
  { query }: HttpRequest,
  collection: Collection<T>,
  owner: Owner,
  encode: (object: T) => object,
  matches?: (object: T) => boolean,
): Promise<object> {
  const { items, hasMore } = await collection.list(owner, parsePageQuery(query), matches);
  return encodeList(items.map(encode), hasMore);
}

/** Parses `after`, `before`, `limit` and `order`. @throws LambentError `invalid_value` */
export function parsePageQuery({ before, ...query }: Readonly<Record<string, string>>): PageQuery {
  if (before !== undefined && query['after'] !== undefined)
    throw invalidValueError('before', "Invalid 'before': it can't be combined with 'after'.");
  for (const name of ['before', 'after'] as const) {
    const cursor = name === 'before' ? before : query['after'];
    if (cursor !== undefined && !isKeyText(cursor))
      throw invalidValueError(name, `Invalid '${name}': it is not an id.`);
  }
  return omitUndefined({ ...parseListQuery({ order: 'asc', ...query }), before });
}

/** Returns a path parameter of the request's route. */
export function getPathParameter({ pathParameters }: HttpRequest, name: string): string {
  return pathParameters[name] ?? '';
}
