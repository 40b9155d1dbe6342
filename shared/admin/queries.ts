import type { HttpRequest, Route } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { abbreviate, invalidValueError } from '../openai/validation.ts';
import { readNumber } from './query.ts';

/** The numbers of objects that a page of a list may have, as OpenAI documents them. */
export interface PageSizes {
  readonly least: number;
  readonly most: number;
  readonly usual: number;
}

/** The query parameters of a route. */
export interface RouteQuery {
  /** Names; those of lists may also be sent with `[]`. */
  readonly names: readonly string[];
  /** Present for a list. */
  readonly sizes?: PageSizes;
}

const MEDIUM: PageSizes = { least: 1, most: 100, usual: 20 };
const LARGE: PageSizes = { least: 0, most: 1_000, usual: 100 };
const ALL: PageSizes = { least: 0, most: 1_000, usual: 1_000 };

const list = (sizes: PageSizes, ...names: readonly string[]): RouteQuery => ({
  names: ['after', 'before', 'limit', 'order', ...names],
  sizes,
});
const report = (...names: readonly string[]): RouteQuery => ({
  names: [
    ...['start_time', 'end_time', 'bucket_width', 'limit', 'page', 'group_by', 'format'],
    ...['project_ids', 'user_ids', 'api_key_ids', 'service_account_ids', 'sender_ids', 'models', 'batch', ...names],
  ],
});
const EFFECTIVE_AT = ['gt', 'gte', 'lt', 'lte'].map((name) => `effective_at[${name}]`);

const ORGANIZATION = 'GET /v1/organization';
const PROJECT = `${ORGANIZATION}/projects/{project}`;

/** The routes of the administration that have query parameters. Those of OpenAI's client are all here. */
export const QUERIES: Readonly<Record<string, RouteQuery>> = {
  [`${ORGANIZATION}/admin_api_keys`]: list(MEDIUM),
  [`${ORGANIZATION}/projects`]: list(MEDIUM, 'include_archived'),
  [`${PROJECT}/service_accounts`]: list(MEDIUM),
  [`${PROJECT}/api_keys`]: list(MEDIUM, 'owner_project_access'),
  [`${PROJECT}/key_holds`]: list(MEDIUM),
  [`${ORGANIZATION}/senders`]: list(MEDIUM),
  [`${ORGANIZATION}/workload_identity_providers`]: list(MEDIUM),
  [`${ORGANIZATION}/workload_identity_providers/{provider}/federation_rules`]: list(MEDIUM, 'service_account_id'),
  [`${ORGANIZATION}/users`]: list(MEDIUM, 'emails'),
  [`${ORGANIZATION}/groups`]: list(LARGE),
  [`${ORGANIZATION}/groups/{group}/users`]: list(LARGE),
  [`${PROJECT}/users`]: list(MEDIUM),
  [`${PROJECT}/groups`]: list({ ...MEDIUM, least: 0 }),
  [`${PROJECT}/groups/{group}`]: { names: ['group_type'] },
  [`${ORGANIZATION}/roles`]: list(ALL),
  'GET /v1/projects/{project}/roles': list(ALL),
  [`${ORGANIZATION}/users/{user}/roles`]: list(ALL),
  [`${ORGANIZATION}/groups/{group}/roles`]: list(ALL),
  'GET /v1/projects/{project}/users/{user}/roles': list(ALL),
  'GET /v1/projects/{project}/groups/{group}/roles': list(ALL),
  [`${ORGANIZATION}/external_keys`]: list(MEDIUM, 'purpose'),
  [`${ORGANIZATION}/certificates`]: list(MEDIUM),
  [`${ORGANIZATION}/certificates/{certificate}`]: { names: ['include'] },
  [`${PROJECT}/certificates`]: list(MEDIUM),
  [`${PROJECT}/rate_limits`]: list(LARGE),
  [`${ORGANIZATION}/spend_alerts`]: list(MEDIUM),
  [`${PROJECT}/spend_alerts`]: list(MEDIUM),
  [`${ORGANIZATION}/audit_logs`]: {
    sizes: MEDIUM,
    names: [
      ...['after', 'before', 'limit', 'actor_emails', 'actor_ids', 'event_types', 'project_ids', 'resource_ids'],
      ...['tenant_only', ...EFFECTIVE_AT],
    ],
  },
  [`${ORGANIZATION}/usage/completions`]: report(),
  [`${ORGANIZATION}/usage/embeddings`]: report(),
  [`${ORGANIZATION}/usage/moderations`]: report(),
  [`${ORGANIZATION}/usage/audio_speeches`]: report(),
  [`${ORGANIZATION}/usage/audio_transcriptions`]: report(),
  [`${ORGANIZATION}/usage/code_interpreter_sessions`]: report(),
  [`${ORGANIZATION}/usage/decisions`]: report(),
  [`${ORGANIZATION}/usage/file_search_calls`]: report('vector_store_ids'),
  [`${ORGANIZATION}/usage/images`]: report('sizes', 'sources'),
  [`${ORGANIZATION}/usage/vector_stores`]: report(),
  [`${ORGANIZATION}/usage/web_search_calls`]: report('context_levels'),
  [`${ORGANIZATION}/costs`]: report('line_items'),
};

const NO_QUERY: RouteQuery = { names: [] };

/**
 * Returns the routes with a check before each: they throw LambentError `unknown_parameter` for a query parameter that they don't
 * have, because a misspelt filter must not be dropped silently, and `invalid_value` for a page size that the list doesn't have.
 * A list gets its usual page size as `limit` if the request names none.
 */
export function checkQueries<T extends Readonly<Record<string, Route>>>(routes: T): T {
  const entries = Object.entries(routes).map(([name, route]) => [name, checkRoute(route, QUERIES[name] ?? NO_QUERY)]);
  return Object.fromEntries(entries) as T;
}

function checkRoute(route: Route, known: RouteQuery): Route {
  return {
    ...route,
    run: async (request: HttpRequest) => route.run({ ...request, query: checkQuery(request.query, known) }),
  };
}

type Query = HttpRequest['query'];

function checkQuery(query: Query, { names, sizes }: RouteQuery): Query {
  const unknown = Object.keys(query).find((name) => !names.includes(name.replace(/\[\]$/, '')));
  if (unknown !== undefined) {
    const param = abbreviate(unknown);
    const hint = names.length === 0 ? 'This route has none.' : `Supported parameters are: ${names.join(', ')}.`;
    throw new LambentError('unknown_parameter', `Unknown query parameter: '${param}'. ${hint}`, { param });
  }
  if (sizes === undefined) return query;
  const { least, most, usual } = sizes;
  const limit = readNumber(query, 'limit') ?? usual;
  if (limit >= least && limit <= most) return { ...query, limit: String(limit) };
  throw invalidValueError('limit', `Invalid 'limit': Expected an integer from ${least} to ${most}.`);
}
