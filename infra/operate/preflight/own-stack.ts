import { CloudFormationClient, paginateListStackResources } from '@aws-sdk/client-cloudformation';
import type { PreflightInput } from './finding.ts';

/**
 * Returns the names and ids of the resources that the stage's stack has in AWS, by their logical ids; undefined before
 * the first deployment.
 */
export async function readOwnStack(
  input: Pick<PreflightInput, 'region' | 'stackName' | 'clientConfig'>,
): Promise<ReadonlyMap<string, string> | undefined> {
  const client = new CloudFormationClient({ ...input.clientConfig, region: input.region });
  const resources = new Map<string, string>();
  try {
    for await (const page of paginateListStackResources({ client }, { StackName: input.stackName })) {
      for (const { LogicalResourceId, PhysicalResourceId } of page.StackResourceSummaries ?? [])
        if (LogicalResourceId !== undefined && PhysicalResourceId !== undefined)
          resources.set(LogicalResourceId, PhysicalResourceId);
    }
  } catch (thrown) {
    if (thrown instanceof Error && /does not exist/.test(thrown.message)) return undefined;
    throw thrown;
  } finally {
    client.destroy();
  }
  return resources;
}
