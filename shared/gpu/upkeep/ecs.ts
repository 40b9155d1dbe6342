import type { Task } from './ecs-task.ts';
import type { EcsService } from './fleet-definition.ts';

/** What the fleet's upkeep asks of ECS. Throws what ECS throws. */
export interface Ecs {
  /** Every task of a service that has not stopped, those included that are to stop. */
  listTasks(of: EcsService): Promise<readonly Task[]>;
  /** One task, also for a while after it has stopped; undefined when ECS doesn't know it any more. */
  describeTask(clusterArn: string, taskArn: string): Promise<Task | undefined>;
  /** The EC2 instances under container instances of a cluster, by their ARNs. */
  findInstances(cluster: string, containerInstanceArns: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** How many tasks a service should have, and has or is starting; undefined when there is no such service. */
  countTasks(of: EcsService): Promise<{ readonly desired: number; readonly alive: number } | undefined>;
  /** Asks for so many tasks of a service. */
  setDesiredCount(of: EcsService, desired: number): Promise<void>;
}
