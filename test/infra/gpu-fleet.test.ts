import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { buildEngineCommand } from '../../infra/gpu-engine.ts';
import { createGpuValues } from '../../infra/gpu-fleet.ts';
import { buildEgressRules, listUnreachable } from '../../infra/gpu-reach.ts';
import type { Template } from '../../infra/template.ts';
import { type ModelRegistry, parseModelRegistry } from '../../shared/inference/registry.ts';
import { ENGINE } from '../simulation/placement/run.ts';
import { makeSettings } from './make-settings.ts';
import {
  findByType,
  GPU_CANARY,
  GPU_ENDPOINTS,
  GPU_SETTINGS,
  listFunctions,
  packageStage,
  packageWithGpus,
  walkObjects,
} from './packaged.ts';

let off: Template;
let on: Template;
let canary: Template;
let endpoints: Template;
beforeAll(async () => {
  [off, on, canary, endpoints] = await Promise.all([
    packageStage(),
    packageWithGpus(),
    packageWithGpus(GPU_CANARY, 'gpuZones=3', 'gpuOnDemandBase=2'),
    packageWithGpus(...GPU_ENDPOINTS),
  ]);
});

const getProperties = (template: Template, id: string) => Object(template.Resources[id]?.Properties);
const findContainer = (template: Template, task: string, name: string) =>
  getProperties(template, task).ContainerDefinitions.find((each: { Name: string }) => each.Name === name);

/** Returns the ids of all resources that CloudFormation creates before this one. */
function listPredecessors({ Resources }: Template, id: string, found = new Set<string>()): Set<string> {
  const { DependsOn = [], Properties } = Resources[id] ?? {};
  const referred = [...walkObjects(Properties)].flatMap((value) => [
    ...[value['Ref'] ?? []].flat(),
    ...[value['Fn::GetAtt'] ?? []].flat().slice(0, 1),
    ...[...JSON.stringify(value['Fn::Sub'] ?? '').matchAll(/\$\{(\w+)[.}]/g)].map(([, name]) => name),
  ]);
  for (const other of [DependsOn, referred].flat().map(String)) {
    if (!(other in Resources) || found.has(other)) continue;
    found.add(other);
    listPredecessors({ Resources }, other, found);
  }
  return found;
}

describe('the order in which a GPU fleet is created', () => {
  // Only the creation of a cluster makes ECS's role, and a capacity provider needs it:
  // https://github.com/aws/containers-roadmap/issues/631
  it('in an account that never used ECS, the cluster, whose creation makes the service-linked role, comes first', () => {
    const users = Object.entries(canary.Resources).filter(
      ([id, { Type }]) => /^AWS::(ECS::(?!TaskDefinition)|ApplicationAutoScaling::)/.test(Type) && /^Gpu/.test(id),
    );
    expect(users.map(([id]) => id)).toEqual(
      expect.arrayContaining([
        'GpuCapacity',
        'GpuClusterCapacity',
        'GpuService',
        'GpuCanaryService',
        'GpuScalableTarget',
      ]),
    );
    for (const [id] of users)
      if (id !== 'GpuCluster') expect([...listPredecessors(canary, id)], id).toContain('GpuCluster');
  });

  it('a service starts no instance before the network by which it pulls images is complete', () => {
    const services = [
      { template: canary, id: 'GpuService' },
      { template: canary, id: 'GpuCanaryService' },
      { template: endpoints, id: 'GpuService' },
    ];
    for (const { template, id } of services) {
      const before = [...listPredecessors(template, id)];
      const network = Object.keys(template.Resources).filter((each) =>
        /^Gpu(PrivateRoutesOf|NatRoute|(Ecr|EcrDocker|Ecs|EcsAgent|EcsTelemetry|Logs|S3)Endpoint$)/.test(each),
      );
      expect(network.length).toBeGreaterThan(6);
      expect(before).toEqual(expect.arrayContaining(network));
    }
  });

  it('a dependency exists in the template', () => {
    for (const { Resources } of [on, canary, endpoints])
      for (const { DependsOn = [] } of Object.values(Resources))
        for (const id of [DependsOn].flat()) expect(Object.keys(Resources)).toContain(id);
  });
});

