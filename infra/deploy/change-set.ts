import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Change,
  type ChangeSetType,
  CreateChangeSetCommand,
  DeleteChangeSetCommand,
  DescribeChangeSetCommand,
  ExecuteChangeSetCommand,
  type ResourceToImport,
} from '@aws-sdk/client-cloudformation';
import { describeFailure, type StackContext, waitForStack } from './stack.ts';

/** A change that CloudFormation would make to a resource. */
export interface ResourceChange {
  readonly action: string;
  readonly id: string;
  readonly type: string;
  /** `yes` if the resource would be replaced by a new, empty one; `perhaps` if CloudFormation doesn't know yet. */
  readonly replacement: 'yes' | 'perhaps' | 'no';
  /** Names of the properties that change. */
  readonly properties: readonly string[];
}

export interface ChangeSet {
  readonly id: string;
  readonly stackId: string;
  readonly changes: readonly ResourceChange[];
}

export interface ChangeSetInput {
  readonly type: ChangeSetType;
  /** The template, up to 51,200 bytes; larger ones must be in a bucket. */
  readonly template: { readonly TemplateBody: string } | { readonly TemplateURL: string };
  /** The stage, which osls sets as the stack's tag. Another tag would change every resource. */
  readonly stage: string;
  readonly resourcesToImport?: ResourceToImport[];
}

/**
 * Creates a change set and waits for it.
 * @returns the changes; undefined if nothing changes
 * @throws Error with CloudFormation's reason if it refuses the template
 */
export async function createChangeSet(context: StackContext, input: ChangeSetInput): Promise<ChangeSet | undefined> {
  const { cloudFormation, stackName } = context;
  const { Id: id = '', StackId: stackId = '' } = await cloudFormation.send(
    new CreateChangeSetCommand({
      StackName: stackName,
      ChangeSetName: `lambent-${Date.now()}`,
      ChangeSetType: input.type,
      ...input.template,
      Capabilities: ['CAPABILITY_IAM', 'CAPABILITY_NAMED_IAM'],
      Tags: [{ Key: 'STAGE', Value: input.stage }],
      ...(input.resourcesToImport === undefined ? {} : { ResourcesToImport: input.resourcesToImport }),
    }),
  );
  const { status, reason, changes } = await waitForChangeSet(context, id);
  if (status === 'CREATE_COMPLETE') return { id, stackId, changes };
  await deleteChangeSet(context, id);
  if (/didn't contain changes|No updates are to be performed/i.test(reason)) return undefined;
  throw new Error(`CloudFormation refused the change: ${reason}`);
}

async function waitForChangeSet({ cloudFormation, stackName, pollMs }: StackContext, id: string) {
  for (;;) {
    const changes: ResourceChange[] = [];
    let NextToken: string | undefined;
    let status = '';
    let reason = '';
    do {
      const page = await cloudFormation.send(
        new DescribeChangeSetCommand({ ChangeSetName: id, StackName: stackName, ...(NextToken && { NextToken }) }),
      );
      status = page.Status ?? '';
      reason = page.StatusReason ?? '';
      changes.push(...(page.Changes ?? []).map(parseChange));
      NextToken = page.NextToken;
    } while (NextToken !== undefined);
    if (!status.endsWith('_IN_PROGRESS') && !status.endsWith('_PENDING')) return { status, reason, changes };
    await sleep(pollMs);
  }
}

function parseChange({ ResourceChange = {} }: Change): ResourceChange {
  const { Action = '', LogicalResourceId = '', ResourceType = '', Replacement, Details = [] } = ResourceChange;
  const properties = Details.map(({ Target }) => Target?.Name ?? Target?.Attribute ?? '').filter((name) => name !== '');
  return {
    action: Action,
    id: LogicalResourceId,
    type: ResourceType,
    replacement: Replacement === 'True' ? 'yes' : Replacement === 'Conditional' ? 'perhaps' : 'no',
    properties: [...new Set(properties)].sort(),
  };
}

/** Deletes a change set that is not executed. */
export async function deleteChangeSet({ cloudFormation, stackName }: StackContext, id: string): Promise<void> {
  await cloudFormation.send(new DeleteChangeSetCommand({ ChangeSetName: id, StackName: stackName }));
}

/** CloudFormation ended a change with another status than the intended one. */
export class FailedChangeError extends Error {
  override readonly name = 'FailedChangeError';
  readonly status: string;

  constructor(status: string, reasons: string) {
    super(`CloudFormation could not make the change (${status}).\n${reasons}`);
    this.status = status;
  }
}

/**
 * Executes a change set and waits until the stack is ready for the next one.
 * @throws FailedChangeError with the failed resources if the change failed
 */
export async function executeChangeSet(context: StackContext, { id, stackId }: ChangeSet): Promise<void> {
  // The clocks of this machine and of AWS may differ.
  const since = new Date(Date.now() - 60_000);
  await context.cloudFormation.send(new ExecuteChangeSetCommand({ ChangeSetName: id, StackName: context.stackName }));
  const status = await waitForStack(context, stackId);
  if (['CREATE_COMPLETE', 'UPDATE_COMPLETE', 'IMPORT_COMPLETE'].includes(status)) return;
  throw new FailedChangeError(status, await describeFailure(context, stackId, since));
}
