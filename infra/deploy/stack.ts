import { setTimeout as sleep } from 'node:timers/promises';
import {
  type CloudFormationClient,
  DeleteStackCommand,
  DescribeStacksCommand,
  paginateDescribeStackEvents,
  paginateListStackResources,
  type Stack,
  type StackEvent,
} from '@aws-sdk/client-cloudformation';

/** A stack's CloudFormation client, with what its functions share. */
export interface StackContext {
  readonly cloudFormation: CloudFormationClient;
  readonly stackName: string;
  readonly print: (line: string) => void;
  /** Pause between two requests while waiting, in milliseconds. */
  readonly pollMs: number;
}

/** Returns a stack by its name, or by its id even after it was deleted. Returns undefined for an unknown stack. */
export async function describeStack(
  { cloudFormation, stackName }: StackContext,
  id = stackName,
): Promise<Stack | undefined> {
  try {
    const { Stacks = [] } = await cloudFormation.send(new DescribeStacksCommand({ StackName: id }));
    return Stacks[0];
  } catch (thrown) {
    if (thrown instanceof Error && /does not exist/.test(thrown.message)) return undefined;
    throw thrown;
  }
}

/** Throws if an operation on a stack is in progress. `REVIEW_IN_PROGRESS` is a stack that has only change sets. */
export function checkIdle({ StackName, StackStatus: status }: Stack): void {
  if (!status?.endsWith('_IN_PROGRESS') || status === 'REVIEW_IN_PROGRESS') return;
  throw new Error(`The stack ${StackName} is being changed (${status}). Run the command again when that has ended.`);
}

/** Returns the physical ids of the resources that a stack has, by their logical ids. */
export async function listPhysicalIds({ cloudFormation, stackName }: StackContext): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for await (const page of paginateListStackResources({ client: cloudFormation }, { StackName: stackName })) {
    for (const { LogicalResourceId, PhysicalResourceId, ResourceStatus } of page.StackResourceSummaries ?? []) {
      if (LogicalResourceId === undefined || PhysicalResourceId === undefined) continue;
      if (ResourceStatus !== 'DELETE_COMPLETE') ids.set(LogicalResourceId, PhysicalResourceId);
    }
  }
  return ids;
}

/** Returns a stack's events of the past 90 days, oldest first. */
export async function listEvents({ cloudFormation }: StackContext, stackId: string): Promise<StackEvent[]> {
  const events: StackEvent[] = [];
  for await (const page of paginateDescribeStackEvents({ client: cloudFormation }, { StackName: stackId })) {
    events.push(...(page.StackEvents ?? []));
  }
  return events.reverse();
}

/** Deletes a stack and waits. Throws with the reasons if a resource can't be deleted. */
export async function deleteStack(context: StackContext, stackId: string): Promise<void> {
  const since = new Date();
  await context.cloudFormation.send(new DeleteStackCommand({ StackName: stackId }));
  const status = await waitForStack(context, stackId);
  if (status === 'DELETE_COMPLETE') return;
  throw new Error(`The stack was not deleted (${status}).\n${await describeFailure(context, stackId, since)}`);
}

/**
 * Waits until CloudFormation has finished with a stack, and prints progress once a minute.
 * @returns its last status
 */
export async function waitForStack(context: StackContext, stackId: string): Promise<string> {
  const start = Date.now();
  for (let polls = 1; ; polls += 1) {
    const status = (await describeStack(context, stackId))?.StackStatus ?? 'DELETE_COMPLETE';
    // The clean-up after a successful update only deletes what is no longer used, but a next update must wait for it.
    if (!status.endsWith('_IN_PROGRESS')) return status;
    await sleep(context.pollMs);
    if (polls % 12 === 0) context.print(`  ${status} for ${Math.round((Date.now() - start) / 1000)} s`);
  }
}

/** Returns the causes of a failure, one a line: the resources that failed by themselves, earliest first. */
export async function describeFailure(context: StackContext, stackId: string, since: Date): Promise<string> {
  const failed = (await listEvents(context, stackId)).filter(
    ({ ResourceStatus = '', ResourceStatusReason = '', ResourceType, Timestamp = since }) =>
      ResourceStatus.endsWith('_FAILED') &&
      ResourceType !== 'AWS::CloudFormation::Stack' &&
      Timestamp >= since &&
      // The other resources that were in progress are cancelled with the first failure.
      !/cancelled/i.test(ResourceStatusReason),
  );
  if (failed.length === 0) return '  CloudFormation gives no reason.';
  return failed
    .map(
      ({ LogicalResourceId, ResourceType, ResourceStatus, ResourceStatusReason }) =>
        `  ${LogicalResourceId} (${ResourceType}) ${ResourceStatus}: ${ResourceStatusReason ?? 'no reason given'}`,
    )
    .join('\n');
}
