import { isObject } from '../../../shared/core/objects.ts';
import type { ApiTarget } from './target.ts';

type Query = Readonly<Record<string, unknown>>;

/** Requests all pages of a list, and returns its objects. @throws Error as `request`, or if a page has no cursor for the next one */
export async function requestPages(target: ApiTarget, path: string, query: Query): Promise<unknown[]> {
  const objects: unknown[] = [];
  for (let after: string | undefined; ; ) {
    const page = await request(target, 'GET', addQuery(path, { limit: 100, after, ...query }));
    if (!isObject(page) || !Array.isArray(page['data'])) return objects;
    objects.push(...page['data']);
    if (page['has_more'] !== true) return objects;
    // Objects without ids, such as the groups of a project, have only `next`; the audit log has only `last_id`.
    const next = page['next'] ?? page['last_id'];
    if (typeof next !== 'string')
      throw new Error(`${target.description}: the list ${path} has another page without a cursor`);
    after = next;
  }
}

/** Requests all pages of a usage report, and returns its buckets. @throws Error as `request` */
export async function requestReport(target: ApiTarget, path: string, query: Query): Promise<unknown[]> {
  const buckets: unknown[] = [];
  for (let page: unknown; ; ) {
    const report = await request(target, 'GET', addQuery(path, { ...query, page }));
    if (!isObject(report) || !Array.isArray(report['data'])) return buckets;
    buckets.push(...report['data']);
    if (report['has_more'] !== true) return buckets;
    page = report['next_page'];
  }
}

/** Requests all pages of a usage report as CSV, and returns their lines under one header. @throws Error as `request` */
export async function requestCsv(target: ApiTarget, path: string, query: Query): Promise<string> {
  let csv = '';
  for (let page: string | null = null; ; ) {
    const response = await send(target, 'GET', addQuery(path, { ...query, format: 'csv', page: page ?? undefined }));
    const text = await response.text();
    // A page without rows has an empty header.
    csv += csv.trim() === '' ? text.trimStart() : text.slice(text.indexOf('\n') + 1);
    page = response.headers.get('x-next-page');
    if (page === null) return csv;
  }
}

/** Returns the rows of a table: the objects of a list, or the results of a report's buckets. */
export function listRows(objects: unknown): Record<string, unknown>[] {
  if (!Array.isArray(objects)) return [];
  return objects.filter(isObject).flatMap((each) => {
    const { object, results, ...bucket } = each;
    if (object !== 'bucket' || !Array.isArray(results)) return [each];
    return results.filter(isObject).map((result) => ({ ...bucket, ...result }));
  });
}

/**
 * Returns the JSON of a response.
 * @param path below `/v1/`
 * @throws Error with the API's message
 */
export async function request(target: ApiTarget, method: string, path: string, body?: object): Promise<unknown> {
  return (await send(target, method, path, body)).json();
}

async function send(target: ApiTarget, method: string, path: string, body: object = {}): Promise<Response> {
  const hasBody = method === 'POST';
  const response = await fetch(`${target.url}/${path}`, {
    method,
    headers: { authorization: `Bearer ${target.adminKey}`, ...(hasBody ? { 'content-type': 'application/json' } : {}) },
    ...(hasBody ? { body: JSON.stringify(body) } : {}),
  }).catch((thrown: unknown) => {
    throw new Error(`${target.description} can't be reached at ${target.url}`, { cause: thrown });
  });
  if (response.ok) return response;
  const message = /"message":\s*"((?:[^"\\]|\\.)*)"/.exec(await response.text())?.[1];
  throw new Error(
    `${target.description}: ${message === undefined ? `status ${response.status}` : JSON.parse(`"${message}"`)}`,
  );
}

function addQuery(path: string, query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
  return `${path}?${parameters}`;
}
