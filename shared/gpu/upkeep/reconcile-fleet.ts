import { mapInParallel } from '../../core/map-in-parallel.ts';
import { type FleetView, isLive, type Worker } from '../registry/worker.ts';
import { listMembers } from './fleet-members.ts';
import { listStaticMembers, type Member } from './member.ts';
import { createReconcilePorts, type UpkeepPorts } from './ports.ts';
import { deregisterWorker, reconcileWorker, type WorkerStatus } from './reconcile-worker.ts';

/** The state of a fleet after a run of the upkeep. */
export interface FleetReport {
  readonly fleet: string;
  readonly members: readonly Member[];
  /** The fleet's entries in the registry after the run. */
  readonly view: FleetView;
  /** Number of members that are not registered yet and may be soon. */
  readonly starting: number;
}

/** Maximum number of workers of a fleet that are reconciled at the same time. */
const CONCURRENCY = 16;

/**
 * Brings every fleet's registry up to date with its ECS service and the machines that `models.json` lists. An error in
 * one fleet does not affect the others; that fleet has no report then.
 */
export async function reconcileFleets(ports: UpkeepPorts): Promise<FleetReport[]> {
  const reports = await Promise.all(
    Object.keys(ports.fleets).map(async (fleet) => {
      try {
        return await reconcileFleet(fleet, ports);
      } catch (thrown) {
        ports.onError('could not reconcile the fleet', fleet, thrown);
        return [];
      }
    }),
  );
  return reports.flat();
}

/**
 * Probes workers that are out of service every few seconds, so that they return to service soon after they recover.
 * Stops watching a fleet that has no such worker and no work, and all fleets at `until` (epoch milliseconds).
 */
export async function reprobeWorkers(
  reports: readonly FleetReport[],
  until: number,
  ports: UpkeepPorts,
): Promise<void> {
  await Promise.all(reports.map((report) => reprobeFleet(report, until, ports)));
}

async function reprobeFleet(first: FleetReport, until: number, ports: UpkeepPorts): Promise<void> {
  const { now, sleep, timings, onError } = ports;
  let report = first;
  while (needsReprobe(report, ports) && now() + timings.reprobeMs < until) {
    await sleep(timings.reprobeMs);
    try {
      report = await reconcileUnavailable(report, ports);
    } catch (thrown) {
      onError("could not probe the fleet's workers again", first.fleet, thrown);
    }
  }
}

/**
 * True if the fleet has starting members, workers that became suspect lately, or work: a request may mark any of its
 * workers as suspect at any moment.
 */
function needsReprobe({ view, starting }: FleetReport, { now, timings }: UpkeepPorts): boolean {
  const at = now();
  const work = [...view.workers.flatMap(({ leases }) => Object.values(leases)), ...view.waiters];
  if (starting > 0 || work.some((entry) => isLive(entry, at))) return true;
  return view.workers.some(
    ({ state, stateSince = 0 }) => state === 'suspect' && stateSince > at - timings.reprobeForMs,
  );
}

/** Reconciles the running members that are not in service. */
async function reconcileUnavailable({ fleet, members }: FleetReport, ports: UpkeepPorts): Promise<FleetReport> {
  const workers = indexById(await ports.store.read(fleet));
  const unavailable = members.filter(({ id, phase }) => phase === 'running' && workers.get(id)?.state !== 'ready');
  const statuses = await reconcileMembers(fleet, unavailable, workers, ports);
  const view = await ports.store.read(fleet);
  return { fleet, members, view, starting: countStarting(unavailable, statuses, ports) };
}

async function reconcileFleet(fleet: string, ports: UpkeepPorts): Promise<FleetReport[]> {
  const { fleets, store, ecs, onError } = ports;
  const definition = fleets[fleet];
  if (definition === undefined) return [];
  // If ECS does not answer, its tasks keep their entries, and the listed machines are reconciled as usual.
  let hasListedTasks = true;
  const members = await listMembers(definition, ecs).catch((thrown: unknown) => {
    onError("could not list the fleet's tasks", fleet, thrown);
    hasListedTasks = false;
    return listStaticMembers(definition);
  });
  const before = await store.read(fleet);
  const memberIds = new Set(members.map(({ id }) => id));
  const gone = before.workers.filter(({ id, source }) => !memberIds.has(id) && (hasListedTasks || source === 'static'));
  await mapInParallel(gone, CONCURRENCY, (worker) => deregisterWorker(worker, ports));
  const statuses = await reconcileMembers(fleet, members, indexById(before), ports);
  await removeLeaked(fleet, before, ports);
  return [{ fleet, members, view: await store.read(fleet), starting: countStarting(members, statuses, ports) }];
}

function reconcileMembers(
  fleet: string,
  members: readonly Member[],
  workers: ReadonlyMap<string, Worker>,
  ports: UpkeepPorts,
): Promise<WorkerStatus[]> {
  const reconcilePorts = createReconcilePorts(fleet, ports);
  return mapInParallel(members, CONCURRENCY, (member) =>
    reconcileWorker(fleet, member, workers.get(member.id), reconcilePorts),
  );
}

/**
 * Removes leases and waiters that expired more than `leakedAfterMs` ago. A new lease of a worker also removes expired
 * ones, but a worker may get none.
 */
async function removeLeaked(
  fleet: string,
  { workers, waiters }: FleetView,
  { store, now, timings }: UpkeepPorts,
): Promise<void> {
  const staleBefore = now() - timings.leakedAfterMs;
  const leases = workers.flatMap((worker) =>
    Object.entries(worker.leases).map(([id, { expiresAt }]) => ({ worker: worker.id, id, expiresAt })),
  );
  const leakedLeases = leases.filter(({ expiresAt }) => expiresAt < staleBefore);
  const leakedWaiters = waiters.filter(({ expiresAt }) => expiresAt < staleBefore);
  await mapInParallel(leakedLeases, CONCURRENCY, ({ worker, id }) => store.release(fleet, worker, id));
  await mapInParallel(leakedWaiters, CONCURRENCY, ({ id }) => store.removeWaiter(fleet, id));
}

function indexById({ workers }: FleetView): Map<string, Worker> {
  return new Map(workers.map((worker) => [worker.id, worker]));
}

/** Counts tasks only: a listed machine that does not answer is most likely switched off. */
function countStarting(
  members: readonly Member[],
  statuses: readonly WorkerStatus[],
  { now, timings }: UpkeepPorts,
): number {
  const at = now();
  return members.filter(
    ({ source, startedAt = at }, index) =>
      source === 'ecs' && statuses[index] === 'starting' && startedAt > at - timings.reprobeForMs,
  ).length;
}
