import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { engineCommand } from '../../infra/gpu-engine.ts';
import { gpu } from '../../infra/gpu-fleet.ts';
import { egressOf, unreachableByEndpoints } from '../../infra/gpu-reach.ts';
import type { Variables } from '../../infra/settings.ts';
import type { Template } from '../../infra/template.ts';
import { type ModelRegistry, parseModelRegistry } from '../../shared/inference/registry.ts';
import { ENGINE } from '../simulation/placement/run.ts';
import { functionsOf, GPU_CANARY, GPU_ENDPOINTS, objectsIn, ofType, packaged, packagedWithGpus } from './packaged.ts';

let off: Template;
let on: Template;
let canary: Template;
let endpoints: Template;
beforeAll(async () => {
  [off, on, canary, endpoints] = await Promise.all([
    packaged(),
    packagedWithGpus(),
    packagedWithGpus(GPU_CANARY, 'gpuZones=3', 'gpuOnDemandBase=2'),
    packagedWithGpus(...GPU_ENDPOINTS),
  ]);
});

const properties = (template: Template, id: string) => Object(template.Resources[id]?.Properties);
const container = (template: Template, task: string, name: string) =>
  properties(template, task).ContainerDefinitions.find((each: { Name: string }) => each.Name === name);

describe('without a fleet of its own, the default, a stack', () => {
  test('has no network, no cluster and no machine', () => {
    const types = new Set(Object.values(off.Resources).map(({ Type }) => Type));
    expect([...types].filter((type) => /^AWS::(EC2|ECS|AutoScaling)::/.test(type))).toEqual([]);
  });

  test('has functions that are in no VPC and may not join one', () => {
    for (const { name, properties } of functionsOf(off)) expect(properties, name).not.toHaveProperty('VpcConfig');
    expect(JSON.stringify(off)).not.toContain('ec2:CreateNetworkInterface');
  });

  test('is the same whatever the settings of a fleet say', async () => {
    const timeless = (template: Template) =>
      JSON.stringify(template).replace(/\d{13}-\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME');
    const settings = ['gpuZones=3', 'gpuEgress=endpoints', 'gpuWorkingMin=1'].flatMap((each) => ['--param', each]);
    expect(timeless(await packaged(...settings))).toBe(timeless(off));
  });
});

describe('with one, a stack', () => {
  test('puts chat, dispatch and fleet into the VPC, with what Lambda needs for it, and no other function', () => {
    for (const template of [on, endpoints]) {
      const joined = functionsOf(template).filter(({ properties }) => properties['VpcConfig'] !== undefined);
      expect(joined.map(({ name }) => name)).toEqual(['chat', 'dispatch', 'fleet']);
      for (const { properties } of joined)
        expect(properties['VpcConfig']).toEqual({
          SecurityGroupIds: [{ 'Fn::GetAtt': ['GpuFunctionsSecurityGroup', 'GroupId'] }],
          SubnetIds: [{ Ref: 'GpuPrivateSubnetA' }, { Ref: 'GpuPrivateSubnetB' }],
        });
      const roles = ofType(template, 'AWS::IAM::Role').filter(({ properties }) =>
        JSON.stringify(properties).includes('ec2:CreateNetworkInterface'),
      );
      expect(roles.map(({ id }) => id)).toEqual(['ChatRole', 'DispatchRole', 'FleetRole']);
    }
  });

  test('leaves everything else as it was', () => {
    const same = Object.keys(off.Resources).filter(
      (id) => !/^(Chat|Dispatch|Fleet|Generate|ModelsPolicy|ApiGateway|DataKey)/.test(id),
    );
    for (const id of same) {
      const code = /"S3Key":"[^"]+"/g;
      const text = (template: Template) => JSON.stringify(template.Resources[id]).replace(code, '');
      expect(text(on), id).toBe(text(off));
    }
  });

  test('names its cluster and service as the registry does, so that fleet finds and may scale them', () => {
    expect(properties(on, 'GpuCluster').ClusterName).toBe('gpu');
    expect(properties(on, 'GpuService').ServiceName).toBe('qwen');
    expect(properties(on, 'GpuScalableTarget')).toMatchObject({
      ResourceId: 'service/gpu/qwen',
      MinCapacity: 0,
      MaxCapacity: 4,
    });
    const [services] = [...objectsIn(on.Resources['FleetRole'])].filter(({ Sid }) => Sid === 'Services');
    expect(JSON.stringify(services)).toContain('service/gpu/qwen"');
  });

  test('has spot machines above a base on demand, drained by ECS, whose metadata and disks are closed', () => {
    expect(properties(canary, 'GpuInstances')).toMatchObject({
      NewInstancesProtectedFromScaleIn: true,
      MixedInstancesPolicy: {
        InstancesDistribution: { OnDemandBaseCapacity: '2', OnDemandPercentageAboveBaseCapacity: 0 },
        LaunchTemplate: { Overrides: [{ InstanceType: 'g6e.xlarge' }, { InstanceType: 'g6e.2xlarge' }] },
      },
    });
    expect(properties(on, 'GpuCapacity').AutoScalingGroupProvider).toMatchObject({
      ManagedScaling: { Status: 'ENABLED' },
      ManagedTerminationProtection: 'ENABLED',
      ManagedDraining: 'ENABLED',
    });
    const { LaunchTemplateData } = properties(on, 'GpuLaunchTemplate');
    expect(LaunchTemplateData).toMatchObject({
      MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
      BlockDeviceMappings: [{ Ebs: { Encrypted: true, VolumeSize: 200 } }],
    });
    const script: string = LaunchTemplateData.UserData['Fn::Base64']['Fn::Sub'];
    expect(script).toMatch(/^#!\/bin\/bash\n/);
    for (const line of ['ECS_ENABLE_SPOT_INSTANCE_DRAINING=true', 'ECS_AWSVPC_BLOCK_IMDS=true'])
      expect(script.split('\n')).toContain(line);
  });

  test('measures disks and GPUs under the name that the alarms watch', () => {
    const script: string = properties(on, 'GpuLaunchTemplate').LaunchTemplateData.UserData['Fn::Base64']['Fn::Sub'];
    const [, text = ''] = /lambent\.json <<'CONFIG'\n([\s\S]*?)\nCONFIG/.exec(script) ?? [];
    const { metrics } = JSON.parse(text);
    const watched = ['GpuMemoryAlarm', 'GpuDiskAlarm'].flatMap((id) =>
      [...objectsIn(on.Resources[id])].filter(({ MetricName }) => MetricName !== undefined),
    );
    const measured = Object.entries({ disk: 'disk', nvidia_gpu: 'nvidia_smi' }).flatMap(([key, prefix]) =>
      metrics.metrics_collected[key].measurement.map((name: string) => `${prefix}_${name}`),
    );
    expect(new Set(watched.map(({ MetricName }) => MetricName))).toEqual(new Set(measured));
    for (const { Namespace, Dimensions } of watched) {
      expect(Namespace).toBe(metrics.namespace);
      expect(Object(Dimensions)[0]).toEqual({
        Name: metrics.aggregation_dimensions[0][0],
        Value: { Ref: 'GpuCluster' },
      });
    }
  });

  test('has one more machine than workers at most, for a roll-out, and another one while there is a canary', () => {
    expect(Number(properties(on, 'GpuInstances').MaxSize)).toBe(4 + 1);
    expect(Number(properties(canary, 'GpuInstances').MaxSize)).toBe(4 + 1 + 1);
  });

  test('replaces workers new before old, and goes back when they are found ill', () => {
    expect(properties(on, 'GpuService')).not.toHaveProperty('DesiredCount');
    expect(properties(on, 'GpuService').DeploymentConfiguration).toMatchObject({
      MinimumHealthyPercent: 100,
      MaximumPercent: 200,
      DeploymentCircuitBreaker: { Enable: true, Rollback: true },
      Alarms: { AlarmNames: [{ Ref: 'GpuWorkersSuspectedAlarm' }], Enable: true, Rollback: true },
    });
  });

  test('has a canary by setting only: one worker, of the other image and otherwise the same', () => {
    expect(ofType(on, 'AWS::ECS::Service').map(({ id }) => id)).toEqual(['GpuService']);
    expect(properties(canary, 'GpuCanaryService')).toMatchObject({ ServiceName: 'qwen-canary', DesiredCount: 1 });
    const engine = container(canary, 'GpuTask', 'engine');
    expect(container(canary, 'GpuCanaryTask', 'engine')).toEqual({
      ...engine,
      Image: engine.Image.replace('v0.19.0', 'v0.20.0'),
    });
  });

  test('uses a third zone by setting only', () => {
    expect(on.Resources).not.toHaveProperty('GpuPrivateSubnetC');
    expect(properties(canary, 'GpuInstances').VPCZoneIdentifier).toHaveLength(3);
    expect(Object(properties(canary, 'ChatLambdaFunction').VpcConfig).SubnetIds).toHaveLength(3);
  });
});

describe('an engine', () => {
  const value = (command: readonly string[], flag: string) => command[command.indexOf(flag) + 1];

  test('is told what the registry, the simulations and Lambent count on', () => {
    const { Command } = container(on, 'GpuTask', 'engine');
    expect(value(Command, '--served-model-name')).toBe('Qwen/Qwen3-8B');
    expect(value(Command, '--port')).toBe('8000');
    expect(value(Command, '--max-model-len')).toBe('32768');
    expect(value(Command, '--max-num-seqs')).toBe(String(ENGINE.maxSequences));
    expect(value(Command, '--max-num-batched-tokens')).toBe(String(ENGINE.stepTokens));
    expect(value(Command, '--scheduling-policy')).toBe('priority');
    for (const flag of ['--enable-prefix-caching', '--no-enable-log-requests', '--enable-lora'])
      expect(Command).toContain(flag);
  });

  test('is left the longest time that chat may take to finish what it has', () => {
    const engine = container(on, 'GpuTask', 'engine');
    const chat = functionsOf(on).find(({ name }) => name === 'chat');
    expect(value(engine.Command, '--shutdown-timeout')).toBe(String(chat?.properties['Timeout']));
    expect(engine.StopTimeout).toBeGreaterThan(Number(chat?.properties['Timeout']));
  });

  test('has its key by reference, and nobody else may read it', () => {
    const arn = { 'Fn::Sub': expect.stringMatching(/:parameter\/lambent\/gpu-key$/) };
    const engine = container(on, 'GpuTask', 'engine');
    expect(engine.Secrets).toEqual([{ Name: 'VLLM_API_KEY', ValueFrom: arn }]);
    expect(engine.Command).not.toContain('--api-key');
    expect(JSON.stringify(properties(on, 'GpuTaskRole'))).not.toContain('ssm:');
  });

  test('loads weights from a disk that was filled before it, and may only read them', () => {
    const engine = container(on, 'GpuTask', 'engine');
    expect(engine.DependsOn).toEqual([{ ContainerName: 'weights', Condition: 'SUCCESS' }]);
    expect(engine.MountPoints).toEqual([{ SourceVolume: 'weights', ContainerPath: '/weights', ReadOnly: true }]);
    expect(engine.Command[0]).toBe('/weights');
  });

  const settings = {
    ...{ model: 'm', adapters: 0, contextTokens: 1_000, port: 8_000, slots: 300, gpus: 4 },
    ...{ stepTokens: 2_048, shutdownSeconds: 60, more: ['--quantization', 'fp8'] },
  };

  test('runs no fewer sequences than it has slots, spans GPUs, and gets flags of the setting', () => {
    const command = engineCommand(settings);
    expect(value(command, '--max-num-seqs')).toBe('300');
    expect(value(command, '--tensor-parallel-size')).toBe('4');
    expect(command.slice(-2)).toEqual(['--quantization', 'fp8']);
    expect(command).not.toContain('--enable-lora');
  });

  test.each(['--api-key=k', '--api-key', '--enable-log-requests', '--max-num-seqs', '--port=1', '--ssl-keyfile'])(
    'is not given %s by the setting',
    (flag) => {
      expect(() => engineCommand({ ...settings, more: [flag] })).toThrow(/gpuEngineFlags may not have --/);
    },
  );
});

/** Settings of a fleet, but for one, as osls resolves them. */
function settingsWith(name: string, value: string): Variables {
  const settings = new Map<string, unknown>([
    ['gpuFleet', 'qwen'],
    ['gpuImage', '123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.19.0'],
    ['gpuCanaryImage', ''],
    ['gpuWeights', 's3://models/qwen3-8b'],
    ['gpuWeightsImage', 'public.ecr.aws/aws-cli/aws-cli:2.32.9'],
    ['gpuEgress', 'nat'],
    ['chatTimeoutSeconds', 330],
    ['gpuTensorParallel', 1],
    ['gpuInstanceTypes', 'g6e.xlarge'],
    ['gpuStepTokens', 2048],
    ['gpuEngineFlags', ''],
    ['gpuWorkingMin', 0],
    [name, value],
  ]);
  return { resolveVariable: async (address) => settings.get(address.replace('param:', '')) };
}

describe('a fleet is refused', () => {
  beforeAll(() => void vi.stubEnv('MODELS_FILE', 'infra/check/gpu-models.json'));
  afterAll(() => void vi.unstubAllEnvs());

  test.each([
    ['gpuFleet', 'other', /gpuFleet names other, and the registry has no such fleet/],
    ['gpuImage', 'vllm/vllm-openai:v0.19.0', /gpuImage is not valid: must be an image of a private ECR/],
    [
      'gpuImage',
      '123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:latest',
      /gpuImage is not valid: must end in a version or digest other than latest/,
    ],
    ['gpuImage', '123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm', /gpuImage is not valid: must end in a version/],
    ['gpuImage', '', /gpuImage has to be set beside gpuFleet/],
    ['gpuWeights', '', /gpuWeights has to be set beside gpuFleet/],
    ['gpuWeights', 's3://models', /gpuWeights is not valid: must be a folder of a bucket/],
    ['gpuEgress', 'endpoints', /gpuWeightsImage has to be in a private ECR/],
    ['gpuInstanceTypes', 'g6e', /gpuInstanceTypes is not valid: must be instance types/],
    ['gpuEngineFlags', '--api-key k', /gpuEngineFlags may not have --api-key/],
    ['gpuWorkingMin', '5', /gpuWorkingMin \(5\) is above the maxWorkers \(4\) of the fleet qwen/],
  ])('for %s=%s', async (name, value, message) => {
    await expect(gpu(settingsWith(name, value))).rejects.toThrow(message);
  });

  test('in words of its own, without a stack trace', async () => {
    await expect(packagedWithGpus('gpuFleet=other')).rejects.toThrow(
      /^osls could not package the service\.\nThe GPU fleet can't be packaged: gpuFleet names other, /,
    );
  });
});

describe('models and machines elsewhere', () => {
  const target = (provider: string, more: object) => ({ targets: [{ provider, model: 'm', ...more }] });
  const hosted = (baseUrl: string) => target('openai-compatible', { baseUrl });
  const registry = parseModelRegistry(
    JSON.stringify({
      models: {
        here: target('bedrock', {}),
        there: target('bedrock', { region: 'us-west-2' }),
        out: hosted('https://api.openai.com/v1'),
        rack: hosted('http://10.0.0.7:8000/v1'),
        plain: hosted('http://plain.internal/v1'),
        laptop: hosted('http://127.0.0.1:11434/v1'),
      },
      fleets: { rented: { workers: [{ id: 'w1', url: 'https://gpu.example.com:8443/v1' }] } },
    }),
    'models.json',
  );

  test('are named when no endpoint leads to them', () => {
    expect(unreachableByEndpoints(registry)).toEqual([
      'there (Bedrock in us-west-2)',
      'out (api.openai.com)',
      'rented (gpu.example.com)',
    ]);
  });

  test('are let out to by their ports, and by no other than these and 443', () => {
    const ports = (given: ModelRegistry) => egressOf(given).map((rule) => [Object(rule).FromPort, Object(rule).ToPort]);
    expect(ports(registry)).toEqual([80, 443, 8000, 8443].map((port) => [port, port]));
    expect(ports({ ...registry, models: {}, fleets: {} })).toEqual([[443, 443]]);
  });
});
