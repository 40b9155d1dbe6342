import { LambentError } from '../../core/errors.ts';
import { omitUndefined } from '../../core/objects.ts';
import { isLive, type Worker, type WorkerState } from '../registry/worker.ts';
import type { Command } from './fleet-event.ts';
import { listMembers } from './fleet-members.ts';
import { createReconcilePorts, type UpkeepPorts } from './ports.ts';
import { reconcileWorker, takeOutOfService } from './reconcile-worker.ts';

/** A worker as an operator sees it. */
export interface WorkerSummary {
  readonly worker: string;
  readonly state: WorkerState;
  readonly reason?: string;
  readonly since?: string;
  readonly url: string;
  readonly models: readonly string[];
  readonly slots: number;
  /** Slots in use. A drained worker can be stopped when this is 0. */
  readonly leases: number;
}

/**
 * Runs an operator's command. `drain`: the worker gets no new work and finishes what it has. `undrain`: the worker is
 * probed, and is ready again if it is healthy. `show`: nothing changes.
 * @returns the fleet's workers afterwards
 * @throws LambentError `not_found` for an unknown fleet or worker
 */
export async function runCommand(command: Command, ports: UpkeepPorts): Promise<WorkerSummary[]> {
  const { fleet } = command;
  const definition = Object.hasOwn(ports.fleets, fleet) ? ports.fleets[fleet] : undefined;
  if (definition === undefined) throw new LambentError('not_found', `There is no fleet ${fleet}`);
  if (command.type !== 'show') {
    const { workers } = await ports.store.read(fleet);
    const worker = workers.find(({ id }) => id === command.worker);
    if (worker === undefined) throw new LambentError('not_found', `${fleet} has no worker ${command.worker}`);
    if (command.type === 'drain') await takeOutOfService(worker, 'draining', 'operator', ports);
    else await undrain(worker, ports);
  }
  const { workers } = await ports.store.read(fleet);
  return workers.map((worker) => summarize(worker, ports.now()));
}

/** Makes the worker suspect and probes it: the engine may have been restarted since the drain. */
async function undrain(worker: Worker, ports: UpkeepPorts): Promise<void> {
  const { fleets, store, ecs, now } = ports;
  const { fleet, id, bootId } = worker;
  const definition = fleets[fleet];
  const change = { state: 'suspect', reason: 'undrained', at: now(), from: 'draining' } as const;
  if (definition === undefined || !(await store.setState(fleet, id, bootId, change))) return;
  const members = await listMembers(definition, ecs);
  const member = members.find((each) => each.id === id);
  if (member === undefined) return;
  const suspect = { ...worker, state: change.state, stateReason: change.reason, stateSince: change.at };
  await reconcileWorker(fleet, member, suspect, createReconcilePorts(fleet, ports));
}

function summarize(worker: Worker, now: number): WorkerSummary {
  const { id, state, stateReason, stateSince, url, models, slots, leases } = worker;
  return {
    worker: id,
    state,
    ...omitUndefined({
      reason: stateReason,
      since: stateSince === undefined ? undefined : new Date(stateSince).toISOString(),
    }),
    url,
    models,
    slots,
    leases: Object.values(leases).filter((lease) => isLive(lease, now)).length,
  };
}
