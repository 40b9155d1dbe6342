import { describeError } from '../../core/logger.ts';
import type { Telemetry } from '../../core/telemetry.ts';
import type { UpkeepPorts } from './ecs-events.ts';
import type { DemandPorts } from './follow-demand.ts';
import type { WorkerChange } from './reconcile-worker.ts';

/** What the fleet's upkeep tells of, as log lines and metrics. */
export type FleetObserver = Pick<UpkeepPorts, 'onChange'> & Pick<DemandPorts, 'onNeed' | 'onScaled' | 'onError'>;

/** Writes what becomes of workers and what fleets need into the log and the metrics: names and numbers. */
export function createFleetObserver({ logger, metrics }: Telemetry): FleetObserver {
  return {
    onChange(change: WorkerChange) {
      const unwanted = change.change === 'suspect' || change.change === 'adapters missing';
      logger[unwanted ? 'warn' : 'info']('worker', { ...change });
    },
    onNeed({ fleet, starting }, need) {
      metrics.publish(
        {
          BacklogTokens: [need.backlogTokens, 'Count'],
          NeededWorkers: [need.neededWorkers, 'Count'],
          ReadyWorkers: [need.readyWorkers, 'Count'],
          StartingWorkers: [starting, 'Count'],
          SuspectWorkers: [need.suspectWorkers, 'Count'],
          DrainingWorkers: [need.drainingWorkers, 'Count'],
          Slots: [need.slots, 'Count'],
          FreeSlots: [need.freeSlots, 'Count'],
          WaitingRequests: [need.waiting, 'Count'],
        },
        { Fleet: fleet },
      );
      // Under the function's name alone, for alarms that know no fleet's.
      metrics.publish({
        SuspectWorkers: [need.suspectWorkers, 'Count'],
        FleetStranded: [need.waiting > 0 && need.readyWorkers === 0 ? 1 : 0, 'Count'],
      });
    },
    onScaled: (what, fleet, to) => logger.info('scaled', { what, fleet, to }),
    onError: (what, fleet, thrown) => logger.warn(what, { fleet, ...describeError(thrown) }),
  };
}
