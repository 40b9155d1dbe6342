import type { UpkeepTimings } from '../fleet-timings.ts';
import type { FleetStore } from '../registry/fleet-store.ts';
import type { Ecs } from './ecs.ts';
import type { FleetDefinition } from './fleet-definition.ts';
import type { Probe } from './probe.ts';
import type { ReconcilePorts, WorkerChange } from './reconcile-worker.ts';

/** Dependencies of the fleet's upkeep. */
export interface UpkeepPorts {
  /** By the fleet's name. */
  readonly fleets: Readonly<Record<string, FleetDefinition>>;
  readonly store: FleetStore;
  readonly ecs: Ecs;
  /** Creates the probe of a fleet's workers. Rejects if the fleet's key is missing. */
  readonly createProbe: (fleet: string) => Promise<Probe>;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  readonly timings: UpkeepTimings;
  readonly onChange: (change: WorkerChange) => void;
  readonly onError: (message: string, fleet: string, thrown: unknown) => void;
}

/**
 * Returns the ports to reconcile workers of one fleet. The fleet's key is resolved once, when the first worker is
 * probed.
 */
export function createReconcilePorts(
  fleet: string,
  { store, createProbe, now, onChange }: UpkeepPorts,
): ReconcilePorts {
  let created: Promise<Probe> | undefined;
  const probe = (): Promise<Probe> => {
    created ??= createProbe(fleet);
    return created;
  };
  return { store, probe, now, onChange };
}
