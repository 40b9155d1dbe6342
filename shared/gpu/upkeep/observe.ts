import { describeError } from '../../core/logger.ts';
import { toCounts } from '../../core/metrics.ts';
import type { Telemetry } from '../../core/telemetry.ts';
import type { DemandPorts } from './follow-demand.ts';
import type { UpkeepPorts } from './ports.ts';
import type { WorkerChange } from './reconcile-worker.ts';

/** The callbacks of the fleet's upkeep. */
export type FleetObserver = Pick<UpkeepPorts, 'onChange'> & Pick<DemandPorts, 'onNeed' | 'onScaled' | 'onError'>;

/**
 * Creates callbacks that log the changes of workers and publish the fleets' needs as metrics. They write names and
 * numbers only.
 */
export function createFleetObserver({ logger, metrics }: Telemetry): FleetObserver {
  return {
    onChange(change: WorkerChange) {
      const isProblem = change.change === 'suspect' || change.change === 'adapters missing';
      logger[isProblem ? 'warn' : 'info']('worker', { ...change });
    },
    onNeed({ fleet, starting }, need) {
      metrics.publish(
        {
          // Published even if they are 0, because a missing value would leave the fleet at its size.
          NeededWorkers: [need.neededWorkers, 'Count'],
          ReadyWorkers: [need.readyWorkers, 'Count'],
          StartingWorkers: [starting, 'Count'],
          ...toCounts({
            BacklogTokens: need.backlogTokens,
            SuspectWorkers: need.suspectWorkers,
            DrainingWorkers: need.drainingWorkers,
            WaitingRequests: need.waiting,
          }),
          ...(need.slots > 0 ? { Slots: [need.slots, 'Count'], FreeSlots: [need.freeSlots, 'Count'] } : {}),
        },
        { Fleet: fleet },
      );
      // Without the fleet's name, for alarms that cover all fleets.
      const isStranded = need.waiting > 0 && need.readyWorkers === 0;
      const problems = toCounts({ SuspectWorkers: need.suspectWorkers, FleetStranded: isStranded ? 1 : 0 });
      if (Object.keys(problems).length > 0) metrics.publish(problems);
    },
    onScaled: (what, fleet, to) => logger.info('scaled', { what, fleet, to }),
    onError: (message, fleet, thrown) => logger.warn(message, { fleet, ...describeError(thrown) }),
  };
}
