import { LambentError } from '../shared/core/errors.ts';
import type { Fleet, ModelRegistry } from '../shared/inference/registry.ts';
import { type EngineModel, engineCommand, type GpuService, serviceOf } from './gpu-engine.ts';
import { egressOf } from './gpu-reach.ts';
import { packagedRegistry } from './models-file.ts';
import { readSetting, type Variables } from './settings.ts';

/** The parts of a fleet that the stack runs itself, all of them there or none. */
const FILES = ['network', 'endpoints', 'roles', 'fleet', 'scaling', 'alarms'].map((part) => `infra/gpu-${part}.yml`);

/** What the templates of a GPU fleet take from `models.json` and can't state. docs/gpu-aws.md says what becomes of it. */
interface GpuValues extends GpuService {
  readonly fleet: string;
  readonly minWorkers: number;
  readonly maxWorkers: number;
  /** Workers, one more for the first new one of a roll-out, and the canary while there is one. */
  readonly maxInstances: number;
  /** What functions in the VPC may leave it by, beside the way to the fleet's own workers. */
  readonly functionsEgress: readonly object[];
  /** How many GPUs of its instance a worker takes; ECS wants text. */
  readonly gpus: string;
  readonly instanceTypes: readonly { readonly InstanceType: string }[];
  readonly engineCommand: readonly string[];
  readonly engineEnvironment: readonly { readonly Name: string; readonly Value: string }[];
  /** Seconds that ECS leaves an engine after it has been told to stop. */
  readonly stopSeconds: number;
  readonly weightsArn: object;
  readonly weightsBucketArn: object;
  /** Keys of the bucket that may be listed. */
  readonly weightsPrefix: string;
  readonly imageArns: readonly object[];
  readonly secretArn: unknown;
  readonly secretAction: 'ssm:GetParameters' | 'secretsmanager:GetSecretValue';
}

/** What stops an engine ends a little before what kills it. */
const STOP_MARGIN_SECONDS = 15;

/** Everything of the fleet that the setting `gpuFleet` names: nothing when it is empty, which is the default. */
export async function gpuFleet(variables: Variables): Promise<{ readonly Resources: object }> {
  if ((await readSetting(variables, 'gpuFleet')) === '') return { Resources: {} };
  const parts = await Promise.all(FILES.map((file) => variables.resolveVariable(`file(${file})`)));
  return { Resources: Object.assign({}, ...parts.map((part) => Object(part).Resources)) };
}

/** The VPC of a function that talks to workers; osls takes `false` for none. */
export async function gpuVpc(variables: Variables): Promise<object | false> {
  if ((await readSetting(variables, 'gpuFleet')) === '') return false;
  const zones = (await readSetting(variables, 'gpuZones')) === 3 ? ['A', 'B', 'C'] : ['A', 'B'];
  return {
    securityGroupIds: [{ 'Fn::GetAtt': ['GpuFunctionsSecurityGroup', 'GroupId'] }],
    subnetIds: zones.map((zone) => ({ Ref: `GpuPrivateSubnet${zone}` })),
  };
}

/**
 * What the templates of the fleet are filled in with.
 * @throws LambentError `configuration` for a fleet that isn't in the registry, and for what such a fleet can't do without
 */
export async function gpu(variables: Variables): Promise<GpuValues> {
  const name = await readSetting(variables, 'gpuFleet');
  const registry = await packagedRegistry();
  const { fleet, canary } = fleetsOf(name, registry);
  const service = serviceOf(name, fleet, canary);
  const image = await needed(variables, 'gpuImage');
  const canaryImage = await readSetting(variables, 'gpuCanaryImage');
  if (canaryImage !== '' && canary?.ecs === undefined)
    throw refused(
      `gpuCanaryImage needs a fleet ${name}-canary of ECS in the registry, which gets its share of requests`,
    );
  const weightsImage = await readSetting(variables, 'gpuWeightsImage');
  if (weightsImage.startsWith('public.') && (await readSetting(variables, 'gpuEgress')) === 'endpoints')
    throw refused('gpuWeightsImage has to be in a private ECR: no public one can be reached by endpoints');
  const weights = new URL(await needed(variables, 'gpuWeights'));
  const prefix = weights.pathname.slice(1);
  const shutdownSeconds = await readSetting(variables, 'chatTimeoutSeconds');
  const gpus = await readSetting(variables, 'gpuTensorParallel');
  const { minWorkers, maxWorkers } = fleet.scaling;
  const workingMin = await readSetting(variables, 'gpuWorkingMin');
  if (workingMin > maxWorkers)
    throw refused(`gpuWorkingMin (${workingMin}) is above the maxWorkers (${maxWorkers}) of the fleet ${name}`);
  return {
    ...service,
    ...keyOf(fleet),
    fleet: name,
    minWorkers,
    maxWorkers,
    maxInstances: maxWorkers + 1 + (canaryImage === '' ? 0 : 1),
    functionsEgress: egressOf(registry),
    gpus: String(gpus),
    instanceTypes: (await readSetting(variables, 'gpuInstanceTypes')).map((InstanceType) => ({ InstanceType })),
    engineCommand: engineCommand({
      ...modelOf(name, registry),
      port: service.port,
      slots: fleet.slots,
      gpus,
      stepTokens: await readSetting(variables, 'gpuStepTokens'),
      shutdownSeconds,
      more: await readSetting(variables, 'gpuEngineFlags'),
    }),
    engineEnvironment: environmentOf(fleet),
    stopSeconds: shutdownSeconds + STOP_MARGIN_SECONDS,
    weightsBucketArn: sub(`arn:\${AWS::Partition}:s3:::${weights.hostname}`),
    weightsArn: sub(`arn:\${AWS::Partition}:s3:::${weights.hostname}/${prefix}/*`),
    weightsPrefix: `${prefix}/*`,
    imageArns: repositoriesOf([image, canaryImage, weightsImage]),
  };
}

