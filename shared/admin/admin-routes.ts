import type * as v from 'valibot';
import type { PolicyAdministration } from '../access/policy-administration.ts';
import type { HttpRequest } from '../access/route.ts';
import { hasScope, type Scope } from '../access/scopes.ts';
import type { Table } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { encodeList, parseListQuery } from '../openai/lists.ts';
import { abbreviate, invalidValueError, listUnknownFields, validate } from '../openai/validation.ts';
import type { TenantKeyTable } from '../vault/key-table.ts';
import type { WrappingKeys } from '../vault/wrapping-key.ts';
import { type AdminObject, type Collection, isKeyText, type Owner, type PageQuery } from './object-table.ts';

/** What the routes of the administration API depend on. */
export interface AdminApi {
  /** The admin table, for `createCollection`. */
  readonly table: Table;
  /** The access table, for keys. */
  readonly access: Table;
  /** What the access table enforces for projects and the account. */
  readonly policies: PolicyAdministration;
  readonly tenantKeys: Pick<TenantKeyTable, 'read'>;
  readonly wrappingKeys: WrappingKeys;
  /** ARN of the deployment's key, which wraps the keys of tenants without an external key. */
  readonly keyId: string;
  /** ARNs of the external keys that the functions may use. */
  readonly externalKeys: readonly string[];
  /** True if each request comes with a client certificate. */
  readonly hasMutualTls: boolean;
  /** True if token issuers may have the address 127.0.0.1. Only the laptop has this. */
  readonly isLoopbackIssuerAllowed: boolean;
  /** The aliases of `models.json`. */
  readonly models: readonly string[];
  /** The names of the moderation models of `models.json`. */
  readonly moderations: readonly string[];
  /** The names of guardrails in `models.json`. */
  readonly guardrails: readonly string[];
  /** The aliases of the setting `replyQueues`. */
  readonly replyQueues: readonly string[];
  /** Returns the time in epoch milliseconds. */
  readonly now: () => number;
}

/** Creates a route that responds with the JSON that `run` returns. */
export function createAdminRoute<T>(run: (request: HttpRequest) => Promise<T>) {
  return { run: async (request: HttpRequest) => ({ json: await run(request) }) };
}

/** Like `createAdminRoute`, for a POST whose body has a schema. By `bodySchema` the route is described in `docs/openapi.json`. */
export function createBodyRoute<S extends v.GenericSchema, T>(
  bodySchema: S,
  run: (request: HttpRequest, body: v.InferOutput<S>) => Promise<T>,
) {
  return { ...createAdminRoute(async (request) => run(request, parseBody(bodySchema, request))), bodySchema };
}

/** Like `createBodyRoute`, for a POST that may have no body. */
export function createOptionalBodyRoute<S extends v.GenericSchema, T>(
  bodySchema: S,
  run: (request: HttpRequest, body: v.InferOutput<S>) => Promise<T>,
) {
  return { ...createBodyRoute(bodySchema, run), bodyOptional: true as const };
}

/** Like `createAdminRoute`, for a POST that may have no body. */
export function createBodilessRoute<T>(run: (request: HttpRequest) => Promise<T>) {
  return { ...createAdminRoute(run), bodyOptional: true as const };
}

/**
 * Returns the body of a request as the schema's type.
 * @throws LambentError as `validate`; `unknown_parameter` for a field that the schema lacks: a misspelt restriction must not
 * be dropped silently
 */
export function parseBody<T extends v.GenericSchema>(schema: T, { body = {} }: HttpRequest): v.InferOutput<T> {
  const output = validate(schema, body);
  const [unknown] = listUnknownFields(body, output);
  if (unknown === undefined) return output;
  const param = abbreviate(unknown);
  throw new LambentError('unknown_parameter', `Unknown parameter: '${param}'.`, { param });
}

/** Lists a page of objects, as the query of the request asks for it: the oldest first, unless it has `order=desc`. */
export async function listObjects<T extends AdminObject, E extends object>(
  { query }: HttpRequest,
  collection: Collection<T>,
  owner: Owner,
  encode: (object: T) => E | Promise<E>,
  matches?: (object: T) => boolean,
) {
  const { items, hasMore } = await collection.list(owner, parsePageQuery(query), matches);
  return encodePage(await Promise.all(items.map(encode)), hasMore, items.at(-1)?.id);
}

/** Encodes a page. Some of OpenAI's lists are continued after `last_id`, others after `next`. */
function encodePage<T extends object>(objects: readonly T[], hasMore: boolean, lastId: string | undefined) {
  return { ...encodeList(objects, hasMore), next: hasMore ? (lastId ?? null) : null };
}

/** Parses `after`, `before`, `limit`, whose range `checkQueries` has checked, and `order`. @throws LambentError `invalid_value` */
export function parsePageQuery({ before, limit = '20', ...query }: Readonly<Record<string, string>>): PageQuery {
  for (const [name, cursor] of Object.entries({ before, after: query['after'] }))
    if (cursor !== undefined && !isKeyText(cursor))
      throw invalidValueError(name, `Invalid '${name}': it is not an id.`);
  return omitUndefined({ ...parseListQuery({ order: 'asc', ...query }), limit: Number(limit), before });
}

/**
 * Checks that the key of a request has a scope besides that of its route.
 * @param reason why the request needs it, for the error: 'because …'
 * @throws LambentError `insufficient_permissions`
 */
export function requireScope({ principal }: HttpRequest, scope: Scope, reason?: string): void {
  if (hasScope(principal.scopes, scope)) return;
  const need = reason === undefined ? '' : `, which it needs ${reason}`;
  throw new LambentError('insufficient_permissions', `This API key lacks the scope \`${scope}\`${need}.`);
}

/** Returns a path parameter of the request's route. */
export function getPathParameter({ pathParameters }: HttpRequest, name: string): string {
  return pathParameters[name] ?? '';
}

/** Lists a page of objects that are in memory, in the order of their ids. */
export function listArray<T extends { readonly id: string }>({ query }: HttpRequest, objects: readonly T[]) {
  const { newestFirst, limit, after, before } = parsePageQuery(query);
  const isBefore = (one: string, other: string) => (newestFirst ? one > other : one < other);
  const range = objects
    .toSorted((one, other) => (isBefore(one.id, other.id) ? -1 : 1))
    .filter(({ id }) => (after === undefined || isBefore(after, id)) && (before === undefined || isBefore(id, before)));
  const isBackwards = before !== undefined && after === undefined;
  const page = isBackwards ? range.slice(Math.max(0, range.length - limit)) : range.slice(0, limit);
  return encodePage(page, range.length > limit, page.at(-1)?.id);
}
