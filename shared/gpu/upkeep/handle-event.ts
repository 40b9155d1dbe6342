import { runCommand, type WorkerSummary } from './commands.ts';
import { drainInstance, reconcileTask } from './ecs-events.ts';
import { parseFleetEvent } from './fleet-event.ts';
import { type DemandPorts, followDemand } from './follow-demand.ts';
import type { UpkeepPorts } from './ports.ts';
import { reconcileFleets, reprobeWorkers } from './reconcile-fleet.ts';

/**
 * Handles an event of the `fleet` function: the schedule, an ECS or EC2 event, or an operator's command.
 * @returns for a command, all workers of its fleet; undefined for other events
 * @throws LambentError `invalid_value` for an unknown event
 */
export async function handleFleetEvent(
  event: unknown,
  ports: UpkeepPorts & DemandPorts,
): Promise<readonly WorkerSummary[] | undefined> {
  const fleetEvent = parseFleetEvent(event);
  switch (fleetEvent.kind) {
    case 'task':
      await reconcileTask(fleetEvent.task, ports);
      return undefined;
    case 'interruption':
      await drainInstance(fleetEvent.instance, ports);
      return undefined;
    case 'command':
      return runCommand(fleetEvent.command, ports);
    case 'tick': {
      const until = ports.now() + ports.timings.runMs;
      const reports = await reconcileFleets(ports);
      await followDemand(reports, ports);
      await reprobeWorkers(reports, until, ports);
      return undefined;
    }
  }
}
