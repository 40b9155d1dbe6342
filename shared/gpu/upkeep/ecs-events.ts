import type { UpkeepTimings } from '../fleet-timings.ts';
import type { FleetStore } from '../registry/fleet-store.ts';
import type { Ecs } from './ecs.ts';
import { belongsToService, pickLatest, type Task, toMember } from './ecs-task.ts';
import type { FleetDefinition } from './fleet-definition.ts';
import { listStaticMembers, type Member } from './member.ts';
import type { Probe } from './probe.ts';
import {
  type ReconcilePorts,
  reconcileWorker,
  takeOutOfService,
  type WorkerChange,
  type WorkerStatus,
} from './reconcile-worker.ts';

export interface UpkeepPorts {
  /** By the fleet's name. */
  readonly fleets: Readonly<Record<string, FleetDefinition>>;
  readonly store: FleetStore;
  readonly ecs: Ecs;
  /** The probe of a fleet's workers. Rejects when its key can't be had. */
  readonly createProbe: (fleet: string) => Promise<Probe>;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  readonly timings: UpkeepTimings;
  readonly onChange: (change: WorkerChange) => void;
  readonly onError: (what: string, fleet: string, thrown: unknown) => void;
}

/** The machines that should be a fleet's workers. Throws what ECS throws. */
export async function listMembers(definition: FleetDefinition, ecs: Ecs): Promise<Member[]> {
  const listed = listStaticMembers(definition);
  if (definition.ecs === undefined) return listed;
  const tasks = await ecs.listTasks(definition.ecs);
  return [...listed, ...(await membersOfTasks(tasks, definition, ecs))];
}

async function membersOfTasks(tasks: readonly Task[], definition: FleetDefinition, ecs: Ecs): Promise<Member[]> {
  const { ecs: service, slots } = definition;
  if (service === undefined) return [];
  const arns = tasks.flatMap(({ containerInstanceArn = [] }) => containerInstanceArn);
  const instances = arns.length === 0 ? new Map<string, string>() : await ecs.findInstances(service.cluster, arns);
  return tasks.map((task) =>
    toMember(task, { port: service.port, slots }, instances.get(task.containerInstanceArn ?? '')),
  );
}

/** What attending to a fleet's members takes. The engines' key is asked for when the first is looked at, and once. */
export function reconcilePorts(fleet: string, { store, createProbe, now, onChange }: UpkeepPorts): ReconcilePorts {
  let made: Promise<Probe> | undefined;
  const probe = (): Promise<Probe> => {
    made ??= createProbe(fleet);
    return made;
  };
  return { store, probe, now, onChange };
}

/**
 * Brings one worker up to date after ECS told of its task. Events come twice and out of order: what counts is the later
 * one of what the event says and of what ECS says now, by their versions.
 * @returns where the worker stands; undefined for a task of no fleet
 */
export async function reconcileTask(told: Task, ports: UpkeepPorts): Promise<WorkerStatus | undefined> {
  const { fleets, store, ecs } = ports;
  const fleet = Object.keys(fleets).find((name) => {
    const service = fleets[name]?.ecs;
    return service !== undefined && belongsToService(told, service);
  });
  const definition = fleet === undefined ? undefined : fleets[fleet];
  if (fleet === undefined || definition === undefined) return undefined;
  const task = pickLatest(told, await ecs.describeTask(told.clusterArn, told.taskArn));
  const [member] = await membersOfTasks([task], definition, ecs);
  if (member === undefined) return undefined;
  const { workers } = await store.read(fleet);
  const worker = workers.find(({ id }) => id === member.id);
  return reconcileWorker(fleet, member, worker, reconcilePorts(fleet, ports));
}

/** Drains every worker on an instance that EC2 takes back. Returns how many there were. */
export async function drainInstance(instance: string, ports: UpkeepPorts): Promise<number> {
  const { fleets, store } = ports;
  const names = Object.keys(fleets).filter((name) => fleets[name]?.ecs !== undefined);
  const views = await Promise.all(names.map((name) => store.read(name)));
  const workers = views.flatMap((view) => view.workers.filter((worker) => worker.instance === instance));
  await Promise.all(workers.map((worker) => takeOutOfService(worker, 'draining', 'spot interruption', ports)));
  return workers.length;
}
