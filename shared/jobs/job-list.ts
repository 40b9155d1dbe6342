import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { deleteItems, getItem, putItem, queryItems, updateAndGetItem } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { Job } from './job.ts';

/** Labels of a listed job, which its tenant chooses and may change. They are sealed. */
export type Labels = Readonly<Record<string, string>>;

/** A job in the list of its tenant. */
export interface ListedJob extends Pick<Job, 'tenant' | 'id' | 'createdAt'> {
  readonly model: string;
  readonly labels: Labels;
}

/** What a list shows, and in which order. */
export interface JobListQuery {
  readonly tenant: string;
  readonly newestFirst: boolean;
  /** The job that precedes the first one. */
  readonly after?: Pick<Job, 'id' | 'createdAt'>;
  readonly model?: string;
  /** Labels that all must have. */
  readonly labels: Labels;
}

/**
 * The lists of the tenants' jobs, by their time of creation. An entry is written before its job and removed after it, so
 * an entry may have no job, but a listed job always has its entry.
 */
export interface JobList {
  /**
   * Prepares to write an entry later, when keys may not be available.
   * @param expiresAt epoch seconds
   * @returns a function that writes the entry, over one of the same job and time
   */
  prepare(entry: ListedJob, expiresAt: number): Promise<() => Promise<void>>;
  /** Reads the entry of a job; undefined if it has none. */
  read(job: Pick<Job, 'tenant' | 'id' | 'createdAt'>): Promise<ListedJob | undefined>;
  /** Replaces the labels of an entry. Returns undefined if there is no entry. */
  setLabels(job: Pick<Job, 'tenant' | 'id' | 'createdAt'>, labels: Labels): Promise<ListedJob | undefined>;
  remove(job: Pick<Job, 'tenant' | 'id' | 'createdAt'>): Promise<void>;
  /** Yields the entries that a query finds. Reads only entries of its tenant. */
  query(query: JobListQuery): AsyncIterable<ListedJob>;
}

/** Entries that one request to the table reads. One with the longest labels has 10 KB. */
const PAGE_SIZE = 100;
/** Digits of an entry's time, so that times sort as text. */
const TIME_DIGITS = 15;

/**
 * Creates the lists in the jobs table: per tenant one partition, per job one item. Throws DynamoDB's and the vault's
 * errors.
 */
export function createJobList(
  client: DynamoDBClient,
  tableName: string,
  vault: Vault,
  now: () => number = Date.now,
): JobList {
  const table = { client, name: tableName };
  const seconds = () => Math.floor(now() / 1000);

  async function sealLabels(job: Pick<Job, 'tenant' | 'id'>, labels: Labels): Promise<Uint8Array | undefined> {
    if (Object.keys(labels).length === 0) return undefined;
    return vault.seal(labelsName(job), Buffer.from(JSON.stringify(labels)));
  }

  async function parseEntry(tenant: string, item: Item): Promise<ListedJob> {
    const { id, createdAt, model, labels } = unmarshall(item);
    if (typeof id !== 'string' || typeof createdAt !== 'number' || typeof model !== 'string') throw unreadableError();
    return { tenant, id, createdAt, model, labels: await openLabels({ tenant, id }, labels) };
  }

  async function openLabels(job: Pick<Job, 'tenant' | 'id'>, sealed: unknown): Promise<Labels> {
    if (!(sealed instanceof Uint8Array)) return {};
    const labels: unknown = JSON.parse(Buffer.from(await vault.open(labelsName(job), sealed)).toString('utf8'));
    if (!isLabels(labels)) throw unreadableError();
    return labels;
  }

  return {
    async prepare({ tenant, id, createdAt, model, labels }, expiresAt) {
      const fields = { id, createdAt, model, expiresAt, labels: await sealLabels({ tenant, id }, labels) };
      return async () => void (await putItem(table, { ...entryKey(tenant, id, createdAt), ...marshall(fields) }));
    },
    async read({ tenant, id, createdAt }) {
      const item = await getItem(table, entryKey(tenant, id, createdAt));
      return item === undefined || Number(item['expiresAt']?.N) <= seconds() ? undefined : parseEntry(tenant, item);
    },
    async setLabels({ tenant, id, createdAt }, labels) {
      const sealed = await sealLabels({ tenant, id }, labels);
      const item = await updateAndGetItem(table, entryKey(tenant, id, createdAt), {
        change: sealed === undefined ? 'REMOVE labels' : 'SET labels = :labels',
        condition: 'attribute_exists(pk) AND expiresAt > :now',
        values: marshall({ ':now': seconds(), ':labels': sealed }),
      });
      return item && parseEntry(tenant, item);
    },
    remove: ({ tenant, id, createdAt }) => deleteItems(table, [entryKey(tenant, id, createdAt)]),
    async *query({ tenant, newestFirst, after, model, labels }) {
      const bound = after === undefined ? undefined : sortKey(after);
      const items = queryItems(table, {
        where: `pk = :pk${bound === undefined ? '' : ` AND sk ${newestFirst ? '<' : '>'} :after`}`,
        // `model` is no reserved word of DynamoDB's expressions.
        filter: `expiresAt > :now${model === undefined ? '' : ' AND model = :model'}`,
        values: marshall({ ':pk': listKey(tenant), ':now': seconds(), ':after': bound, ':model': model }),
        newestFirst,
        pageSize: PAGE_SIZE,
      });
      for await (const item of items) {
        const entry = await parseEntry(tenant, item);
        if (Object.entries(labels).every(([name, value]) => entry.labels[name] === value)) yield entry;
      }
    },
  };
}

/** The partition of a tenant's list. No job's id has this name. */
function listKey(tenant: string): string {
  return `${tenant}#list`;
}

function sortKey({ id, createdAt }: Pick<Job, 'id' | 'createdAt'>): string {
  return `${String(createdAt).padStart(TIME_DIGITS, '0')}#${id}`;
}

function entryKey(tenant: string, id: string, createdAt: number): Item {
  return marshall({ pk: listKey(tenant), sk: sortKey({ id, createdAt }) });
}

function labelsName({ tenant, id }: Pick<Job, 'tenant' | 'id'>): RecordName {
  return { tenant, kind: 'job-labels', id, epoch: 0, field: '' };
}

function isLabels(value: unknown): value is Labels {
  return isObject(value) && Object.values(value).every((each) => typeof each === 'string');
}

function unreadableError(): LambentError {
  return new LambentError('record_unreadable', "An entry of a tenant's list is not one");
}
