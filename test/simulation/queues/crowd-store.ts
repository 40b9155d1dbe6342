import { holds } from '../../../shared/jobs/conditions.ts';
import { partitionKey } from '../../../shared/jobs/index-entry.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { aJob } from '../../shared/jobs/jobs.ts';

/** The purposes of waiting jobs. */
type Purpose = 'wake' | 'wait';

export interface CrowdOptions {
  readonly count: number;
  readonly purpose: Purpose;
  /** Epoch milliseconds. */
  readonly dueAt: number;
  readonly shards: number;
  /** Holds all other jobs. */
  readonly others: JobStore;
}

const TENANT = 'crowd';

/**
 * Creates a job store with very many waiting jobs of one tenant on the queue `jobs`, which takes some bytes for each of them. The
 * sweep can look at these jobs and record their tickets, and nothing else.
 */
export function createCrowdStore({ count, purpose, dueAt, shards, others }: CrowdOptions): JobStore {
  const dueAts = new Float64Array(count).fill(dueAt);
  const isWaiting = new Uint8Array(count).fill(purpose === 'wait' ? 1 : 0);
  /** By partition: what was ever put there, oldest first. An entry whose job has moved since is stale. */
  const partitions = new Map<
    string,
    { readonly numbers: number[]; readonly dueAts: number[]; count: number; head: number }
  >();
  const partitionOf = (each: Purpose, number: number) => {
    const key = partitionKey(`${each}#jobs`, number % shards);
    const known = partitions.get(key) ?? { numbers: [], dueAts: [], count: 0, head: 0 };
    partitions.set(key, known);
    return known;
  };
  const purposeOf = (number: number): Purpose => (isWaiting[number] === 1 ? 'wait' : 'wake');
  const put = (number: number, to: Purpose, at: number): void => {
    dueAts[number] = at;
    isWaiting[number] = to === 'wait' ? 1 : 0;
    const partition = partitionOf(to, number);
    partition.numbers.push(number);
    partition.dueAts.push(at);
    partition.count += 1;
  };
  for (let number = 0; number < count; number += 1) put(number, purpose, dueAt);
  const numberOf = (tenant: string, id: string) => (tenant === TENANT ? Number(id.slice('resp_'.length)) : undefined);
  const jobOf = (number: number): Job =>
    aJob({
      tenant: TENANT,
      id: `resp_${number}`,
      duePartition: partitionKey(`${purposeOf(number)}#jobs`, number % shards),
      dueAt: dueAts[number] ?? 0,
    });
  return {
    ...others,
    async read(tenant, id) {
      const number = numberOf(tenant, id);
      return number === undefined ? others.read(tenant, id) : jobOf(number);
    },
    async readMany(keys) {
      const own = keys.filter(({ tenant }) => tenant === TENANT);
      const rest = await others.readMany(keys.filter(({ tenant }) => tenant !== TENANT));
      return [...rest, ...own.map(({ id }) => jobOf(numberOf(TENANT, id) ?? 0))];
    },
    async update(tenant, id, guard, change) {
      const number = numberOf(tenant, id);
      if (number === undefined) return others.update(tenant, id, guard, change);
      const { index } = change;
      if (!holds(guard, jobOf(number))) return undefined;
      if (typeof index !== 'object' || index.purpose !== 'wait') throw new Error('Only tickets are recorded here.');
      partitionOf(purposeOf(number), number).count -= 1;
      put(number, 'wait', index.dueAt);
      return jobOf(number);
    },
    async postpone(entry, to) {
      const number = numberOf(entry.tenant, entry.id);
      if (number === undefined) return others.postpone(entry, to);
      const { duePartition, dueAt: at } = jobOf(number);
      if (duePartition !== entry.partition || at !== entry.dueAt) return false;
      partitionOf(purposeOf(number), number).count -= 1;
      put(number, purposeOf(number), to);
      return true;
    },
    async list(name, until, { limit, after }) {
      const partition = partitions.get(name);
      if (partition === undefined) return others.list(name, until, { limit, after });
      const { numbers } = partition;
      const isStale = (position: number) => {
        const number = numbers[position] ?? 0;
        return dueAts[number] !== partition.dueAts[position] || !name.startsWith(purposeOf(number));
      };
      while (partition.head < numbers.length && isStale(partition.head)) partition.head += 1;
      const entries = [];
      let position = typeof after === 'number' ? Math.max(after, partition.head) : partition.head;
      for (; position < numbers.length && entries.length < limit; position += 1) {
        const at = partition.dueAts[position] ?? 0;
        if (at > until) break;
        if (!isStale(position))
          entries.push({ tenant: TENANT, id: `resp_${numbers[position]}`, partition: name, dueAt: at });
      }
      return { entries, ...(entries.length === limit ? { next: position } : {}) };
    },
    async count(name) {
      return partitions.get(name)?.count ?? others.count(name);
    },
  };
}
