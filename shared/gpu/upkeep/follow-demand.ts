import { countBatchSlots, decideConcurrency } from './dispatch-concurrency.ts';
import type { Ecs } from './ecs.ts';
import type { Mapping } from './event-source-mapping.ts';
import type { FleetDefinition } from './fleet-definition.ts';
import type { FleetReport } from './reconcile-fleet.ts';
import { computeNeed, type FleetNeed, needsFirstWorker, shareQueue } from './scaling.ts';

export interface DemandPorts {
  readonly fleets: Readonly<Record<string, FleetDefinition>>;
  readonly ecs: Ecs;
  /** Jobs that wait in the GPU queue. */
  readonly queueDepth: () => Promise<number>;
  /** What limits dispatchers, the messages that each gets at most, and how many there may be; undefined where nothing does. */
  readonly dispatch: { readonly mapping: Mapping; readonly batchSize: number; readonly most: number } | undefined;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly onNeed: (report: FleetReport, need: FleetNeed) => void;
  readonly onScaled: (what: 'first worker' | 'dispatchers', fleet: string, to: number) => void;
  readonly onError: (what: string, fleet: string, thrown: unknown) => void;
}

/**
 * Tells what each fleet needs, asks for the first worker of one that has none, and lets as many dispatchers run as there
 * are slots for what they hold. All that is beyond the first worker is the scaling policy's, by the metrics.
 */
export async function followDemand(reports: readonly FleetReport[], ports: DemandPorts): Promise<void> {
  if (reports.length === 0) return;
  const { fleets, onError } = ports;
  const at = ports.now();
  const depth = await ports.queueDepth().catch((thrown: unknown) => {
    onError("the queue's depth could not be read", '', thrown);
    return 0;
  });
  const views = reports.map(({ view }) => view);
  const shares = shareQueue(depth, views, at);
  let slots = 0;
  for (const [index, report] of reports.entries()) {
    const definition = fleets[report.fleet];
    if (definition === undefined) continue;
    const need = computeNeed(report.view, shares[index] ?? 0, definition, at);
    ports.onNeed(report, need);
    slots += countBatchSlots(
      report.view.workers.filter(({ state }) => state === 'ready'),
      definition.reserve,
    );
    await kick(report.fleet, definition, need, ports).catch((thrown: unknown) =>
      onError('a first worker could not be asked for', report.fleet, thrown),
    );
  }
  // What could not be reconciled has slots too: nothing is lowered on half of the truth.
  if (reports.length < Object.keys(fleets).length) return;
  await limitDispatch(slots, ports).catch((thrown: unknown) => onError('dispatchers could not be limited', '', thrown));
}

async function kick(fleet: string, definition: FleetDefinition, need: FleetNeed, ports: DemandPorts): Promise<void> {
  // ECS is asked only when it may come to that.
  if (definition.ecs === undefined || !needsFirstWorker(need, { desired: 0, alive: 0 })) return;
  const counts = await ports.ecs.countTasks(definition.ecs);
  if (counts === undefined || !needsFirstWorker(need, counts)) return;
  await ports.ecs.setDesiredCount(definition.ecs, 1);
  ports.onScaled('first worker', fleet, 1);
}

async function limitDispatch(slots: number, { dispatch, onScaled }: DemandPorts): Promise<void> {
  if (dispatch === undefined) return;
  const { mapping, batchSize, most } = dispatch;
  const next = decideConcurrency(await mapping.maximumConcurrency(), slots, batchSize, most);
  if (next === undefined) return;
  await mapping.limit(next);
  onScaled('dispatchers', '', next);
}
