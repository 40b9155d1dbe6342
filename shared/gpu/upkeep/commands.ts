import { LambentError } from '../../core/errors.ts';
import type { Worker, WorkerState } from '../registry/worker.ts';
import { listMembers, reconcilePorts, type UpkeepPorts } from './ecs-events.ts';
import type { Command } from './fleet-event.ts';
import { reconcileWorker, takeOutOfService } from './reconcile-worker.ts';

/** What an operator is shown of a worker. */
export interface WorkerSummary {
  readonly worker: string;
  readonly state: WorkerState;
  readonly reason?: string;
  readonly since?: string;
  readonly url: string;
  readonly models: readonly string[];
  readonly slots: number;
  /** Slots that are taken: a drained worker may be stopped when it is 0. */
  readonly leases: number;
}

/**
 * Does what an operator says. Drain: the worker gets no new work, and finishes what it has. Undrain: it is probed, and
 * ready again if it is well.
 * @returns the fleet's workers after it
 * @throws LambentError `not_found` for a fleet or a worker that isn't there
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

/** Out of service until the probe that follows: what it knew of itself may be of an earlier start. */
async function undrain(worker: Worker, ports: UpkeepPorts): Promise<void> {
  const { fleets, store, ecs, now } = ports;
  const { fleet, id, bootId } = worker;
  const definition = fleets[fleet];
  const change = { state: 'suspect', reason: 'undrained', at: now(), from: 'draining' } as const;
  if (definition === undefined || !(await store.setState(fleet, id, bootId, change))) return;
  const members = await listMembers(definition, ecs);
  const member = members.find((each) => each.id === id);
  if (member === undefined) return;
  const probed = { ...worker, state: change.state, stateReason: change.reason, stateSince: change.at };
  await reconcileWorker(fleet, member, probed, reconcilePorts(fleet, ports));
}

function summarize(worker: Worker, now: number): WorkerSummary {
  const { id, state, stateReason, stateSince, url, models, slots, leases } = worker;
  return {
    worker: id,
    state,
    ...(stateReason === undefined ? {} : { reason: stateReason }),
    ...(stateSince === undefined ? {} : { since: new Date(stateSince).toISOString() }),
    url,
    models,
    slots,
    leases: Object.values(leases).filter(({ expiresAt }) => expiresAt > now).length,
  };
}
