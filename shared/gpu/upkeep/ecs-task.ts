import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { omitUndefined } from '../../core/objects.ts';
import type { Member } from './member.ts';

/** Epoch milliseconds, from an RFC 3339 text (events) or a `Date` (API). */
const time = v.pipe(
  v.union([v.string(), v.date()]),
  v.transform((at) => new Date(at).getTime()),
  v.number(),
);
const list = <const S extends v.GenericSchema>(item: S) => v.optional(v.array(item), []);

/**
 * The fields of an ECS task that its API and its events have in common.
 * @see https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
 */
export const taskSchema = v.object({
  taskArn: v.string(),
  clusterArn: v.string(),
  /** `service:<name>` for a task of a service. */
  group: v.optional(v.string(), ''),
  lastStatus: v.string(),
  desiredStatus: v.string(),
  healthStatus: v.optional(v.string(), 'UNKNOWN'),
  /** Increases with each change of the task. */
  version: v.optional(v.number(), 0),
  containerInstanceArn: v.optional(v.string()),
  startedAt: v.optional(time),
  attachments: list(
    v.object({ details: list(v.object({ name: v.optional(v.string()), value: v.optional(v.string()) })) }),
  ),
  containers: list(
    v.object({
      runtimeId: v.optional(v.string()),
      networkInterfaces: list(v.object({ privateIpv4Address: v.optional(v.string()) })),
    }),
  ),
});
export type Task = v.InferOutput<typeof taskSchema>;

const STOPPING = new Set(['DEACTIVATING', 'STOPPING', 'DEPROVISIONING']);

/** Returns the description with the higher version; `b` if the versions are equal. */
export function pickLatest(a: Task, b: Task | undefined): Task {
  return b !== undefined && b.version >= a.version ? b : a;
}

/** Returns true if a task belongs to a service. Cluster and service are given by name or by ARN. */
export function belongsToService(
  { clusterArn, group }: Task,
  { cluster, service }: { readonly cluster: string; readonly service: string },
): boolean {
  return (
    (clusterArn === cluster || resourceName(clusterArn) === resourceName(cluster)) &&
    group === `service:${resourceName(service)}`
  );
}

/**
 * Converts a task to a member of its fleet. Its network mode must be `awsvpc`, which gives each task an address.
 * @param instance id of the task's EC2 instance, if it is known
 */
export function toMember(
  task: Task,
  { port, slots }: { readonly port: number; readonly slots: number },
  instance: string | undefined,
): Member {
  const address = findAddress(task);
  const bootId = deriveBootId(task);
  return {
    id: resourceName(task.taskArn),
    url: address === undefined ? undefined : `http://${address}:${port}/v1`,
    phase: getPhase(task),
    unhealthy: task.healthStatus === 'UNHEALTHY',
    slots,
    source: 'ecs',
    ...omitUndefined({ bootId, startedAt: task.startedAt, instance }),
  };
}

function getPhase({ lastStatus, desiredStatus }: Task): Member['phase'] {
  if (lastStatus === 'STOPPED' || lastStatus === 'DELETED') return 'stopped';
  if (desiredStatus === 'STOPPED' || STOPPING.has(lastStatus)) return 'stopping';
  return lastStatus === 'RUNNING' ? 'running' : 'starting';
}

function findAddress({ attachments, containers }: Task): string | undefined {
  const details = attachments.flatMap((attachment) => attachment.details);
  const attached = details.find(({ name }) => name === 'privateIPv4Address')?.value;
  return attached ?? containers.flatMap(({ networkInterfaces }) => networkInterfaces)[0]?.privateIpv4Address;
}

/**
 * Derives a boot id from the runtime ids of a task's containers, or else from its start time. The task's id is not
 * enough: ECS can restart a container within its task, which changes only the container's runtime id.
 */
function deriveBootId({ taskArn, startedAt, containers }: Task): string | undefined {
  const runtimeIds = containers.flatMap(({ runtimeId = [] }) => runtimeId).sort();
  const start = runtimeIds.length > 0 ? runtimeIds.join(' ') : startedAt?.toString();
  if (start === undefined) return undefined;
  return createHash('sha256')
    .update(`${resourceName(taskArn)} ${start}`)
    .digest('hex')
    .slice(0, 16);
}

/** Returns the last part of an ARN; a name unchanged. */
function resourceName(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1);
}
