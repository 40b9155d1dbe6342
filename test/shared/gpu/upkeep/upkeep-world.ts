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
import { aLease, aLeaseRequest, FLEET, type FleetTables, START } from '../fleets.ts';
import { CLUSTER, type StandInEcs, type StandInTask } from './stand-in-ecs.ts';

export function aDefinition(changes: Partial<FleetDefinition> = {}): FleetDefinition {
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

/** The fleet of ECS's stand-in: its tasks' engines listen on one port of this machine. */
export function ecsDefinition(port: number, changes: Partial<FleetDefinition> = {}): FleetDefinition {
  return aDefinition({ ecs: { cluster: CLUSTER, service: 'qwen', port }, ...changes });
}

/** One fleet and its upkeep, over real wires, on a clock of its own. */
export class UpkeepWorld {
  readonly ports: UpkeepPorts;
  readonly changes: WorkerChange[] = [];
  readonly errors: string[] = [];
  /** What happens while the upkeep sleeps. */
  meanwhile: () => Promise<void> = async () => undefined;
  clock = START;
  /** Whether the engines' key can't be had. */
  keyIsOut = false;

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
          if (this.keyIsOut) throw new Error('The store of secrets is down');
          return `key of ${reference}`;
        },
        FLEET_TIMINGS.upkeep,
      ),
      timings: FLEET_TIMINGS.upkeep,
      now: () => this.clock,
      sleep: async (ms) => {
        this.clock += ms;
        await this.meanwhile();
      },
      onChange: (change) => this.changes.push(change),
      onError: (what) => this.errors.push(what),
    };
  }

  reconcile(): Promise<FleetReport[]> {
    return reconcileFleets(this.ports);
  }

  /** A minute of the schedule, as the function spends it. */
  async minute(): Promise<void> {
    const until = this.clock + FLEET_TIMINGS.upkeep.runMs;
    await reprobeWorkers(await this.reconcile(), until, this.ports);
    this.clock = until + 10_000;
  }

  async workers(): Promise<readonly Worker[]> {
    return (await this.ports.store.read(FLEET)).workers;
  }

  /** The one worker. */
  async worker(): Promise<Worker | undefined> {
    return (await this.workers())[0];
  }

  /** Takes a slot of the one worker, and says whether it could be had. */
  async lease(id: string): Promise<boolean> {
    const worker = await this.worker();
    if (worker === undefined) return false;
    const lease = aLease({ expiresAt: this.clock + 45_000 });
    return this.ports.store.lease(
      FLEET,
      worker.id,
      aLeaseRequest({ id, lease, bootId: worker.bootId, now: this.clock }),
    );
  }
}

/** A task as an event carries it. */
export function told(task: StandInTask): Task {
  return v.parse(taskSchema, { ...task, startedAt: new Date(task.startedAt * 1_000).toISOString() });
}
