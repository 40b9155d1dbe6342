import type { Worker } from '../registry/worker.ts';
import type { FleetDefinition } from './fleet-definition.ts';

/** A machine that should be a worker: a task of the fleet's ECS service, or a machine that `models.json` lists. */
export interface Member {
  readonly id: string;
  /** The API's base. Undefined until the machine has an address. */
  readonly url: string | undefined;
  /** `starting`: the engine does not run yet; `stopping`: it takes no new work; `stopped`: it is gone. */
  readonly phase: 'starting' | 'running' | 'stopping' | 'stopped';
  /** True if ECS's own health check fails. */
  readonly unhealthy: boolean;
  /** Changes at each start. Absent if the member's source doesn't know it. */
  readonly bootId?: string;
  /** Epoch milliseconds. */
  readonly startedAt?: number;
  readonly slots: number;
  readonly source: Worker['source'];
  /** Id of the EC2 instance on which the task runs. */
  readonly instance?: string;
}

/** Returns the machines that `models.json` lists for a fleet. */
export function listStaticMembers({ workers, slots }: FleetDefinition): Member[] {
  return workers.map((worker) => ({
    id: worker.id,
    url: worker.url,
    phase: 'running',
    unhealthy: false,
    slots: worker.slots ?? slots,
    source: 'static',
  }));
}
