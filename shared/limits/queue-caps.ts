import type { QueueLimits } from '../access/limit-policy.ts';
import type { Policy } from '../access/policy.ts';

/** What is counted of accepted jobs that have not ended. */
export const QUEUE_METRICS = ['jobs', 'bytes', 'weight'] as const;
export type QueueMetric = (typeof QUEUE_METRICS)[number];

/** One limit of a policy on queued work. */
export interface QueueCap {
  readonly level: 'account' | 'project' | 'key';
  readonly metric: QueueMetric;
  readonly max: bigint;
  /** The limit's name in the policy. */
  readonly name: keyof QueueLimits;
}

const FIELDS = [
  ['jobsQueued', 'jobs'],
  ['jobBytesQueued', 'bytes'],
  ['gpuWeightWaiting', 'weight'],
] as const satisfies readonly (readonly [keyof QueueLimits, QueueMetric])[];

/** Lists the limits of a policy on queued work. */
export function listQueueCaps(policy: Policy): QueueCap[] {
  return (['key', 'project', 'account'] as const).flatMap((level) =>
    FIELDS.flatMap(([name, metric]): QueueCap[] => {
      const max = policy[level]?.limits?.[name];
      return max === undefined ? [] : [{ level, metric, name, max: BigInt(max) }];
    }),
  );
}

/** Returns whether a policy limits queued work. */
export function limitsQueue(policy: Policy): boolean {
  return listQueueCaps(policy).length > 0;
}

/** Returns how often a caller's jobs may be tried; undefined if that is not limited. */
export function findTries({ account, project, key }: Policy): number | undefined {
  const tries = [account, project, key].flatMap((level) => level?.limits?.triesPerJob ?? []);
  return tries.length === 0 ? undefined : Math.min(...tries);
}
