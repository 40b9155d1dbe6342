import type { Ecs } from './ecs.ts';
import { type Task, toMember } from './ecs-task.ts';
import type { FleetDefinition } from './fleet-definition.ts';
import { listStaticMembers, type Member } from './member.ts';

/** Returns the machines that should be a fleet's workers. Throws the errors of ECS. */
export async function listMembers(definition: FleetDefinition, ecs: Ecs): Promise<Member[]> {
  const listed = listStaticMembers(definition);
  if (definition.ecs === undefined) return listed;
  const tasks = await ecs.listTasks(definition.ecs);
  return [...listed, ...(await toMembers(tasks, definition, ecs))];
}

/** Converts tasks of a fleet's service to members of the fleet. Throws the errors of ECS. */
export async function toMembers(tasks: readonly Task[], definition: FleetDefinition, ecs: Ecs): Promise<Member[]> {
  const { ecs: service, slots } = definition;
  if (service === undefined) return [];
  const arns = tasks.flatMap(({ containerInstanceArn = [] }) => containerInstanceArn);
  const instances = arns.length === 0 ? new Map<string, string>() : await ecs.findInstances(service.cluster, arns);
  return tasks.map((task) =>
    toMember(task, { port: service.port, slots }, instances.get(task.containerInstanceArn ?? '')),
  );
}
