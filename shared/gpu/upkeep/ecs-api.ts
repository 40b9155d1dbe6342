import {
  DescribeContainerInstancesCommand,
  DescribeServicesCommand,
  DescribeTasksCommand,
  type ECSClient,
  paginateListTasks,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs';
import * as v from 'valibot';
import type { Ecs } from './ecs.ts';
import { type Task, taskSchema } from './ecs-task.ts';

/** Maximum number of tasks or instances that ECS describes in one request. */
const MAX_PER_REQUEST = 100;

/** Creates the port to ECS that calls its API. */
export function createEcs(client: ECSClient): Ecs {
  const describe = async (cluster: string, tasks: readonly string[]): Promise<Task[]> => {
    const pages = await Promise.all(
      toPages(tasks).map((page) => client.send(new DescribeTasksCommand({ cluster, tasks: page }))),
    );
    return pages.flatMap((page) => page.tasks ?? []).map((task) => v.parse(taskSchema, task));
  };
  return {
    async listTasks({ cluster, service }) {
      const arns = new Set<string>();
      // `STOPPED` lists tasks that are about to stop, and those that stopped within the last hour.
      for (const desiredStatus of ['RUNNING', 'STOPPED'] as const) {
        const pages = paginateListTasks({ client }, { cluster, serviceName: service, desiredStatus });
        for await (const { taskArns = [] } of pages) for (const arn of taskArns) arns.add(arn);
      }
      const tasks = await describe(cluster, [...arns]);
      return tasks.filter(({ lastStatus }) => lastStatus !== 'STOPPED');
    },
    async describeTask(clusterArn, taskArn) {
      const [task] = await describe(clusterArn, [taskArn]);
      return task;
    },
    async findInstances(cluster, containerInstanceArns) {
      const pages = await Promise.all(
        toPages([...new Set(containerInstanceArns)]).map((containerInstances) =>
          client.send(new DescribeContainerInstancesCommand({ cluster, containerInstances })),
        ),
      );
      const described = pages.flatMap((page) => page.containerInstances ?? []);
      return new Map(
        described.flatMap(({ containerInstanceArn, ec2InstanceId }) =>
          containerInstanceArn === undefined || ec2InstanceId === undefined
            ? []
            : [[containerInstanceArn, ec2InstanceId] as const],
        ),
      );
    },
    async countTasks({ cluster, service }) {
      const { services = [] } = await client.send(new DescribeServicesCommand({ cluster, services: [service] }));
      const [found] = services.filter(({ status }) => status === 'ACTIVE');
      if (found === undefined) return undefined;
      return { desired: found.desiredCount ?? 0, alive: (found.runningCount ?? 0) + (found.pendingCount ?? 0) };
    },
    async setDesiredCount({ cluster, service }, desiredCount) {
      await client.send(new UpdateServiceCommand({ cluster, service, desiredCount }));
    },
  };
}

function toPages(arns: readonly string[]): string[][] {
  const pages: string[][] = [];
  for (let from = 0; from < arns.length; from += MAX_PER_REQUEST) pages.push(arns.slice(from, from + MAX_PER_REQUEST));
  return pages;
}
