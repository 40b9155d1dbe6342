import { CloudFormationClient } from '@aws-sdk/client-cloudformation';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createChangeSet, executeChangeSet } from '../../../infra/deploy/change-set.ts';
import { deleteStack, listPhysicalIds, type StackContext } from '../../../infra/deploy/stack.ts';
import { type AwsStandIn, type Operations, type Parameters, startAws } from '../operate/aws-stand-in.ts';
import { describeStack, STACK_ID } from './aws.ts';

const INPUT = { type: 'UPDATE', template: { TemplateBody: '{}' }, stage: 'dev' } as const;
const CHANGE_SET = { id: 'change', stackId: STACK_ID, changes: [] };

let aws: AwsStandIn | undefined;
let created: Parameters;
beforeEach(() => {
  created = {};
});
afterEach(() => aws?.close());

async function start(operations: Operations): Promise<StackContext> {
  aws = await startAws({
    CreateChangeSet: (parameters) => {
      created = parameters;
      return { body: `<Id>change</Id><StackId>${STACK_ID}</StackId>` };
    },
    DeleteChangeSet: () => ({}),
    ExecuteChangeSet: () => ({}),
    DeleteStack: () => ({}),
    ...operations,
  });
  const cloudFormation = new CloudFormationClient({ ...aws.clientConfig, region: 'eu-west-1', maxAttempts: 1 });
  return { cloudFormation, stackName: 'lambent-dev', print: () => {}, pollMs: 1 };
}

const describeFailure = (reason: string): Operations => ({
  DescribeChangeSet: () => ({ body: `<Status>FAILED</Status><StatusReason>${reason}</StatusReason>` }),
});
const formatChange = (id: string, more = '') =>
  `<Changes><member><ResourceChange><Action>Modify</Action><LogicalResourceId>${id}</LogicalResourceId><ResourceType>T</ResourceType>${more}</ResourceChange></member></Changes>`;

describe('createChangeSet', () => {
  // CloudFormation has both texts, for change sets and for updates.
  it.each([
    "The submitted information didn't contain changes. Submit different information to create a change set.",
    'No updates are to be performed.',
  ])('a change set that failed because of "%s" means that nothing changes, and is deleted', async (reason) => {
    expect(await createChangeSet(await start(describeFailure(reason)), INPUT)).toBeUndefined();
    expect(aws?.requested.at(-1)).toBe('DeleteChangeSet');
  });

  it('a change set that failed for another reason is an error with this reason, and is deleted', async () => {
    const context = await start(describeFailure('Template error: no such resource'));
    await expect(createChangeSet(context, INPUT)).rejects.toThrow('refused the change: Template error: no such');
    expect(aws?.requested.at(-1)).toBe('DeleteChangeSet');
  });

  it('a change set is read when it is complete, with all pages of its changes', async () => {
    const states = ['CREATE_PENDING', 'CREATE_IN_PROGRESS', 'CREATE_COMPLETE', 'CREATE_COMPLETE'];
    const context = await start({
      DescribeChangeSet: ({ NextToken }) => {
        const status = states.shift();
        if (status !== 'CREATE_COMPLETE') return { body: `<Status>${status}</Status>` };
        const more = NextToken === undefined ? '<NextToken>more</NextToken>' : '';
        const id = NextToken === undefined ? 'First' : 'Second';
        return { body: `<Status>${status}</Status>${formatChange(id)}${more}` };
      },
    });
    const changeSet = await createChangeSet(context, INPUT);
    expect(changeSet?.changes.map(({ id }) => id)).toEqual(['First', 'Second']);
    expect(changeSet).toMatchObject({ id: 'change', stackId: STACK_ID });
  });

  it.each([
    ['True', 'yes'],
    ['Conditional', 'perhaps'],
    ['False', 'no'],
  ])('a change with the replacement %s has: %s', async (Replacement, replacement) => {
    const target = (name: string) => `<member><Target><Name>${name}</Name></Target></member>`;
    const details = `<Replacement>${Replacement}</Replacement><Details>${target('B')}${target('A')}${target('B')}</Details>`;
    const body = `<Status>CREATE_COMPLETE</Status>${formatChange('X', details)}`;
    const changeSet = await createChangeSet(await start({ DescribeChangeSet: () => ({ body }) }), INPUT);
    expect(changeSet?.changes).toEqual([{ action: 'Modify', id: 'X', type: 'T', replacement, properties: ['A', 'B'] }]);
  });

  it('a change set has the tag of osls, which all resources have, and may create roles', async () => {
    await createChangeSet(await start(describeFailure('No updates are to be performed.')), INPUT);
    expect(created).toMatchObject({ 'Tags.member.1.Key': 'STAGE', 'Tags.member.1.Value': 'dev' });
    const capabilities = Object.entries(created).filter(([name]) => name.startsWith('Capabilities.'));
    expect(capabilities.map(([, value]) => value)).toContain('CAPABILITY_NAMED_IAM');
  });
});

