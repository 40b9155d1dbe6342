import { LambentError } from '../shared/core/errors.ts';
import type { Fleet, ModelRegistry } from '../shared/inference/registry.ts';
import { buildEngineCommand, type EngineModel, findService, type GpuService } from './gpu-engine.ts';
import { buildEgressRules } from './gpu-reach.ts';
import { readPackagedRegistry } from './models-file.ts';
import type { Variables } from './settings.ts';
import type { Settings } from './settings-schema.ts';

/** The templates of a fleet that the stack runs itself. All are included, or none. */
const FILES = ['network', 'endpoints', 'roles', 'fleet', 'scaling', 'alarms'].map((part) => `infra/gpu-${part}.yml`);

/**
 * The values in the templates of a GPU fleet that come from `models.json` and the settings. docs/gpu-aws.md explains
 * them.
 */
interface GpuValues extends GpuService {
  readonly fleet: string;
  readonly minWorkers: number;
  readonly maxWorkers: number;
  /** The maximum number of workers, plus one for a roll-out's first new worker, plus one if there is a canary. */
  readonly maxInstances: number;
  /** Egress rules of functions in the VPC, except to the fleet's own workers. */
  readonly functionsEgress: readonly object[];
  /** Number of GPUs per worker. ECS requires a text. */
  readonly gpus: string;
  readonly instanceTypes: readonly { readonly InstanceType: string }[];
  readonly engineCommand: readonly string[];
  readonly engineEnvironment: readonly { readonly Name: string; readonly Value: string }[];
  /** Seconds between ECS's stop signal to an engine and its kill signal. */
  readonly stopSeconds: number;
  readonly weightsArn: object;
  readonly weightsBucketArn: object;
  /** Pattern of the bucket's keys that may be listed. */
  readonly weightsPrefix: string;
  readonly imageArns: readonly object[];
  readonly secretArn: unknown;
  readonly secretAction: 'ssm:GetParameters' | 'secretsmanager:GetSecretValue';
}

/** Seconds from the end of an engine's own shutdown until ECS kills it. */
const STOP_MARGIN_SECONDS = 15;

/** Returns the resources of the fleet that the setting `gpuFleet` names. There are none if it is empty, the default. */
export async function createGpuFleet(
  { gpuFleet }: Settings,
  { resolveVariable }: Pick<Variables, 'resolveVariable'>,
): Promise<{ readonly Resources: object }> {
  if (gpuFleet === '') return { Resources: {} };
  const parts = await Promise.all(FILES.map((file) => resolveVariable(`file(${file})`)));
  return { Resources: Object.assign({}, ...parts.map((part) => Object(part).Resources)) };
}

/**
 * Returns the VPC configuration of a function that calls workers; `false`, osls's value for no VPC, without a fleet.
 */
export function createGpuVpc(settings: Settings): object | false {
  if (settings.gpuFleet === '') return false;
  return {
    securityGroupIds: [{ 'Fn::GetAtt': ['GpuFunctionsSecurityGroup', 'GroupId'] }],
    subnetIds: listPrivateSubnets(settings),
  };
}

/** Returns references to the private subnets of `infra/gpu-network.yml`. */
export function listPrivateSubnets({ gpuZones }: Settings): object[] {
  const zones = gpuZones === 3 ? ['A', 'B', 'C'] : ['A', 'B'];
  return zones.map((zone) => ({ Ref: `GpuPrivateSubnet${zone}` }));
}

/**
 * Returns the values of the fleet's templates.
 * @throws LambentError `configuration` if the fleet is not in the registry, or a setting contradicts the registry
 */
export async function createGpuValues(settings: Settings): Promise<GpuValues> {
  const { gpuFleet: name, gpuImage, gpuCanaryImage, gpuWeightsImage, gpuWorkingMin, chatTimeoutSeconds } = settings;
  const registry = await readPackagedRegistry();
  const { fleet, canary } = findFleets(name, registry);
  const service = findService(name, fleet, canary);
  if (gpuCanaryImage !== '' && canary?.ecs === undefined)
    throw packagingError(`gpuCanaryImage requires a fleet ${name}-canary with an ECS service in the registry`);
  const weights = new URL(settings.gpuWeights);
  const prefix = weights.pathname.slice(1);
  const { minWorkers, maxWorkers } = fleet.scaling;
  if (gpuWorkingMin > maxWorkers)
    throw packagingError(
      `gpuWorkingMin (${gpuWorkingMin}) is above the maxWorkers (${maxWorkers}) of the fleet ${name}`,
    );
  return {
    ...service,
    ...findKey(fleet),
    fleet: name,
    minWorkers,
    maxWorkers,
    maxInstances: maxWorkers + 1 + (gpuCanaryImage === '' ? 0 : 1),
    functionsEgress: buildEgressRules(registry),
    gpus: String(settings.gpuTensorParallel),
    instanceTypes: settings.gpuInstanceTypes.map((InstanceType) => ({ InstanceType })),
    engineCommand: buildEngineCommand({
      ...findModel(name, registry),
      port: service.port,
      slots: fleet.slots,
      gpus: settings.gpuTensorParallel,
      stepTokens: settings.gpuStepTokens,
      shutdownSeconds: chatTimeoutSeconds,
      extraFlags: settings.gpuEngineFlags,
    }),
    engineEnvironment: buildEnvironment(fleet),
    stopSeconds: chatTimeoutSeconds + STOP_MARGIN_SECONDS,
    weightsBucketArn: sub(`arn:\${AWS::Partition}:s3:::${weights.hostname}`),
    weightsArn: sub(`arn:\${AWS::Partition}:s3:::${weights.hostname}/${prefix}/*`),
    weightsPrefix: `${prefix}/*`,
    imageArns: listRepositoryArns([gpuImage, gpuCanaryImage, gpuWeightsImage]),
  };
}

