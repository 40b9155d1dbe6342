import type { Worker } from '../registry/worker.ts';
import type { FleetDefinition } from './fleet-definition.ts';

/** A machine that should be a worker, as ECS or the list of machines elsewhere tells. */
export interface Member {
  readonly id: string;
  /** The API's base. Undefined while it has no address. */
  readonly url: string | undefined;
  /** `starting`: there is no engine to ask yet; `leaving`: it takes no new work; `gone`: it is no more. */
  readonly phase: 'starting' | 'running' | 'leaving' | 'gone';
  /** Whether ECS's own check of it fails. */
  readonly unhealthy: boolean;
  /** Another one after each start, where whoever tells of it knows. */
  readonly bootId?: string;
  /** Epoch milliseconds. */
  readonly startedAt?: number;
  readonly slots: number;
  readonly source: Worker['source'];
  readonly instance?: string;
}

/** The machines that `models.json` lists for a fleet. */
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
