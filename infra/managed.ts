import { createGpuVpc, listPrivateSubnets } from './gpu-fleet.ts';
import { buildEgressRules } from './gpu-reach.ts';
import { listManaged, type ManagedSwitch, MEMORY_MB_PER_VCPU, needsNetwork } from './managed-functions.ts';
import { readPackagedRegistry } from './models-file.ts';
import type { Stage, Variables } from './settings.ts';
import type { Settings } from './settings-schema.ts';
import { checkStageName } from './stage-name.ts';

/**
 * Returns the VPC configuration of a function that calls workers; `false`, osls's value for none, without a fleet. Managed
 * functions have that of their capacity provider.
 */
export const createVpcOf =
  (name: ManagedSwitch) =>
  (settings: Settings): object | false =>
    settings[name] ? false : createGpuVpc(settings);

/**
 * Returns the resources for the functions on managed instances: their capacity provider, its operator role, a network unless
 * there is one, and what is changed in the functions. There are none by default.
 * @throws LambentError `configuration` if a function's name would be too long
 */
export async function createManaged(
  { stage, prefix, settings }: Stage,
  { resolveVariable }: Pick<Variables, 'resolveVariable'>,
): Promise<{ readonly Resources: object }> {
  const functions = listManaged(settings);
  if (functions.length === 0) return { Resources: {} };
  const files = ['managed', ...(needsNetwork(settings) ? ['managed-network', 'gpu-network'] : [])];
  const parts = await Promise.all(files.map((file) => resolveVariable(`file(infra/${file}.yml)`)));
  const configured = functions.map(({ id }) => [
    `${id}LambdaFunction`,
    { Type: 'AWS::Lambda::Function', Properties: createConfiguration(id, prefix, settings) },
  ]);
  checkStageName(
    stage,
    functions.map(({ id }) => formatName(id, prefix)),
  );
  return {
    Resources: Object.assign({}, ...parts.map((part) => Object(part).Resources), Object.fromEntries(configured)),
  };
}

/**
 * Returns the name of a managed function. AWS can't change a function's capacity from one kind to the other, but
 * CloudFormation replaces a function whose name changes: it creates the new one, and deletes the old one last.
 */
const formatName = (id: string, prefix: string) => `${prefix}-${id.toLowerCase()}-managed`;

/**
 * Returns the properties of a managed function. Each deployment replaces its version `$LATEST.PUBLISHED`, which a call without
 * a version invokes, so API Gateway and event source mappings call it like any function. Numbered versions would each keep
 * their own environments.
 * https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-version-publishing.html
 */
function createConfiguration(id: string, prefix: string, settings: Settings): object {
  return {
    FunctionName: formatName(id, prefix),
    // The group of the function's other name, so that a switch keeps the log. Managed instances log only JSON.
    LoggingConfig: { LogGroup: { Ref: `${id}LogGroup` }, LogFormat: 'JSON' },
    PublishToLatestPublished: true,
    CapacityProviderConfig: {
      LambdaManagedInstancesCapacityProviderConfig: {
        CapacityProviderArn: { 'Fn::GetAtt': ['ManagedCapacity', 'Arn'] },
        ExecutionEnvironmentMemoryGiBPerVCpu: MEMORY_MB_PER_VCPU / 1_024,
        PerExecutionEnvironmentMaxConcurrency: settings.managedConcurrency,
      },
    },
    FunctionScalingConfig: {
      MinExecutionEnvironments: settings.managedEnvironments,
      MaxExecutionEnvironments: settings.managedEnvironmentsMax,
    },
  };
}

/** Returns the values of `infra/managed.yml` and `infra/managed-network.yml` that are not settings. */
export async function createManagedValues(settings: Settings) {
  const { managedSubnets, managedSecurityGroups, managedInstanceTypes } = settings;
  return {
    subnets: managedSubnets.length > 0 ? managedSubnets : listPrivateSubnets(settings),
    securityGroups: findSecurityGroups(settings, managedSecurityGroups),
    instances: {
      Architectures: ['arm64'],
      ...(managedInstanceTypes.length > 0 ? { AllowedInstanceTypes: managedInstanceTypes } : {}),
    },
    egress: buildEgressRules(await readPackagedRegistry()),
  };
}

function findSecurityGroups({ gpuFleet }: Settings, given: readonly string[]): readonly unknown[] {
  if (given.length > 0) return given;
  return [{ 'Fn::GetAtt': [gpuFleet === '' ? 'ManagedSecurityGroup' : 'GpuFunctionsSecurityGroup', 'GroupId'] }];
}