function findFleets(
  name: string,
  { fleets }: ModelRegistry,
): { readonly fleet: Fleet; readonly canary: Fleet | undefined } {
  const fleet = Object.hasOwn(fleets, name) ? fleets[name] : undefined;
  if (fleet === undefined) throw packagingError(`gpuFleet names ${name}, which is not a fleet of the registry`);
  return { fleet, canary: Object.hasOwn(fleets, `${name}-canary`) ? fleets[`${name}-canary`] : undefined };
}

/** Returns the one model that a fleet's engines load, by the name in its targets. */
function findModel(name: string, { models, fleets }: ModelRegistry): EngineModel {
  const adapters = Object.keys(fleets[name]?.lora ?? {});
  const served = Object.values(models).flatMap(({ targets, contextTokens }) =>
    targets.flatMap((target) =>
      target.provider === 'gpu' && target.fleet === name ? { model: target.model, contextTokens } : [],
    ),
  );
  const bases = new Set(served.map(({ model }) => model).filter((model) => !adapters.includes(model)));
  const [model] = bases;
  if (model === undefined || bases.size > 1)
    throw packagingError(
      `the fleet ${name} must serve exactly one model besides adapters, but its targets name ${bases.size}`,
    );
  const contexts = served.flatMap(({ contextTokens }) => contextTokens ?? []);
  return { model, adapters: adapters.length, contextTokens: contexts.length > 0 ? Math.max(...contexts) : undefined };
}

/**
 * Returns the ARN of the engines' key. ECS passes the key to a container by its ARN, so it is in no template and no
 * task definition.
 */
function findKey({ apiKey = '' }: Fleet): Pick<GpuValues, 'secretArn' | 'secretAction'> {
  const [, scheme, name = ''] = /^(ssm|secret):(.+)$/.exec(apiKey) ?? [];
  if (scheme === 'ssm') {
    const arn = name.startsWith('arn:')
      ? name
      : `arn:\${AWS::Partition}:ssm:\${AWS::Region}:\${AWS::AccountId}:parameter/${name.replace(/^\//, '')}`;
    return { secretArn: sub(arn), secretAction: 'ssm:GetParameters' };
  }
  if (scheme === 'secret' && name.startsWith('arn:'))
    return { secretArn: sub(name), secretAction: 'secretsmanager:GetSecretValue' };
  throw packagingError(
    'the fleet must have an apiKey that ECS can pass to its engines: ssm:NAME, or secret: and the full ARN',
  );
}

function buildEnvironment({ lora }: Fleet): GpuValues['engineEnvironment'] {
  const variables = {
    // The weights are on the disk, so Hugging Face is not needed. vLLM must not report usage statistics.
    HF_HUB_OFFLINE: '1',
    VLLM_NO_USAGE_STATS: '1',
    ...(Object.keys(lora).length > 0 ? { VLLM_ALLOW_RUNTIME_LORA_UPDATING: 'True' } : {}),
  };
  return Object.entries(variables).map(([Name, Value]) => ({ Name, Value }));
}

/** Returns the ARNs of the images' private repositories. */
function listRepositoryArns(images: readonly string[]): object[] {
  const arns = images.flatMap((image) => {
    const [, account, region, repository] = /^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+\/([^:@]+)/.exec(image) ?? [];
    return account === undefined ? [] : `arn:\${AWS::Partition}:ecr:${region}:${account}:repository/${repository}`;
  });
  return [...new Set(arns)].toSorted().map(sub);
}

function packagingError(reason: string): LambentError {
  return new LambentError('configuration', `The GPU fleet can't be packaged: ${reason}`);
}

const sub = (text: string) => ({ 'Fn::Sub': text });
