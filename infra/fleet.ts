import { LambentError } from '../shared/core/errors.ts';
import type { Fleet } from '../shared/inference/registry.ts';
import { readPackagedRegistry } from './models-file.ts';
import { createSecretStatements } from './models-policy.ts';
import type { Stage } from './settings.ts';

type Ecs = NonNullable<Fleet['ecs']>;

interface FleetPolicy {
  readonly PolicyName: 'fleet-tasks';
  readonly PolicyDocument: { readonly Version: '2012-10-17'; readonly Statement: readonly object[] };
}

/** The stage of the laptop, which reads its models only when it starts. */
const LOCAL_STAGE = 'local';

/** True if the stage has fleets. Without any, nothing is invoked or polled for them, so that they cost nothing. */
export async function hasFleets({ stage }: Pick<Stage, 'stage'>): Promise<boolean> {
  return stage === LOCAL_STAGE || (await readPackagedFleets()).length > 0;
}

/** Returns fleet's triggers: none without fleets, else every minute, and events of ECS and EC2 if some are on ECS. */
export async function createFleetEvents(stage: Pick<Stage, 'stage'>): Promise<object[]> {
  return (await hasFleets(stage)) ? createTriggers(await readPackagedFleets()) : [];
}

/** Returns fleet's permissions for the fleets of the packaged registry. */
export async function createFleetPolicy(): Promise<FleetPolicy | { readonly Ref: 'AWS::NoValue' }> {
  const Statement = createStatements(await readPackagedFleets());
  if (Statement.length === 0) return { Ref: 'AWS::NoValue' };
  return { PolicyName: 'fleet-tasks', PolicyDocument: { Version: '2012-10-17', Statement } };
}

async function readPackagedFleets(): Promise<Fleet[]> {
  return Object.values((await readPackagedRegistry()).fleets);
}

/**
 * Returns fleet's triggers: its schedule, state changes of its fleets' tasks, and interruptions of every spot instance,
 * because EC2's event doesn't name the instance's cluster.
 */
export function createTriggers(fleets: readonly Fleet[]): object[] {
  const schedule = { schedule: 'rate(1 minute)' };
  const services = listServices(fleets);
  if (services.length === 0) return [schedule];
  const tasks = {
    source: ['aws.ecs'],
    'detail-type': ['ECS Task State Change'],
    detail: {
      clusterArn: deduplicate(services.map(({ cluster }) => cluster)).map((cluster) => ({
        suffix: `:cluster/${cluster}`,
      })),
      group: deduplicate(services.map(({ service }) => `service:${service}`)),
    },
  };
  const interruptions = { source: ['aws.ec2'], 'detail-type': ['EC2 Spot Instance Interruption Warning'] };
  return [schedule, { eventBridge: { pattern: tasks } }, { eventBridge: { pattern: interruptions } }];
}

/**
 * Returns IAM statements that let fleet describe its fleets' tasks, change their services' desired count and read the
 * engines' keys.
 * @throws LambentError `configuration` for a name with characters that IAM or CloudFormation would interpret
 */
export function createStatements(fleets: readonly Fleet[]): object[] {
  const services = listServices(fleets);
  const clusters = deduplicate(services.map(({ cluster }) => cluster));
  const keys = createSecretStatements(fleets.flatMap(({ apiKey = [] }) => apiKey));
  if (clusters.length === 0) return keys;
  const allow = (Sid: string, Action: string[], Resource: unknown, condition = {}) => ({
    ...{ Sid, Effect: 'Allow', Action, Resource },
    ...condition,
  });
  return [
    // ListTasks supports no resource. The condition limits it to the clusters.
    allow('ListTasks', ['ecs:ListTasks'], '*', {
      Condition: { ArnEquals: { 'ecs:cluster': clusters.map((cluster) => formatArn(`cluster/${cluster}`)) } },
    }),
    allow(
      'Tasks',
      ['ecs:DescribeTasks'],
      clusters.map((cluster) => formatArn(`task/${cluster}/*`)),
    ),
    allow(
      'Instances',
      ['ecs:DescribeContainerInstances'],
      clusters.map((cluster) => formatArn(`container-instance/${cluster}/*`)),
    ),
    allow(
      'Services',
      ['ecs:DescribeServices', 'ecs:UpdateService'],
      services.map(({ cluster, service }) => formatArn(`service/${cluster}/${service}`)),
    ),
    ...keys,
  ];
}

/** Returns the cluster and service names of the fleets on ECS. An ARN is shortened to its last part. */
function listServices(fleets: readonly Fleet[]): Pick<Ecs, 'cluster' | 'service'>[] {
  const services = fleets.flatMap(({ ecs = [] }) => ecs);
  return services.map(({ cluster, service }) => ({ cluster: parseName(cluster), service: parseName(service) }));
}

function parseName(text: string): string {
  const name = text.slice(text.lastIndexOf('/') + 1);
  if (/^[\w-]{1,255}$/.test(name)) return name;
  throw new LambentError('configuration', `${JSON.stringify(text)} is not a valid name of an ECS cluster or service`);
}

function formatArn(resource: string): object {
  return { 'Fn::Sub': `arn:\${AWS::Partition}:ecs:\${AWS::Region}:\${AWS::AccountId}:${resource}` };
}

function deduplicate(texts: readonly string[]): string[] {
  return [...new Set(texts)].toSorted();
}
