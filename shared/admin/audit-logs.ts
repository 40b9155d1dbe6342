import { ORGANIZATION } from '../access/principal.ts';
import { getPrincipalKind } from '../access/principal-kind.ts';
import type { HttpRequest } from '../access/route.ts';
import { listActs } from '../audit/act-table.ts';
import type { Entry } from '../audit/entry.ts';
import type { Table } from '../aws/table.ts';
import { invalidValueError } from '../openai/validation.ts';
import { readList, readNumber } from './query.ts';

/** What the route of the audit log depends on. */
export interface AuditLogApi {
  /** The usage table, which has the administrative acts. */
  readonly usage: Table;
}

type Query = Readonly<Record<string, string>>;

/** Creates the route that lists administrative acts, the newest first. */
export function createAuditLogRoutes({ usage }: AuditLogApi) {
  const list = {
    async run({ query }: HttpRequest) {
      const limit = readNumber(query, 'limit') ?? 20;
      const [before, after] = [readCursor(query, 'before'), readCursor(query, 'after')];
      const matches = createFilter(query);
      const found: Entry[] = [];
      const times = readTimes(query);
      // `before` alone asks for what precedes an entry in the list: newer entries, the nearest first. With `after`, it is the end of
      // the list: the client sends both when it continues.
      const isBackwards = before !== undefined && after === undefined;
      const range = {
        after: sortPositions([before, ...times.after]).at(-1),
        before: sortPositions([after, ...times.before])[0],
        newestFirst: !isBackwards,
      };
      for await (const entry of listActs(usage, range)) {
        if (matches(entry)) found.push(entry);
        if (found.length > limit) break;
      }
      const page = found.slice(0, limit);
      const data = (isBackwards ? page.reverse() : page).map(encodeAct);
      const [first_id = null, last_id = null] = [data[0]?.id, data.at(-1)?.id];
      return { json: { object: 'list' as const, data, first_id, last_id, has_more: found.length > limit } };
    },
  };
  return { 'GET /v1/organization/audit_logs': list };
}

function createFilter(query: Query): (entry: Entry) => boolean {
  const filters = {
    keyId: readList(query, 'actor_ids'),
    act: readList(query, 'event_types'),
    project: readList(query, 'project_ids'),
    objectId: readList(query, 'resource_ids'),
  };
  const fields = Object.entries(filters) as [keyof typeof filters, readonly string[] | undefined][];
  // Entries have no e-mail address.
  const hasActors = readList(query, 'actor_emails') === undefined;
  return (entry) =>
    hasActors && fields.every(([field, values]) => values === undefined || values.includes(entry[field] ?? ''));
}

type Position = string | undefined;

/** Returns the positions after and before which the acts are that `effective_at` selects. */
function readTimes(query: Query): { readonly after: readonly Position[]; readonly before: readonly Position[] } {
  // `effective_at` is an act's second, without its milliseconds. An act is after the position that is its time alone.
  const readPosition = (name: string, isNextSecond: boolean): Position => {
    const seconds = readNumber(query, `effective_at[${name}]`);
    return seconds === undefined ? undefined : new Date((seconds + Number(isNextSecond)) * 1000).toISOString();
  };
  return {
    after: [readPosition('gt', true), readPosition('gte', false)],
    before: [readPosition('lt', false), readPosition('lte', true)],
  };
}

/** Returns positions in their order, which is that of their texts. */
function sortPositions(positions: readonly Position[]): readonly string[] {
  return positions.filter((position) => position !== undefined).sort();
}

function encodeAct(entry: Entry) {
  const { act = '', objectId, project, details } = entry;
  return {
    id: encodeCursor(entry),
    type: act,
    effective_at: toSeconds(entry),
    ...(project !== undefined && { project: { id: project } }),
    actor: encodeActor(entry),
    [act]: { id: objectId, ...(details === undefined ? {} : (JSON.parse(details) as object)) },
  };
}

/** Returns an administrator, or the caller that triggered an alert. Null for what the service did itself. */
function encodeActor({ keyId, tenant }: Entry) {
  if (keyId === undefined) return null;
  switch (getPrincipalKind(keyId)) {
    case 'user':
      return { type: 'session' as const, session: { user: { id: keyId } } };
    case 'api_key':
      // The key of a project may be a service account's.
      return {
        type: 'api_key' as const,
        api_key: { id: keyId, ...(tenant === ORGANIZATION && { type: 'user' as const }) },
      };
    default:
      return {
        type: 'api_key' as const,
        api_key: { type: 'service_account' as const, service_account: { id: keyId } },
      };
  }
}

const toSeconds = ({ time }: Entry) => Math.floor(Date.parse(time) / 1000);

/** Returns the id of an act in the list. It has the time, by which the act is found. */
const encodeCursor = ({ time, id }: Entry) => `audit_log-${Date.parse(time)}-${id.replace(/^audit_/, '')}`;

/** Returns the position that the id of an act stands for. @throws LambentError `invalid_value` */
function readCursor(query: Query, name: 'before' | 'after'): string | undefined {
  const cursor = query[name];
  if (cursor === undefined) return undefined;
  const [, time, id] = /^audit_log-(\d{1,14})-([0-9a-f]{24})$/.exec(cursor) ?? [];
  if (time === undefined) throw invalidValueError(name, `Invalid '${name}': it is not the id of an audit log.`);
  return `${new Date(Number(time)).toISOString()}#audit_${id}`;
}
