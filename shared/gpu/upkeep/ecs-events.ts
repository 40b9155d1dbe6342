import type { UpkeepTimings } from '../fleet-timings.ts';
import type { FleetStore } from '../registry/fleet-store.ts';
import type { Ecs } from './ecs.ts';
import { isOf, later, memberOfTask, type Task } from './ecs-task.ts';
import type { FleetDefinition } from './fleet-definition.ts';
import { listedMembers, type Member } from './member.ts';
import type { Probe } from './probe.ts';
import { type AttendPorts, attend, mark, type Standing, type WorkerChange } from './reconcile-worker.ts';

export interface UpkeepPorts {
  /** By the fleet's name. */
  readonly fleets: Readonly<Record<string, FleetDefinition>>;
  readonly store: FleetStore;
  readonly ecs: Ecs;
  /** The probe of a fleet's workers. Rejects when its key can't be had. */
  readonly probeOf: (fleet: string) => Promise<Probe>;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  readonly timings: UpkeepTimings;
  readonly onChange: (change: WorkerChange) => void;
  readonly onError: (what: string, fleet: string, thrown: unknown) => void;
}

/** The machines that should be a fleet's workers. Throws what ECS throws. */
export async function membersOf(definition: FleetDefinition, ecs: Ecs): Promise<Member[]> {
  const listed = listedMembers(definition);
  if (definition.ecs === undefined) return listed;
  const tasks = await ecs.tasks(definition.ecs);
  return [...listed, ...(await membersOfTasks(tasks, definition, ecs))];
}

async function membersOfTasks(tasks: readonly Task[], definition: FleetDefinition, ecs: Ecs): Promise<Member[]> {
  const { ecs: service, slots } = definition;
  if (service === undefined) return [];
  const arns = tasks.flatMap(({ containerInstanceArn = [] }) => containerInstanceArn);
  const instances = arns.length === 0 ? new Map<string, string>() : await ecs.instances(service.cluster, arns);
  return tasks.map((task) =>
    memberOfTask(task, { port: service.port, slots }, instances.get(task.containerInstanceArn ?? '')),
  );
}

/** What attending to a fleet's members takes. The engines' key is asked for when the first is looked at, and once. */
export function attendPorts(fleet: string, { store, probeOf, now, onChange }: UpkeepPorts): AttendPorts {
  let made: Promise<Probe> | undefined;
  const probe = (): Promise<Probe> => {
    made ??= probeOf(fleet);
    return made;
  };
  return { store, probe, now, onChange };
}

/**
 * Brings one worker up to date after ECS told of its task. Events come twice and out of order: what counts is the later
 * one of what the event says and of what ECS says now, by their versions.
 * @returns where the worker stands; undefined for a task of no fleet
 */
export async function attendToTask(told: Task, ports: UpkeepPorts): Promise<Standing | undefined> {
  const { fleets, store, ecs } = ports;
  const fleet = Object.keys(fleets).find((name) => {
    const service = fleets[name]?.ecs;
    return service !== undefined && isOf(told, service);
  });
  const definition = fleet === undefined ? undefined : fleets[fleet];
  if (fleet === undefined || definition === undefined) return undefined;
  const task = later(told, await ecs.task(told.clusterArn, told.taskArn));
  const [member] = await membersOfTasks([task], definition, ecs);
  if (member === undefined) return undefined;
  const { workers } = await store.read(fleet);
  const worker = workers.find(({ id }) => id === member.id);
  return attend(fleet, member, worker, attendPorts(fleet, ports));
}

/** Drains every worker on an instance that EC2 takes back. Returns how many there were. */
export async function attendToInterruption(instance: string, ports: UpkeepPorts): Promise<number> {
  const { fleets, store } = ports;
  const names = Object.keys(fleets).filter((name) => fleets[name]?.ecs !== undefined);
  const views = await Promise.all(names.map((name) => store.read(name)));
  const workers = views.flatMap((view) => view.workers.filter((worker) => worker.instance === instance));
  await Promise.all(workers.map((worker) => mark(worker, 'draining', 'spot interruption', ports)));
  return workers.length;
}