function fleetsOf(
  name: string,
  { fleets }: ModelRegistry,
): { readonly fleet: Fleet; readonly canary: Fleet | undefined } {
  const fleet = Object.hasOwn(fleets, name) ? fleets[name] : undefined;
  if (fleet === undefined) throw refused(`gpuFleet names ${name}, and the registry has no such fleet`);
  return { fleet, canary: Object.hasOwn(fleets, `${name}-canary`) ? fleets[`${name}-canary`] : undefined };
}

/** The one model that a fleet's engines load, by what its aliases call it. */
function modelOf(name: string, { models, fleets }: ModelRegistry): EngineModel {
  const adapters = Object.keys(fleets[name]?.lora ?? {});
  const served = Object.values(models).flatMap(({ targets, contextTokens }) =>
    targets.flatMap((target) =>
      target.provider === 'gpu' && target.fleet === name ? { model: target.model, contextTokens } : [],
    ),
  );
  const bases = new Set(served.map(({ model }) => model).filter((model) => !adapters.includes(model)));
  const [model] = bases;
  if (model === undefined || bases.size > 1)
    throw refused(`the fleet ${name} has to serve one model, beside adapters; its targets name ${bases.size}`);
  return { model, adapters: adapters.length, contextTokens: Math.max(...served.map((each) => each.contextTokens)) };
}

/** The key that engines ask for, as ECS hands it to a container: by ARN, so that no template and no task has it in it. */
function keyOf({ apiKey = '' }: Fleet): Pick<GpuValues, 'secretArn' | 'secretAction'> {
  const [, scheme, name = ''] = /^(ssm|secret):(.+)$/.exec(apiKey) ?? [];
  if (scheme === 'ssm') {
    const arn = name.startsWith('arn:')
      ? name
      : `arn:\${AWS::Partition}:ssm:\${AWS::Region}:\${AWS::AccountId}:parameter/${name.replace(/^\//, '')}`;
    return { secretArn: sub(arn), secretAction: 'ssm:GetParameters' };
  }
  if (scheme === 'secret' && name.startsWith('arn:'))
    return { secretArn: sub(name), secretAction: 'secretsmanager:GetSecretValue' };
  throw refused('the fleet needs an apiKey that ECS can hand to its engines: ssm:NAME, or secret: and the full ARN');
}

function environmentOf({ lora }: Fleet): GpuValues['engineEnvironment'] {
  const variables = {
    // Weights are on the disk; nothing is asked of Hugging Face, and nothing is told to anybody.
    HF_HUB_OFFLINE: '1',
    VLLM_NO_USAGE_STATS: '1',
    ...(Object.keys(lora).length > 0 ? { VLLM_ALLOW_RUNTIME_LORA_UPDATING: 'True' } : {}),
  };
  return Object.entries(variables).map(([Name, Value]) => ({ Name, Value }));
}

/** ARNs of the private repositories that images come from. */
function repositoriesOf(images: readonly string[]): object[] {
  const arns = images.flatMap((image) => {
    const [, account, region, repository] = /^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+\/([^:@]+)/.exec(image) ?? [];
    return account === undefined ? [] : `arn:\${AWS::Partition}:ecr:${region}:${account}:repository/${repository}`;
  });
  return [...new Set(arns)].toSorted().map(sub);
}

async function needed(variables: Variables, name: 'gpuImage' | 'gpuWeights'): Promise<string> {
  const value = await readSetting(variables, name);
  if (value === '') throw refused(`${name} has to be set beside gpuFleet`);
  return value;
}

function refused(why: string): LambentError {
  return new LambentError('configuration', `The GPU fleet can't be packaged: ${why}`);
}

const sub = (text: string) => ({ 'Fn::Sub': text });
