import type { Stack, StackEvent } from '@aws-sdk/client-cloudformation';
import type { S3Client } from '@aws-sdk/client-s3';
import { DATA_IDS, type DataClients, type DataResources, deleteData, emptyBucket } from './data.ts';
import { deleteStack, listEvents, listPhysicalIds, type StackContext } from './stack.ts';

/** Logical id of the bucket for zips and templates, which osls gives it. */
export const DEPLOYMENT_BUCKET = 'ServerlessDeploymentBucket';
/** Statuses of a stack whose last operation on all of it succeeded. */
const SUCCEEDED = ['UPDATE_COMPLETE', 'UPDATE_COMPLETE_CLEANUP_IN_PROGRESS', 'IMPORT_COMPLETE'];

/**
 * Deletes what a failed first deployment left: the stack, and the tables that their deletion protection kept. Their
 * names would block the next deployment.
 * @throws Error if a deployment of the stack may have succeeded, before anything is deleted
 */
export async function cleanUpFirstDeployment(
  context: StackContext,
  clients: DataClients,
  { StackId: stackId = '', StackStatus: status }: Stack,
): Promise<void> {
  const events = await listEvents(context, stackId);
  if (!hasNeverSucceeded(events)) {
    throw new Error(
      `The stack ${context.stackName} has the status ${status}, and may hold data. docs/deploy.md#if-a-deployment-fails`,
    );
  }
  context.print(`No deployment of ${context.stackName} has succeeded yet. Deleting what the failed one left:`);
  const data = listCreatedData(events);
  await emptyDeploymentBucket(context, clients.s3);
  await deleteStack(context, stackId);
  await deleteData(clients, data, context.print);
  context.print(`  the stack ${context.stackName}: deleted`);
}

/** Deletes the zips and templates, because CloudFormation deletes only empty buckets. */
export async function emptyDeploymentBucket(context: StackContext, s3: S3Client): Promise<void> {
  const bucket = (await listPhysicalIds(context)).get(DEPLOYMENT_BUCKET);
  if (bucket !== undefined) await emptyBucket(s3, bucket);
}

/**
 * Returns true only if the events show that no deployment of a stack succeeded. A first deployment creates the stack
 * with its deployment bucket and then updates it. CloudFormation keeps events for 90 days, so that the first event must
 * be among them.
 * @param events all events of the stack, oldest first
 */
export function hasNeverSucceeded(events: readonly StackEvent[]): boolean {
  const isOfStack = ({ PhysicalResourceId, StackId }: StackEvent) => PhysicalResourceId === StackId;
  const first = events.find(isOfStack)?.ResourceStatus ?? '';
  if (!['CREATE_IN_PROGRESS', 'REVIEW_IN_PROGRESS'].includes(first)) return false;
  const created = events.findIndex((event) => isOfStack(event) && event.ResourceStatus === 'CREATE_COMPLETE');
  // A stack that was created with its data, in one step and by other means, has succeeded.
  if (created >= 0 && Object.keys(listCreatedData(events.slice(0, created))).length > 0) return false;
  return !events.some((event) => isOfStack(event) && SUCCEEDED.includes(event.ResourceStatus ?? ''));
}

/**
 * Returns the data resources that a stack itself created, according to its events. A resource that existed before isn't
 * among them: the attempt to create it fails before its creation is initiated.
 */
export function listCreatedData(events: readonly StackEvent[]): DataResources {
  const created = events.flatMap(({ LogicalResourceId: id = '', PhysicalResourceId, ...event }) => {
    const isCreated =
      event.ResourceStatus === 'CREATE_COMPLETE' ||
      (event.ResourceStatus === 'CREATE_IN_PROGRESS' && event.ResourceStatusReason === 'Resource creation Initiated');
    return DATA_IDS.includes(id) && PhysicalResourceId && isCreated ? [[id, PhysicalResourceId] as const] : [];
  });
  return Object.fromEntries(created);
}
