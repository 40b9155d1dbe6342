import { GetRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import { GetServiceQuotaCommand, ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import { isNotFound } from '../aws-error.ts';
import {
  createError,
  createWarning,
  type Finding,
  listResources,
  type PreflightInput,
  readProperty,
} from './finding.ts';

/**
 * The quotas of EC2 on running virtual CPUs, by the beginning of an instance type's name.
 * @see https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html
 */
const QUOTAS = [
  { types: /^(g|vt)/, onDemand: 'L-DB2E81BA', spot: 'L-3819A6DF', names: 'G and VT' },
  { types: /^p5/, onDemand: 'L-417A185B', spot: 'L-C4BD4855', names: 'P' },
  { types: /^p/, onDemand: 'L-417A185B', spot: 'L-7212CCBC', names: 'P' },
];

/** Checks what an account needs for a GPU fleet: quotas of virtual CPUs, and roles that AWS's services use. */
export async function checkGpus(input: PreflightInput): Promise<readonly Finding[]> {
  const [group] = listResources(input.template, 'AWS::AutoScaling::AutoScalingGroup');
  if (group === undefined) return [];
  const overrides = readProperty(group, 'MixedInstancesPolicy', 'LaunchTemplate', 'Overrides');
  const types = (Array.isArray(overrides) ? overrides : []).map((each) => String(Object(each).InstanceType));
  const max = Number(readProperty(group, 'MaxSize'));
  const base = Number(readProperty(group, 'MixedInstancesPolicy', 'InstancesDistribution', 'OnDemandBaseCapacity'));
  const onDemand = Math.min(base, max);
  const findings = [
    checkQuota(types, onDemand, 'onDemand', input),
    checkQuota(types, max - onDemand, 'spot', input),
    checkServiceRole('AWSServiceRoleForECS', 'ecs.amazonaws.com', 'error', input),
    max > onDemand ? checkServiceRole('AWSServiceRoleForEC2Spot', 'spot.amazonaws.com', 'warning', input) : [],
  ];
  return (await Promise.all(findings)).flat();
}

async function checkQuota(
  types: readonly string[],
  instances: number,
  market: 'onDemand' | 'spot',
  { region, clientConfig }: PreflightInput,
): Promise<Finding[]> {
  const [preferred = ''] = types;
  const quota = QUOTAS.find((each) => each.types.test(preferred));
  const sizes = types.map(countVirtualCpus);
  const [size] = sizes;
  if (instances === 0 || quota === undefined || size === undefined) return [];
  const client = new ServiceQuotasClient({ ...clientConfig, region });
  const { Quota } = await client.send(new GetServiceQuotaCommand({ ServiceCode: 'ec2', QuotaCode: quota[market] }));
  const value = Quota?.Value ?? 0;
  const needed = instances * size;
  if (value >= needed) return [];
  const smallest = Math.min(...sizes.filter((each) => each !== undefined));
  const kind = market === 'spot' ? 'spot' : 'on-demand';
  const problem = `The account may run ${value} virtual CPUs of ${kind} ${quota.names} instances in ${region}.`;
  const remedy = `aws service-quotas request-service-quota-increase --region ${region} --service-code ec2 --quota-code ${quota[market]} --desired-value ${needed}`;
  return value < smallest
    ? [createError(`${problem} One ${preferred} needs ${size}, so that no worker could start on one.`, remedy)]
    : [createWarning(`${problem} Up to ${instances} of ${preferred} need ${needed}.`, remedy)];
}

/** Returns the virtual CPUs of a GPU instance type by its size; undefined for `metal`. An `xlarge` has 4. */
function countVirtualCpus(type: string): number | undefined {
  const [, factor, size] = /\.(\d*)(xlarge|large)$/.exec(type) ?? [];
  if (size === undefined) return undefined;
  return size === 'large' ? 2 : 4 * Number(factor || 1);
}

async function checkServiceRole(
  RoleName: string,
  service: string,
  level: Finding['level'],
  { region, clientConfig }: PreflightInput,
): Promise<Finding[]> {
  try {
    await new IAMClient({ ...clientConfig, region }).send(new GetRoleCommand({ RoleName }));
    return [];
  } catch (thrown) {
    if (!isNotFound(thrown)) throw thrown;
    const create = level === 'error' ? createError : createWarning;
    return [
      create(
        `The account has no role ${RoleName}, which the GPU fleet needs before its first instance.`,
        `aws iam create-service-linked-role --aws-service-name ${service}, then wait a minute.`,
      ),
    ];
  }
}
