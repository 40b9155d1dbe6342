import { getPrincipalKind, type PrincipalKind } from '../access/principal-kind.ts';
import type { HttpRequest } from '../access/route.ts';
import type { Table } from '../aws/table.ts';
import { formatDollars } from '../inference/cost.ts';
import { invalidValueError } from '../openai/validation.ts';
import { readUsageReport, type UsageBucket, type UsageQuery } from '../usage/report.ts';
import { BUCKET_WIDTHS, type BucketWidth, type UsageKey, type UsageKind, type UsageSums } from '../usage/usage-row.ts';
import { encodeCsv, wantsCsv } from './csv.ts';
import { readList, readNumber } from './query.ts';

/** What the routes of the usage depend on. */
export interface UsageApi {
  /** The usage table. */
  readonly usage: Table;
  /** Returns the time in epoch milliseconds. */
  readonly now: () => number;
}

/** The default and the largest number of buckets of a page. */
const LIMITS: Readonly<Record<BucketWidth, readonly [number, number]>> = {
  '1m': [60, 1_440],
  '1h': [24, 168],
  '1d': [7, 31],
};
const COST_LIMITS = [7, 180] as const;

/** Returns a function that returns the caller's id if it is of a kind, or else an empty text. */
const readCaller =
  (kind: PrincipalKind) =>
  ({ keyId }: UsageKey): string =>
    getPrincipalKind(keyId) === kind ? keyId : '';

/** How usage is grouped and filtered, by the names of OpenAI's API, which has no service accounts and senders here. */
const FIELDS: Readonly<Record<string, (key: UsageKey) => string>> = {
  project_id: ({ project }) => project,
  api_key_id: readCaller('api_key'),
  model: ({ model }) => model,
  service_tier: ({ tier }) => tier || 'default',
  batch: () => 'false',
  user_id: readCaller('user'),
  service_account_id: readCaller('service_account'),
  sender_id: readCaller('sender'),
  line_item: ({ kind, model, tier }) =>
    [model, ...(tier === '' ? [] : [tier]), ...(kind === 'estimated' ? [kind] : [])].join(', '),
  api_source: () => 'unlabeled',
};
const CALLERS = ['user_id', 'api_key_id', 'service_account_id', 'sender_id'];
const SIMPLE = ['project_id', ...CALLERS, 'model'];
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  completions: [...SIMPLE, 'batch', 'service_tier', 'api_source'],
  embeddings: SIMPLE,
  moderations: SIMPLE,
  costs: ['project_id', ...CALLERS, 'line_item', 'api_source'],
};

/** Usage that a deployment doesn't have: each has empty buckets. */
const ABSENT = [
  ...['audio_speeches', 'audio_transcriptions', 'code_interpreter_sessions', 'decisions', 'file_search_calls'],
  ...['images', 'vector_stores', 'web_search_calls'],
] as const;

/** Creates the routes of OpenAI's usage and costs. With `Accept: text/csv` or `format=csv` they respond with CSV. */
export function createUsageRoutes(api: UsageApi) {
  const createUsageRoute = (kind: UsageKind) => createRoute(api, kind, (sums) => encodeUsage(kind, sums));
  const absent = ABSENT.map((name) => [`GET /v1/organization/usage/${name}`, createRoute(api, undefined, () => ({}))]);
  return {
    'GET /v1/organization/usage/completions': createUsageRoute('completions'),
    'GET /v1/organization/usage/embeddings': createUsageRoute('embeddings'),
    'GET /v1/organization/usage/moderations': createUsageRoute('moderations'),
    'GET /v1/organization/costs': createRoute(api, 'costs', encodeCosts),
    ...(Object.fromEntries(absent) as Record<
      `GET /v1/organization/usage/${(typeof ABSENT)[number]}`,
      UsageRoute<object>
    >),
  };
}

/** @param isExact true for amounts as decimal text, which a JSON number can't always hold */
type Encode<T> = (sums: UsageSums, isExact: boolean) => T;

type UsageRoute<T> = ReturnType<typeof createRoute<T>>;

/** @param kind what the route reports; undefined for what this deployment never uses */
function createRoute<T>({ usage, now }: UsageApi, kind: UsageKind | 'costs' | undefined, encode: Encode<T>) {
  return {
    async run(request: HttpRequest) {
      const grouped = readGroups(request, kind);
      const query = parseQuery(request, kind, grouped, now());
      const { buckets, next } = await readUsageReport(usage, query);
      const hasMore = next !== undefined;
      const isCsv = wantsCsv(request);
      const encodeGroups = ({ groups }: UsageBucket<string>) =>
        groups.map(({ fields, sums }) => ({ ...encode(sums, isCsv), ...encodeFields(fields) }));
      if (isCsv) {
        const rows = buckets.flatMap((bucket) =>
          encodeGroups(bucket).map((result) => ({ start_time: bucket.start, end_time: bucket.end, ...result })),
        );
        return {
          frames: yieldText(encodeCsv(rows)),
          headers: { 'content-type': 'text/csv; charset=utf-8', ...(hasMore && { 'x-next-page': String(next) }) },
        };
      }
      const data = buckets.map((bucket) => ({
        ...{ object: 'bucket' as const, start_time: bucket.start, end_time: bucket.end },
        results: encodeGroups(bucket),
      }));
      return { json: { object: 'page' as const, data, has_more: hasMore, next_page: hasMore ? String(next) : null } };
    },
  };
}

