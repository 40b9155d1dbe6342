import type { Task } from './ecs-task.ts';
import type { EcsService } from './fleet-definition.ts';

/** What the fleet's upkeep asks of ECS. Throws what ECS throws. */
export interface Ecs {
  /** Every task of a service that has not stopped, those included that are to stop. */
  tasks(of: EcsService): Promise<readonly Task[]>;
  /** One task, also for a while after it has stopped; undefined when ECS doesn't know it any more. */
  task(clusterArn: string, taskArn: string): Promise<Task | undefined>;
  /** The EC2 instances under container instances of a cluster, by their ARNs. */
  instances(cluster: string, containerInstanceArns: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** How many tasks a service should have, and has or is starting; undefined when there is no such service. */
  counts(of: EcsService): Promise<{ readonly desired: number; readonly alive: number } | undefined>;
  /** Asks for so many tasks of a service. */
  scale(of: EcsService, desired: number): Promise<void>;
}
