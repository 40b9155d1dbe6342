import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { Member } from './member.ts';

/** An RFC 3339 time in an event, a `Date` from the API: epoch milliseconds. */
const time = v.pipe(
  v.union([v.string(), v.date()]),
  v.transform((at) => new Date(at).getTime()),
  v.number(),
);
const list = <const S extends v.GenericSchema>(item: S) => v.optional(v.array(item), []);

/**
 * A task of ECS: what its API describes, and what its events carry, have these fields in common.
 * @see https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
 */
export const taskSchema = v.object({
  taskArn: v.string(),
  clusterArn: v.string(),
  /** `service:<name>` for a service's tasks. */
  group: v.optional(v.string(), ''),
  lastStatus: v.string(),
  desiredStatus: v.string(),
  healthStatus: v.optional(v.string(), 'UNKNOWN'),
  /** Rises with each change: tells which of two descriptions is the later one. */
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

const LEAVING = new Set(['DEACTIVATING', 'STOPPING', 'DEPROVISIONING']);

/** The later of two descriptions of one task. */
export function pickLatest(a: Task, b: Task | undefined): Task {
  return b !== undefined && b.version >= a.version ? b : a;
}

/** Whether a task belongs to a service. A cluster goes by its name or by its ARN. */
export function belongsToService(
  { clusterArn, group }: Task,
  { cluster, service }: { readonly cluster: string; readonly service: string },
): boolean {
  return (clusterArn === cluster || nameOf(clusterArn) === nameOf(cluster)) && group === `service:${nameOf(service)}`;
}

/**
 * A task as a member of its fleet. Its network mode has to be `awsvpc`: a task has an address of its own then.
 * @param instance the EC2 instance under it, if that is known
 */
export function toMember(
  task: Task,
  { port, slots }: { readonly port: number; readonly slots: number },
  instance: string | undefined,
): Member {
  const address = addressOf(task);
  const bootId = bootIdOf(task);
  return {
    id: nameOf(task.taskArn),
    url: address === undefined ? undefined : `http://${address}:${port}/v1`,
    phase: phaseOf(task),
    unhealthy: task.healthStatus === 'UNHEALTHY',
    slots,
    source: 'ecs',
    ...(bootId === undefined ? {} : { bootId }),
    ...(task.startedAt === undefined ? {} : { startedAt: task.startedAt }),
    ...(instance === undefined ? {} : { instance }),
  };
}

function phaseOf({ lastStatus, desiredStatus }: Task): Member['phase'] {
  if (lastStatus === 'STOPPED' || lastStatus === 'DELETED') return 'gone';
  if (desiredStatus === 'STOPPED' || LEAVING.has(lastStatus)) return 'leaving';
  return lastStatus === 'RUNNING' ? 'running' : 'starting';
}

function addressOf({ attachments, containers }: Task): string | undefined {
  const details = attachments.flatMap((attachment) => attachment.details);
  const attached = details.find(({ name }) => name === 'privateIPv4Address')?.value;
  return attached ?? containers.flatMap(({ networkInterfaces }) => networkInterfaces)[0]?.privateIpv4Address;
}

/** ECS may restart a container inside its task: the task's id stays, the container's runtime id does not. */
function bootIdOf({ taskArn, startedAt, containers }: Task): string | undefined {
  const runtimeIds = containers.flatMap(({ runtimeId = [] }) => runtimeId).sort();
  const start = runtimeIds.length > 0 ? runtimeIds.join(' ') : startedAt?.toString();
  if (start === undefined) return undefined;
  return createHash('sha256')
    .update(`${nameOf(taskArn)} ${start}`)
    .digest('hex')
    .slice(0, 16);
}

/** The last part of an ARN, or a name as it is. */
function nameOf(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1);
}