/** A response that is no JSON is sent as a stream. */
async function* yieldText(text: string): AsyncGenerator<string> {
  yield text;
}

function readGroups({ query }: HttpRequest, kind: UsageKind | 'costs' | undefined): readonly string[] {
  const names = readList(query, 'group_by') ?? [];
  const known = kind === undefined ? undefined : GROUPS[kind];
  const unknown = names.find((name) => known !== undefined && !known.includes(name));
  if (unknown !== undefined)
    throw invalidValueError('group_by', `Invalid 'group_by': '${unknown}' is not one of ${known?.join(', ')}.`);
  return names;
}

function parseQuery(
  { query }: HttpRequest,
  kind: UsageKind | 'costs' | undefined,
  grouped: readonly string[],
  now: number,
): UsageQuery<string> {
  const width = (query['bucket_width'] ?? '1d') as BucketWidth;
  if (!(kind === 'costs' ? ['1d'] : BUCKET_WIDTHS).includes(width)) {
    throw invalidValueError('bucket_width', `Invalid 'bucket_width': '${width}' is not supported.`);
  }
  const [usual, most] = kind === 'costs' ? COST_LIMITS : LIMITS[width];
  const start = readNumber(query, 'start_time');
  if (start === undefined) throw invalidValueError('start_time', "Missing required parameter: 'start_time'.");
  const end = readNumber(query, 'end_time') ?? Number.POSITIVE_INFINITY;
  if (end <= start) throw invalidValueError('end_time', "Invalid 'end_time': Expected a time after 'start_time'.");
  const limit = readNumber(query, 'limit') ?? usual;
  if (limit < 1 || limit > most)
    throw invalidValueError('limit', `Invalid 'limit': Expected an integer from 1 to ${most}.`);
  const filters = [
    ...[...SIMPLE, 'line_item'].map((field) => createFilter(field, readList(query, `${field}s`))),
    createFilter('batch', readList(query, 'batch')),
  ];
  return {
    ...{ width, limit, from: readNumber(query, 'page') ?? start },
    until: Math.min(end, Math.floor(now / 1000) + 1),
    matches: (key) => (kind === 'costs' || key.kind === kind) && filters.every((matches) => matches(key)),
    groupBy: (key) => Object.fromEntries(grouped.map((name) => [name, FIELDS[name]?.(key) ?? ''])),
  };
}

function createFilter(field: string, values: readonly string[] | undefined): (key: UsageKey) => boolean {
  return (key) => values === undefined || values.includes(FIELDS[field]?.(key) ?? '');
}

/** A result has all fields; those that it isn't grouped by are null. */
function encodeFields(fields: Readonly<Record<string, string>>): Readonly<Record<string, unknown>> {
  const encoded = Object.entries(fields).map(([name, value]) => [
    name,
    name === 'batch' ? value === 'true' : value || null,
  ]);
  return Object.fromEntries(encoded);
}

const UNGROUPED = { project_id: null, user_id: null, api_key_id: null };

function encodeUsage(kind: UsageKind, sums: UsageSums) {
  const { requests, inputTokens, cachedTokens, cacheWriteTokens, outputTokens } = sums;
  const uncached = inputTokens - cachedTokens - cacheWriteTokens;
  return {
    object: `organization.usage.${kind}.result` as const,
    input_tokens: Number(inputTokens),
    ...(kind === 'completions' && {
      output_tokens: Number(outputTokens),
      input_cached_tokens: Number(cachedTokens),
      input_cache_write_tokens: Number(cacheWriteTokens),
      input_uncached_tokens: Number(uncached),
      ...{ input_audio_tokens: 0, output_audio_tokens: 0 },
      ...{ batch: null, service_tier: null, api_source: null },
    }),
    num_model_requests: Number(requests),
    ...UNGROUPED,
    model: null,
  };
}

function encodeCosts({ picodollars }: UsageSums, isExact: boolean) {
  const dollars = formatDollars(picodollars);
  return {
    object: 'organization.costs.result' as const,
    amount: { value: isExact ? dollars : Number(dollars), currency: 'usd' },
    ...UNGROUPED,
    ...{ line_item: null, api_source: null },
  };
}
