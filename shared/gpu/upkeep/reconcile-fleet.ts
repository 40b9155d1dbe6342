import { inParallel } from '../../core/in-parallel.ts';
import type { FleetView } from '../registry/worker.ts';
import { listMembers, reconcilePorts, type UpkeepPorts } from './ecs-events.ts';
import { listStaticMembers, type Member } from './member.ts';
import { deregisterWorker, reconcileWorker, type WorkerStatus } from './reconcile-worker.ts';

/** What a run found of a fleet and left behind. */
export interface FleetReport {
  readonly fleet: string;
  readonly members: readonly Member[];
  /** The registry as it was after the run. */
  readonly view: FleetView;
  /** Members that are no workers yet, and may be soon. */
  readonly starting: number;
}

/** Workers that are asked at the same time. */
const WIDTH = 16;

/**
 * Brings every fleet's registry up to date with ECS and with the list of machines elsewhere. One fleet's failure keeps
 * nothing from the others, and leaves its report out.
 */
export async function reconcileFleets(ports: UpkeepPorts): Promise<FleetReport[]> {
  const reports = await Promise.all(
    Object.keys(ports.fleets).map(async (fleet) => {
      try {
        return await reconcile(fleet, ports);
      } catch (thrown) {
        ports.onError('a fleet could not be reconciled', fleet, thrown);
        return [];
      }
    }),
  );
  return reports.flat();
}

/**
 * Goes on looking at workers that are out of service, so that they are used again seconds after they are well, and not a
 * minute. Ends for a fleet that has none and does nothing, and for all at `until` (epoch milliseconds).
 */
export async function reprobeWorkers(
  reports: readonly FleetReport[],
  until: number,
  ports: UpkeepPorts,
): Promise<void> {
  await Promise.all(reports.map((report) => watch(report, until, ports)));
}

async function watch(first: FleetReport, until: number, ports: UpkeepPorts): Promise<void> {
  const { now, sleep, timings, onError } = ports;
  let report = first;
  while (isWorthIt(report, ports) && now() + timings.reprobeMs < until) {
    await sleep(timings.reprobeMs);
    try {
      report = await attendToOpen(report, ports);
    } catch (thrown) {
      onError('a fleet could not be looked at', first.fleet, thrown);
    }
  }
}

/** While a fleet is at work, any of its workers may be found wanting by those who use it. */
function isWorthIt({ view, starting }: FleetReport, { now, timings }: UpkeepPorts): boolean {
  const at = now();
  const held = [...view.workers.flatMap(({ leases }) => Object.values(leases)), ...view.waiters];
  if (starting > 0 || held.some(({ expiresAt }) => expiresAt > at)) return true;
  return view.workers.some(
    ({ state, stateSince = 0 }) => state === 'suspect' && stateSince > at - timings.reprobeForMs,
  );
}

async function attendToOpen({ fleet, members }: FleetReport, ports: UpkeepPorts): Promise<FleetReport> {
  const known = workersById(await ports.store.read(fleet));
  const open = members.filter(({ id, phase }) => phase === 'running' && known.get(id)?.state !== 'ready');
  const shared = reconcilePorts(fleet, ports);
  const standings = await inParallel(open, WIDTH, (member) =>
    reconcileWorker(fleet, member, known.get(member.id), shared),
  );
  return { fleet, members, view: await ports.store.read(fleet), starting: soonWorkers(open, standings, ports) };
}

async function reconcile(fleet: string, ports: UpkeepPorts): Promise<FleetReport[]> {
  const { fleets, store, ecs, onError } = ports;
  const definition = fleets[fleet];
  if (definition === undefined) return [];
  // Without ECS's word none of its tasks is forgotten, and those of the list are looked at all the same.
  let complete = true;
  const members = await listMembers(definition, ecs).catch((thrown: unknown) => {
    onError("a fleet's tasks could not be listed", fleet, thrown);
    complete = false;
    return listStaticMembers(definition);
  });
  const before = await store.read(fleet);
  const known = workersById(before);
  const named = new Set(members.map(({ id }) => id));
  const gone = before.workers.filter(({ id, source }) => !named.has(id) && (complete || source === 'static'));
  const shared = reconcilePorts(fleet, ports);
  await inParallel(gone, WIDTH, (worker) => deregisterWorker(worker, shared));
  const standings = await inParallel(members, WIDTH, (member) =>
    reconcileWorker(fleet, member, known.get(member.id), shared),
  );
  await removeLeaked(fleet, before, ports);
  return [{ fleet, members, view: await store.read(fleet), starting: soonWorkers(members, standings, ports) }];
}

/** Whoever takes a slot removes expired leases of that worker; these are of workers that nobody comes to. */
async function removeLeaked(
  fleet: string,
  { workers, waiters }: FleetView,
  { store, now, timings }: UpkeepPorts,
): Promise<void> {
  const stale = now() - timings.leakedAfterMs;
  const leases = workers.flatMap((worker) =>
    Object.entries(worker.leases).map(([id, { expiresAt }]) => ({ worker: worker.id, id, expiresAt })),
  );
  const leaked = leases.filter(({ expiresAt }) => expiresAt < stale);
  const dead = waiters.filter(({ expiresAt }) => expiresAt < stale);
  await inParallel(leaked, WIDTH, ({ worker, id }) => store.release(fleet, worker, id));
  await inParallel(dead, WIDTH, ({ id }) => store.removeWaiter(fleet, id));
}

function workersById({ workers }: FleetView) {
  return new Map(workers.map((worker) => [worker.id, worker]));
}

/** Tasks only: a listed machine that doesn't answer is most likely off. */
function soonWorkers(
  members: readonly Member[],
  standings: readonly WorkerStatus[],
  { now, timings }: UpkeepPorts,
): number {
  const at = now();
  return members.filter(
    ({ source, startedAt = at }, index) =>
      source === 'ecs' && standings[index] === 'starting' && startedAt > at - timings.reprobeForMs,
  ).length;
}