describe('a stack without a GPU fleet, the default', () => {
  it('a stack without a GPU fleet has no network, cluster or instance', () => {
    const types = new Set(Object.values(off.Resources).map(({ Type }) => Type));
    expect([...types].filter((type) => /^AWS::(EC2|ECS|AutoScaling)::/.test(type))).toEqual([]);
  });

  it('the functions of a stack without a GPU fleet are in no VPC and may not join one', () => {
    for (const { name, properties } of listFunctions(off)) expect(properties, name).not.toHaveProperty('VpcConfig');
    expect(JSON.stringify(off)).not.toContain('ec2:CreateNetworkInterface');
  });

  it('the settings of a GPU fleet do not change a stack without one', async () => {
    const stripTimes = (template: Template) =>
      JSON.stringify(template).replace(/\d{13}-\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME');
    const settings = ['gpuZones=3', 'gpuEgress=endpoints', 'gpuWorkingMin=1'].flatMap((each) => ['--param', each]);
    expect(stripTimes(await packageStage(...settings))).toBe(stripTimes(off));
  });
});

describe('a stack with a GPU fleet', () => {
  it('only chat, embeddings, dispatch and fleet are in the VPC and have the permissions for it', () => {
    for (const template of [on, endpoints]) {
      const joined = listFunctions(template).filter(({ properties }) => properties['VpcConfig'] !== undefined);
      expect(joined.map(({ name }) => name)).toEqual(['chat', 'embeddings', 'dispatch', 'fleet']);
      for (const { properties } of joined)
        expect(properties['VpcConfig']).toEqual({
          SecurityGroupIds: [{ 'Fn::GetAtt': ['GpuFunctionsSecurityGroup', 'GroupId'] }],
          SubnetIds: [{ Ref: 'GpuPrivateSubnetA' }, { Ref: 'GpuPrivateSubnetB' }],
        });
      const roles = findByType(template, 'AWS::IAM::Role').filter(({ properties }) =>
        JSON.stringify(properties).includes('ec2:CreateNetworkInterface'),
      );
      expect(roles.map(({ id }) => id)).toEqual(['ChatRole', 'EmbeddingsRole', 'DispatchRole', 'FleetRole']);
    }
  });

  it('a GPU fleet does not change unrelated resources', () => {
    const same = Object.keys(off.Resources).filter(
      (id) => !/^(Chat|Dispatch|Embeddings|Fleet|Generate|ModelsPolicy|ApiGateway|DataKey)/.test(id),
    );
    for (const id of same) {
      const code = /"S3Key":"[^"]+"/g;
      const text = (template: Template) => JSON.stringify(template.Resources[id]).replace(code, '');
      expect(text(on), id).toBe(text(off));
    }
  });

  it('cluster and service have the names of the registry, and fleet may scale the service', () => {
    expect(getProperties(on, 'GpuCluster').ClusterName).toBe('gpu');
    expect(getProperties(on, 'GpuService').ServiceName).toBe('qwen');
    expect(getProperties(on, 'GpuScalableTarget')).toMatchObject({
      ResourceId: 'service/gpu/qwen',
      MinCapacity: 0,
      MaxCapacity: 4,
    });
    const [services] = [...walkObjects(on.Resources['FleetRole'])].filter(({ Sid }) => Sid === 'Services');
    expect(JSON.stringify(services)).toContain('service/gpu/qwen"');
  });

  it('instances above the on-demand base are spot instances that ECS drains, with encrypted disks', () => {
    expect(getProperties(canary, 'GpuInstances')).toMatchObject({
      NewInstancesProtectedFromScaleIn: true,
      MixedInstancesPolicy: {
        InstancesDistribution: { OnDemandBaseCapacity: '2', OnDemandPercentageAboveBaseCapacity: 0 },
        LaunchTemplate: { Overrides: [{ InstanceType: 'g6e.xlarge' }, { InstanceType: 'g6e.2xlarge' }] },
      },
    });
    expect(getProperties(on, 'GpuCapacity').AutoScalingGroupProvider).toMatchObject({
      ManagedScaling: { Status: 'ENABLED' },
      ManagedTerminationProtection: 'ENABLED',
      ManagedDraining: 'ENABLED',
    });
    const { LaunchTemplateData } = getProperties(on, 'GpuLaunchTemplate');
    expect(LaunchTemplateData).toMatchObject({
      MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
      BlockDeviceMappings: [{ Ebs: { Encrypted: true, VolumeSize: 200 } }],
    });
    const script: string = LaunchTemplateData.UserData['Fn::Base64']['Fn::Sub'];
    expect(script).toMatch(/^#!\/bin\/bash\n/);
    for (const line of ['ECS_ENABLE_SPOT_INSTANCE_DRAINING=true', 'ECS_AWSVPC_BLOCK_IMDS=true'])
      expect(script.split('\n')).toContain(line);
  });

  it('the instances publish the disk and GPU metrics that the alarms watch', () => {
    const script: string = getProperties(on, 'GpuLaunchTemplate').LaunchTemplateData.UserData['Fn::Base64']['Fn::Sub'];
    const [, text = ''] = /lambent\.json <<'CONFIG'\n([\s\S]*?)\nCONFIG/.exec(script) ?? [];
    const { metrics } = JSON.parse(text);
    const watched = ['GpuMemoryAlarm', 'GpuDiskAlarm'].flatMap((id) =>
      [...walkObjects(on.Resources[id])].filter(({ MetricName }) => MetricName !== undefined),
    );
    const published = Object.entries({ disk: 'disk', nvidia_gpu: 'nvidia_smi' }).flatMap(([key, prefix]) =>
      metrics.metrics_collected[key].measurement.map((name: string) => `${prefix}_${name}`),
    );
    expect(new Set(watched.map(({ MetricName }) => MetricName))).toEqual(new Set(published));
    for (const { Namespace, Dimensions } of watched) {
      expect(Namespace).toBe(metrics.namespace);
      expect(Object(Dimensions)[0]).toEqual({
        Name: metrics.aggregation_dimensions[0][0],
        Value: { Ref: 'GpuCluster' },
      });
    }
  });

  it('the group has one instance more than the maximum of workers, and another one for a canary', () => {
    expect(Number(getProperties(on, 'GpuInstances').MaxSize)).toBe(4 + 1);
    expect(Number(getProperties(canary, 'GpuInstances').MaxSize)).toBe(4 + 1 + 1);
  });

  it('a roll-out starts new workers before it stops old ones and is rolled back if they become suspect', () => {
    expect(getProperties(on, 'GpuService')).not.toHaveProperty('DesiredCount');
    expect(getProperties(on, 'GpuService').DeploymentConfiguration).toMatchObject({
      MinimumHealthyPercent: 100,
      MaximumPercent: 200,
      DeploymentCircuitBreaker: { Enable: true, Rollback: true },
      Alarms: { AlarmNames: [{ Ref: 'GpuWorkersSuspectedAlarm' }], Enable: true, Rollback: true },
    });
  });

  it('the canary is one worker that differs by its image only, and exists only if it is set', () => {
    expect(findByType(on, 'AWS::ECS::Service').map(({ id }) => id)).toEqual(['GpuService']);
    expect(getProperties(canary, 'GpuCanaryService')).toMatchObject({ ServiceName: 'qwen-canary', DesiredCount: 1 });
    const engine = findContainer(canary, 'GpuTask', 'engine');
    expect(findContainer(canary, 'GpuCanaryTask', 'engine')).toEqual({
      ...engine,
      Image: engine.Image.replace('v0.19.0', 'v0.20.0'),
    });
  });

  it('the stack uses a third zone only if it is set', () => {
    expect(on.Resources).not.toHaveProperty('GpuPrivateSubnetC');
    expect(getProperties(canary, 'GpuInstances').VPCZoneIdentifier).toHaveLength(3);
    expect(Object(getProperties(canary, 'ChatLambdaFunction').VpcConfig).SubnetIds).toHaveLength(3);
  });
});

describe('the engine of a GPU fleet', () => {
  const findFlag = (command: readonly string[], flag: string) => command[command.indexOf(flag) + 1];

  it('the command has the flags that the registry, the simulations and Lambent depend on', () => {
    const { Command } = findContainer(on, 'GpuTask', 'engine');
    expect(findFlag(Command, '--served-model-name')).toBe('Qwen/Qwen3-8B');
    expect(findFlag(Command, '--port')).toBe('8000');
    expect(findFlag(Command, '--max-model-len')).toBe('32768');
    expect(findFlag(Command, '--max-num-seqs')).toBe(String(ENGINE.maxSequences));
    expect(findFlag(Command, '--max-num-batched-tokens')).toBe(String(ENGINE.stepTokens));
    expect(findFlag(Command, '--scheduling-policy')).toBe('priority');
    for (const flag of ['--enable-prefix-caching', '--no-enable-log-requests', '--enable-lora'])
      expect(Command).toContain(flag);
  });

  it('an engine may take as long to shut down as a chat request may last', () => {
    const engine = findContainer(on, 'GpuTask', 'engine');
    const chat = listFunctions(on).find(({ name }) => name === 'chat');
    expect(findFlag(engine.Command, '--shutdown-timeout')).toBe(String(chat?.properties['Timeout']));
    expect(engine.StopTimeout).toBeGreaterThan(Number(chat?.properties['Timeout']));
  });

  it('an engine gets its key by reference, and its task role may not read it', () => {
    const arn = { 'Fn::Sub': expect.stringMatching(/:parameter\/lambent\/gpu-key$/) };
    const engine = findContainer(on, 'GpuTask', 'engine');
    expect(engine.Secrets).toEqual([{ Name: 'VLLM_API_KEY', ValueFrom: arn }]);
    expect(engine.Command).not.toContain('--api-key');
    expect(JSON.stringify(getProperties(on, 'GpuTaskRole'))).not.toContain('ssm:');
  });

  it('an engine starts after its weights are downloaded and may only read them', () => {
    const engine = findContainer(on, 'GpuTask', 'engine');
    expect(engine.DependsOn).toEqual([{ ContainerName: 'weights', Condition: 'SUCCESS' }]);
    expect(engine.MountPoints).toEqual([{ SourceVolume: 'weights', ContainerPath: '/weights', ReadOnly: true }]);
    expect(engine.Command[0]).toBe('/weights');
  });

  const settings = {
    ...{ model: 'm', adapters: 0, contextTokens: 1_000, port: 8_000, slots: 300, gpus: 4 },
    ...{ stepTokens: 2_048, shutdownSeconds: 60, extraFlags: ['--quantization', 'fp8'] },
  };

  it('the command has at least as many sequences as slots, the number of GPUs and the flags of gpuEngineFlags', () => {
    const command = buildEngineCommand(settings);
    expect(findFlag(command, '--max-num-seqs')).toBe('300');
    expect(findFlag(command, '--tensor-parallel-size')).toBe('4');
    expect(command.slice(-2)).toEqual(['--quantization', 'fp8']);
    expect(command).not.toContain('--enable-lora');
  });

  it.each(['--api-key=k', '--api-key', '--enable-log-requests', '--max-num-seqs', '--port=1', '--ssl-keyfile'])(
    'gpuEngineFlags must not contain %s',
    (flag) => {
      expect(() => buildEngineCommand({ ...settings, extraFlags: [flag] })).toThrow(
        /gpuEngineFlags must not contain --/,
      );
    },
  );
});

describe('invalid settings of a GPU fleet', () => {
  beforeAll(() => void vi.stubEnv('MODELS_FILE', 'infra/check/gpu-models.json'));
  afterAll(() => void vi.unstubAllEnvs());

  it.each([
    ['gpuFleet', 'other', /gpuFleet names other, which is not a fleet of the registry/],
    ['gpuEngineFlags', '--api-key k', /gpuEngineFlags must not contain --api-key/],
    ['gpuWorkingMin', '5', /gpuWorkingMin \(5\) is above the maxWorkers \(4\) of the fleet qwen/],
  ])('packaging fails for %s=%s', async (name, value, message) => {
    const valid = Object.fromEntries(GPU_SETTINGS.map((setting) => setting.split('=')));
    await expect(createGpuValues(makeSettings({ ...valid, [name]: value }))).rejects.toThrow(message);
  });

  it('the packaging error has its own message and no stack trace', async () => {
    await expect(packageWithGpus('gpuFleet=other')).rejects.toThrow(
      /^osls could not package the service\.\nThe GPU fleet can't be packaged: gpuFleet names other, /,
    );
  });
});

describe('external models and workers', () => {
  const createTarget = (provider: string, more: object) => ({ targets: [{ provider, model: 'm', ...more }] });
  const createHosted = (baseUrl: string) => createTarget('openai-compatible', { baseUrl });
  const registry = parseModelRegistry(
    JSON.stringify({
      models: {
        here: createTarget('bedrock', {}),
        there: createTarget('bedrock', { region: 'us-west-2' }),
        out: createHosted('https://api.openai.com/v1'),
        rack: createHosted('http://10.0.0.7:8000/v1'),
        plain: createHosted('http://plain.internal/v1'),
        laptop: createHosted('http://127.0.0.1:11434/v1'),
      },
      fleets: { rented: { workers: [{ id: 'w1', url: 'https://gpu.example.com:8443/v1' }] } },
    }),
    'models.json',
  );

  it('models and workers that no endpoint reaches are listed', () => {
    expect(listUnreachable(registry)).toEqual([
      'there (Bedrock in us-west-2)',
      'out (api.openai.com)',
      'rented (gpu.example.com)',
    ]);
  });

  it('egress is allowed on the ports of external models and workers and on 443 only', () => {
    const ports = (models: ModelRegistry) =>
      buildEgressRules(models).map((rule) => [Object(rule).FromPort, Object(rule).ToPort]);
    expect(ports(registry)).toEqual([80, 443, 8000, 8443].map((port) => [port, port]));
    expect(ports({ ...registry, models: {}, fleets: {} })).toEqual([[443, 443]]);
  });
});
