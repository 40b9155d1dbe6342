import { isObject, omitUndefined } from '../core/objects.ts';
import { invalidValueError } from './validation.ts';

/** Paging parameters of a list request. */
export interface ListQuery {
  readonly newestFirst: boolean;
  /** The id of the item that precedes the page. Absent for the first page. */
  readonly after?: string;
  /** 1 to 100. */
  readonly limit: number;
}

/**
 * Parses `order`, `after` and `limit` as OpenAI defines them. The defaults are newest first and 20 items a page.
 * @throws LambentError `invalid_value`
 */
export function parseListQuery({ order = 'desc', after, limit = '20' }: Readonly<Record<string, string>>): ListQuery {
  if (order !== 'asc' && order !== 'desc') {
    throw invalidValueError('order', "Invalid value for 'order'. Supported values are: 'asc' and 'desc'.");
  }
  const count = /^\d{1,4}$/.test(limit) ? Number(limit) : Number.NaN;
  if (!(count >= 1 && count <= 100)) {
    throw invalidValueError('limit', "Invalid 'limit': Expected an integer from 1 to 100.");
  }
  return { newestFirst: order === 'desc', limit: count, ...omitUndefined({ after }) };
}

/** Encodes one page of items as OpenAI's list object. */
export function encodeList<T>(items: readonly T[], hasMore: boolean) {
  return {
    object: 'list' as const,
    data: items,
    first_id: getId(items[0]),
    last_id: getId(items.at(-1)),
    has_more: hasMore,
  };
}

function getId(item: unknown): string | null {
  return isObject(item) && typeof item['id'] === 'string' ? item['id'] : null;
}
