import type { Task } from './ecs-task.ts';
import type { EcsService } from './fleet-definition.ts';

/** The operations of ECS that the fleet's upkeep needs. They throw the errors of ECS. */
export interface Ecs {
  /** Returns every task of a service that has not stopped, including tasks that are about to stop. */
  listTasks(service: EcsService): Promise<readonly Task[]>;
  /** Returns a task, also for a while after it has stopped; undefined if ECS no longer knows it. */
  describeTask(clusterArn: string, taskArn: string): Promise<Task | undefined>;
  /** Returns the EC2 instance id of each container instance, by its ARN. */
  findInstances(cluster: string, containerInstanceArns: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /**
   * Returns the desired number of a service's tasks, and the number that run or start; undefined if it does not exist.
   */
  countTasks(service: EcsService): Promise<{ readonly desired: number; readonly alive: number } | undefined>;
  /** Sets a service's desired number of tasks. */
  setDesiredCount(service: EcsService, desired: number): Promise<void>;
}
