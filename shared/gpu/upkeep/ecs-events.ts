import { belongsToService, pickLatest, type Task } from './ecs-task.ts';
import { toMembers } from './fleet-members.ts';
import { createReconcilePorts, type UpkeepPorts } from './ports.ts';
import { reconcileWorker, takeOutOfService, type WorkerStatus } from './reconcile-worker.ts';

/**
 * Reconciles one worker after an event of its ECS task. Events arrive more than once and out of order, so the event's
 * task is compared with the task that ECS returns now, and the higher version wins.
 * @returns the worker's status; undefined for a task that belongs to no fleet
 */
export async function reconcileTask(eventTask: Task, ports: UpkeepPorts): Promise<WorkerStatus | undefined> {
  const { fleets, store, ecs } = ports;
  const fleet = Object.keys(fleets).find((name) => {
    const service = fleets[name]?.ecs;
    return service !== undefined && belongsToService(eventTask, service);
  });
  const definition = fleet === undefined ? undefined : fleets[fleet];
  if (fleet === undefined || definition === undefined) return undefined;
  const task = pickLatest(eventTask, await ecs.describeTask(eventTask.clusterArn, eventTask.taskArn));
  const [member] = await toMembers([task], definition, ecs);
  if (member === undefined) return undefined;
  const { workers } = await store.read(fleet);
  const worker = workers.find(({ id }) => id === member.id);
  return reconcileWorker(fleet, member, worker, createReconcilePorts(fleet, ports));
}

/** Drains every worker on an instance that EC2 is about to reclaim. Returns their number. */
export async function drainInstance(instance: string, ports: UpkeepPorts): Promise<number> {
  const { fleets, store } = ports;
  const names = Object.keys(fleets).filter((name) => fleets[name]?.ecs !== undefined);
  const views = await Promise.all(names.map((name) => store.read(name)));
  const workers = views.flatMap((view) => view.workers.filter((worker) => worker.instance === instance));
  await Promise.all(workers.map((worker) => takeOutOfService(worker, 'draining', 'spot interruption', ports)));
  return workers.length;
}
