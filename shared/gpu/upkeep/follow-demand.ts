import { countBatchSlots, decideConcurrency } from './dispatch-concurrency.ts';
import type { Ecs } from './ecs.ts';
import type { EventSourceMapping } from './event-source-mapping.ts';
import type { FleetDefinition } from './fleet-definition.ts';
import type { FleetReport } from './reconcile-fleet.ts';
import { computeNeed, type FleetNeed, needsFirstWorker, shareQueue } from './scaling.ts';

export interface DemandPorts {
  readonly fleets: Readonly<Record<string, FleetDefinition>>;
  readonly ecs: Ecs;
  /**
   * Returns the number of jobs that wait for GPU workers, not counting those in progress, which appear in the fleet's leases
   * and waiters. SQS's counts would leave out jobs whose ticket is hidden for a pause.
   */
  readonly countWaitingJobs: () => Promise<number>;
  /**
   * The limit for dispatchers: the mapping that invokes them, messages per dispatcher, and their maximum. Undefined on
   * a laptop.
   */
  readonly dispatch:
    | { readonly mapping: EventSourceMapping; readonly batchSize: number; readonly maxConcurrency: number }
    | undefined;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly onNeed: (report: FleetReport, need: FleetNeed) => void;
  readonly onScaled: (what: 'first worker' | 'dispatchers', fleet: string, to: number) => void;
  readonly onError: (message: string, fleet: string, thrown: unknown) => void;
}

/**
 * Publishes each fleet's need, starts the first worker of a fleet that has none, and limits the dispatchers to the
 * number that fills the batch slots. The scaling policy, which watches the published metrics, adds and removes all
 * further workers.
 */
export async function followDemand(reports: readonly FleetReport[], ports: DemandPorts): Promise<void> {
  if (reports.length === 0) return;
  const { fleets, onError } = ports;
  const at = ports.now();
  const queued = await ports.countWaitingJobs().catch((thrown: unknown) => {
    onError('could not count the waiting jobs', '', thrown);
    return 0;
  });
  const views = reports.map(({ view }) => view);
  const shares = shareQueue(queued, views, at);
  let batchSlots = 0;
  for (const [index, report] of reports.entries()) {
    const definition = fleets[report.fleet];
    if (definition === undefined) continue;
    const need = computeNeed(report.view, shares[index] ?? 0, definition, at);
    ports.onNeed(report, need);
    batchSlots += countBatchSlots(
      report.view.workers.filter(({ state }) => state === 'ready'),
      definition.reserve,
    );
    await startFirstWorker(report.fleet, definition, need, ports).catch((thrown: unknown) =>
      onError('could not start a first worker', report.fleet, thrown),
    );
  }
  // A fleet without a report has slots, too: the sum would be too low.
  if (reports.length < Object.keys(fleets).length) return;
  await limitDispatchers(batchSlots, ports).catch((thrown: unknown) =>
    onError('could not limit the dispatchers', '', thrown),
  );
}

async function startFirstWorker(
  fleet: string,
  definition: FleetDefinition,
  need: FleetNeed,
  ports: DemandPorts,
): Promise<void> {
  // The first check assumes that there are no tasks, so that ECS is called only if necessary.
  if (definition.ecs === undefined || !needsFirstWorker(need, { desired: 0, alive: 0 })) return;
  const counts = await ports.ecs.countTasks(definition.ecs);
  if (counts === undefined || !needsFirstWorker(need, counts)) return;
  await ports.ecs.setDesiredCount(definition.ecs, 1);
  ports.onScaled('first worker', fleet, 1);
}

async function limitDispatchers(batchSlots: number, { dispatch, onScaled }: DemandPorts): Promise<void> {
  if (dispatch === undefined) return;
  const { mapping, batchSize, maxConcurrency } = dispatch;
  const next = decideConcurrency(await mapping.getMaximumConcurrency(), batchSlots, batchSize, maxConcurrency);
  if (next === undefined) return;
  await mapping.setMaximumConcurrency(next);
  onScaled('dispatchers', '', next);
}