describe('executeChangeSet', () => {
  it.each(['CREATE_COMPLETE', 'UPDATE_COMPLETE', 'IMPORT_COMPLETE'])('the status %s is a success', async (status) => {
    const states = ['UPDATE_IN_PROGRESS', 'UPDATE_COMPLETE_CLEANUP_IN_PROGRESS', status];
    await executeChangeSet(await start({ DescribeStacks: () => describeStack(states.shift()) }), CHANGE_SET);
    expect(states).toEqual([]);
  });

  it('a failed change is an error with its first causes: not the cancelled ones, nor those of earlier changes', async () => {
    const event = (id: string, reason: string, time: Date, type = 'AWS::SNS::Topic') =>
      `<member><EventId>${id}</EventId><StackName>lambent-dev</StackName><StackId>${STACK_ID}</StackId><LogicalResourceId>${id}</LogicalResourceId><ResourceType>${type}</ResourceType><ResourceStatus>UPDATE_FAILED</ResourceStatus><ResourceStatusReason>${reason}</ResourceStatusReason><Timestamp>${time.toISOString()}</Timestamp></member>`;
    // CloudFormation lists the newest first. Its clock may be behind.
    const now = new Date(Date.now() - 30_000);
    const events = [
      event('lambent-dev', 'The following resources failed', now, 'AWS::CloudFormation::Stack'),
      event('Third', 'Resource update cancelled', now),
      event('Second', 'no quota', now),
      event('First', 'no permission', now),
      event('Earlier', 'long ago', new Date(now.getTime() - 3_600_000)),
    ];
    const context = await start({
      DescribeStacks: () => describeStack('UPDATE_ROLLBACK_COMPLETE'),
      DescribeStackEvents: () => ({ body: `<StackEvents>${events.join('')}</StackEvents>` }),
    });
    const causes = ['First', 'Second'].map(
      (id) => `  ${id} (AWS::SNS::Topic) UPDATE_FAILED: ${id === 'First' ? 'no permission' : 'no quota'}`,
    );
    await expect(executeChangeSet(context, CHANGE_SET)).rejects.toMatchObject({
      status: 'UPDATE_ROLLBACK_COMPLETE',
      message: `CloudFormation could not make the change (UPDATE_ROLLBACK_COMPLETE).\n${causes.join('\n')}`,
    });
  });
});

describe('a stack', () => {
  it('a resource that was deleted is not among those of the stack', async () => {
    const member = (id: string, status: string) =>
      `<member><LogicalResourceId>${id}</LogicalResourceId><PhysicalResourceId>p-${id}</PhysicalResourceId><ResourceStatus>${status}</ResourceStatus></member>`;
    const members = ['UPDATE_COMPLETE', 'DELETE_COMPLETE', 'DELETE_SKIPPED'].map((status) => member(status, status));
    const body = `<StackResourceSummaries>${members.join('')}</StackResourceSummaries>`;
    const ids = await listPhysicalIds(await start({ ListStackResources: () => ({ body }) }));
    expect([...ids.keys()]).toEqual(['UPDATE_COMPLETE', 'DELETE_SKIPPED']);
  });

  it('a deletion that ends in DELETE_FAILED is an error', async () => {
    const context = await start({
      DescribeStacks: () => describeStack('DELETE_FAILED'),
      DescribeStackEvents: () => ({ body: '<StackEvents></StackEvents>' }),
    });
    await expect(deleteStack(context, STACK_ID)).rejects.toThrow('The stack was not deleted (DELETE_FAILED).');
  });
});
