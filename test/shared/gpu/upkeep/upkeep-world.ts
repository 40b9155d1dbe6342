import { ECSClient } from '@aws-sdk/client-ecs';
import * as v from 'valibot';
import { FLEET_TIMINGS } from '../../../../shared/gpu/fleet-timings.ts';
import { createDynamoDBFleetStore } from '../../../../shared/gpu/registry/dynamodb-fleet.ts';
import type { Worker } from '../../../../shared/gpu/registry/worker.ts';
import { createEcs } from '../../../../shared/gpu/upkeep/ecs-api.ts';
import { type Task, taskSchema } from '../../../../shared/gpu/upkeep/ecs-task.ts';
import type { FleetDefinition } from '../../../../shared/gpu/upkeep/fleet-definition.ts';
import type { UpkeepPorts } from '../../../../shared/gpu/upkeep/ports.ts';
import { createProbeFactory } from '../../../../shared/gpu/upkeep/probe.ts';
import { type FleetReport, reconcileFleets, reprobeWorkers } from '../../../../shared/gpu/upkeep/reconcile-fleet.ts';
import type { WorkerChange } from '../../../../shared/gpu/upkeep/reconcile-worker.ts';
import { createLease, createLeaseRequest, FLEET, type FleetTables, START } from '../fleets.ts';
import { CLUSTER, type StandInEcs, type StandInTask } from './stand-in-ecs.ts';

/** Returns the definition of a fleet without workers, with the given changes. */
export function createFleetDefinition(changes: Partial<FleetDefinition> = {}): FleetDefinition {
  return {
    engine: 'vllm',
    workers: [],
    slots: 4,
    reserve: 0.25,
    lora: {},
    scaling: { tokensPerSecond: 1_000, drainSeconds: 60, minWorkers: 0, maxWorkers: 8 },
    ...changes,
  };
}

/** Returns the definition of a fleet of ECS tasks, whose engines all listen on `port` of this machine. */
export function createEcsDefinition(port: number, changes: Partial<FleetDefinition> = {}): FleetDefinition {
  return createFleetDefinition({ ecs: { cluster: CLUSTER, service: 'qwen', port }, ...changes });
}

/** The upkeep of one fleet, with a clock of its own and stand-ins for DynamoDB, ECS and the engines. */
export class UpkeepWorld {
  readonly ports: UpkeepPorts;
  readonly changes: WorkerChange[] = [];
  readonly errors: string[] = [];
  /** Called while the upkeep sleeps. */
  onSleep: () => Promise<void> = async () => undefined;
  clock = START;
  /** True if the engines' key can't be resolved. */
  isKeyMissing = false;

  static async open(tables: FleetTables, ecs: StandInEcs, definition: FleetDefinition): Promise<UpkeepWorld> {
    return new UpkeepWorld(tables, await tables.newTable(), ecs, definition);
  }

  private constructor(tables: FleetTables, tableName: string, ecs: StandInEcs, definition: FleetDefinition) {
    const fleets = { [FLEET]: definition };
    this.ports = {
      fleets,
      store: createDynamoDBFleetStore(tables.client, { tableName, now: () => this.clock }),
      ecs: createEcs(
        new ECSClient({
          region: 'eu-west-1',
          endpoint: ecs.url,
          credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
          maxAttempts: 1,
        }),
      ),
      createProbe: createProbeFactory(
        fleets,
        async (reference) => {
          if (this.isKeyMissing) throw new Error('The secrets store is down');
          return `key of ${reference}`;
        },
        FLEET_TIMINGS.upkeep,
      ),
      timings: FLEET_TIMINGS.upkeep,
      now: () => this.clock,
      sleep: async (ms) => {
        this.clock += ms;
        await this.onSleep();
      },
      onChange: (change) => this.changes.push(change),
      onError: (message) => this.errors.push(message),
    };
  }

  reconcile(): Promise<FleetReport[]> {
    return reconcileFleets(this.ports);
  }

  /** Runs the upkeep as the schedule does each minute. */
  async runMinute(): Promise<void> {
    const until = this.clock + FLEET_TIMINGS.upkeep.runMs;
    await reprobeWorkers(await this.reconcile(), until, this.ports);
    this.clock = until + 10_000;
  }

  async workers(): Promise<readonly Worker[]> {
    return (await this.ports.store.read(FLEET)).workers;
  }

  /** Returns the only worker. */
  async worker(): Promise<Worker | undefined> {
    return (await this.workers())[0];
  }

  /** Leases a slot of the only worker. Returns true if the lease was granted. */
  async lease(id: string): Promise<boolean> {
    const worker = await this.worker();
    if (worker === undefined) return false;
    const lease = createLease({ expiresAt: this.clock + 45_000 });
    return this.ports.store.lease(
      FLEET,
      worker.id,
      createLeaseRequest({ id, lease, bootId: worker.bootId, now: this.clock }),
    );
  }
}

/** Returns a task as it appears in an event. */
export function toEventTask(task: StandInTask): Task {
  return v.parse(taskSchema, { ...task, startedAt: new Date(task.startedAt * 1_000).toISOString() });
}
