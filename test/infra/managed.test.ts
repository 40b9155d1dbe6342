import { beforeAll, describe, expect, it } from 'vitest';
import { computeConcurrency } from '../../infra/concurrency.ts';
import { createManagedValues } from '../../infra/managed.ts';
import type { Template } from '../../infra/template.ts';
import { makeSettings } from './make-settings.ts';
import { findByType, GPU_SETTINGS, listFunctions, packageStage, packageWithGpus, walkObjects } from './packaged.ts';

const HTTP = [
  'managedHttp=true',
  'chatMemoryMb=2048',
  'embeddingsMemoryMb=2048',
  'sessionsMemoryMb=2048',
  'responsesMemoryMb=2048',
];
const WORKERS = ['managedWorkers=true', 'generateMemoryMb=4096', 'dispatchMemoryMb=4096'];
const OWN_NETWORK = ['managedSubnets=subnet-0a,subnet-0b,subnet-0c', 'managedSecurityGroups=sg-0a'];
const toObject = (settings: readonly string[]) =>
  Object.fromEntries(settings.map((setting) => setting.split(/=(.*)/s).slice(0, 2)));
const on = toObject([...HTTP, ...WORKERS]);
const packageWith = (...settings: string[]) => packageStage(...settings.flatMap((setting) => ['--param', setting]));

let ordinary: Template;
let http: Template;
let all: Template;
let given: Template;
let gpus: Template;
beforeAll(async () => {
  [ordinary, http, all, given, gpus] = await Promise.all([
    packageStage(),
    packageWith(...HTTP),
    packageWith(...HTTP, ...WORKERS, 'gpuZones=3'),
    packageWith(...HTTP, ...OWN_NETWORK, 'managedConcurrency=32'),
    packageWithGpus(
      ...HTTP,
      ...WORKERS,
      'gpuEgress=endpoints',
      'gpuWeightsImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/aws-cli:2.32.9',
    ),
  ]);
});

const listManagedNames = (template: Template) =>
  listFunctions(template)
    .filter(({ properties }) => 'CapacityProviderConfig' in properties)
    .map(({ properties }) => String(properties['FunctionName']).replace('lambent-dev-', ''))
    .sort();
const readCapacity = (template: Template) => Object(template.Resources['ManagedCapacity']?.Properties);
const refs = (...ids: string[]) => ids.map((Ref) => ({ Ref }));

describe('functions', () => {
  it('by default, nothing runs on managed instances', () => {
    expect(listManagedNames(ordinary)).toEqual([]);
    for (const type of ['Lambda::CapacityProvider', 'EC2::VPC', 'EC2::SecurityGroup'])
      expect(findByType(ordinary, `AWS::${type}`), type).toEqual([]);
  });

  it('each switch puts only its functions on managed instances, which share them and must trust each other', () => {
    expect(listManagedNames(http)).toEqual([
      'chat-managed',
      'embeddings-managed',
      'responses-managed',
      'sessions-managed',
    ]);
    expect(listManagedNames(all)).toEqual(
      ['chat', 'dispatch', 'embeddings', 'generate', 'responses', 'sessions'].map((name) => `${name}-managed`),
    );
    const others = listFunctions(all).map(({ name }) => name);
    expect(others).toEqual(expect.arrayContaining(['authorize', 'intake', 'sweep', 'warmup', 'fleet']));
  });

  it('a managed function is published, and has its concurrency, environments and memory', () => {
    const chat = (template: Template) => template.Resources['ChatLambdaFunction']?.Properties;
    const configuration = (concurrency: number) => ({
      Runtime: 'nodejs24.x',
      Architectures: ['arm64'],
      MemorySize: 2048,
      PublishToLatestPublished: true,
      CapacityProviderConfig: {
        LambdaManagedInstancesCapacityProviderConfig: {
          CapacityProviderArn: { 'Fn::GetAtt': ['ManagedCapacity', 'Arn'] },
          ExecutionEnvironmentMemoryGiBPerVCpu: 2,
          PerExecutionEnvironmentMaxConcurrency: concurrency,
        },
      },
      FunctionScalingConfig: { MinExecutionEnvironments: 3, MaxExecutionEnvironments: 20 },
    });
    expect(chat(http)).toMatchObject(configuration(64));
    expect(chat(given)).toMatchObject(configuration(32));
  });

  it('a switch replaces functions, which AWS can’t convert, with the same log, and takes a new snapshot of the API', () => {
    const read = (template: Template) => Object(template.Resources['ChatLambdaFunction']?.Properties);
    expect(read(ordinary).FunctionName).toBe('lambent-dev-chat');
    expect(read(http).FunctionName).toBe('lambent-dev-chat-managed');
    expect(read(http).LoggingConfig).toEqual({ LogGroup: { Ref: 'ChatLogGroup' }, LogFormat: 'JSON' });
    expect(http.Resources['ChatLogGroup']).toEqual(ordinary.Resources['ChatLogGroup']);
    const snapshots = [ordinary, http].map((template) => findByType(template, 'AWS::ApiGateway::Deployment')[0]?.id);
    expect(new Set(snapshots).size).toBe(2);
  });

  it('packaging refuses a stage whose managed functions would have too long a name', async () => {
    const stage = 's'.repeat(40);
    const settings = HTTP.flatMap((setting) => ['--param', setting]);
    await expect(packageStage('--stage', stage, ...settings)).rejects.toThrow('Use at most 37 characters');
  });

  it('API Gateway and the queues call managed functions without a version, which is the published one', () => {
    expect(findByType(all, 'AWS::Lambda::Version')).toEqual([]);
    expect(findByType(all, 'AWS::Lambda::Alias')).toEqual([]);
    for (const type of ['ApiGateway::Method', 'Lambda::EventSourceMapping', 'Lambda::Permission']) {
      const pick = (template: Template) => findByType(template, `AWS::${type}`);
      expect(pick(all), type).toEqual(pick(ordinary));
    }
  });

  it('managed functions have no provisioned concurrency and no warm-up, and the same alarms', () => {
    const warmup = Object(all.Resources['WarmupLambdaFunction']?.Properties?.['Environment']).Variables;
    expect(JSON.parse(warmup.WARM_TARGETS)).toEqual([{ functionName: 'lambent-dev-authorize', concurrency: 1 }]);
    const warm = [...walkObjects(all.Resources['WarmupRole'])].find(({ Sid }) => Sid === 'Warm');
    expect(warm?.['Resource']).toEqual([{ 'Fn::GetAtt': ['AuthorizeLambdaFunction', 'Arn'] }]);
    const listAlarms = (template: Template) => findByType(template, 'AWS::CloudWatch::Alarm').map(({ id }) => id);
    expect(listAlarms(all)).toEqual(listAlarms(ordinary));
  });
});

describe('capacity', () => {
  it('one capacity provider starts arm64 instances of the given types, up to managedVcpusMax, with its operator role', () => {
    expect(findByType(all, 'AWS::Lambda::CapacityProvider')).toHaveLength(1);
    expect(readCapacity(all)).toMatchObject({
      InstanceRequirements: {
        Architectures: ['arm64'],
        AllowedInstanceTypes: ['m7g.xlarge', 'm8g.xlarge', 'c7g.xlarge', 'c8g.xlarge'],
      },
      CapacityProviderScalingConfig: { ScalingMode: 'Auto', MaxVCpuCount: 60 },
      PermissionsConfig: { CapacityProviderOperatorRoleArn: { 'Fn::GetAtt': ['ManagedOperatorRole', 'Arn'] } },
    });
    expect(all.Resources['ManagedOperatorRole']?.Properties).toMatchObject({
      ManagedPolicyArns: [
        { 'Fn::Sub': expect.stringMatching(/:iam::aws:policy\/AWSLambdaManagedEC2ResourceOperator$/) },
      ],
    });
    expect(JSON.stringify(all.Resources['ManagedOperatorRole'])).toContain(
      '"aws:SourceAccount":{"Ref":"AWS::AccountId"}',
    );
  });

  it('without instance types, AWS chooses among all with arm64', async () => {
    const { instances } = await createManagedValues(makeSettings({ ...on, managedInstanceTypes: '' }));
    expect(instances).toEqual({ Architectures: ['arm64'] });
  });

  it('the stack creates a network with a NAT gateway in each zone, whose functions nothing can connect to', () => {
    expect(readCapacity(all).VpcConfig).toEqual({
      SubnetIds: refs('GpuPrivateSubnetA', 'GpuPrivateSubnetB', 'GpuPrivateSubnetC'),
      SecurityGroupIds: [{ 'Fn::GetAtt': ['ManagedSecurityGroup', 'GroupId'] }],
    });
    expect(findByType(all, 'AWS::EC2::NatGateway')).toHaveLength(3);
    expect(findByType(http, 'AWS::EC2::NatGateway')).toHaveLength(2);
    const group = Object(all.Resources['ManagedSecurityGroup']?.Properties);
    expect(group.SecurityGroupIngress).toBeUndefined();
    expect(group.SecurityGroupEgress).toMatchObject([
      { FromPort: 443, ToPort: 443 },
      // A worker of models.json.
      { FromPort: 8000, ToPort: 8000 },
    ]);
    expect(findByType(all, 'AWS::EC2::VPCEndpoint').map(({ id }) => id)).toEqual(['ManagedDynamoDBEndpoint']);
  });

  it('the stack creates no network if one is given', () => {
    expect(readCapacity(given).VpcConfig).toEqual({
      SubnetIds: ['subnet-0a', 'subnet-0b', 'subnet-0c'],
      SecurityGroupIds: ['sg-0a'],
    });
    expect(Object.values(given.Resources).filter(({ Type }) => Type.startsWith('AWS::EC2::'))).toEqual([]);
  });

  it("with a GPU fleet, managed functions are in its network, by their capacity provider instead of a function's VPC", () => {
    expect(readCapacity(gpus).VpcConfig).toEqual({
      SubnetIds: refs('GpuPrivateSubnetA', 'GpuPrivateSubnetB'),
      SecurityGroupIds: [{ 'Fn::GetAtt': ['GpuFunctionsSecurityGroup', 'GroupId'] }],
    });
    expect(gpus.Resources).not.toHaveProperty('ManagedSecurityGroup');
    const inVpc = listFunctions(gpus).filter(({ properties }) => 'VpcConfig' in properties);
    expect(inVpc.map(({ name }) => name)).toEqual(['fleet']);
  });
});

describe('settings that managed instances refuse', () => {
  it.each([
    [{ chatProvisioned: 1 }, 'chatProvisioned must be 0 with managedHttp'],
    [{ sessionsProvisioned: 1 }, 'sessionsProvisioned must be 0 with managedHttp'],
    [{ responsesProvisioned: 1 }, 'responsesProvisioned must be 0 with managedHttp'],
    [{ chatMemoryMb: 1024, dispatchMemoryMb: 1769 }, 'chatMemoryMb, dispatchMemoryMb must be at least 2048'],
    [{ managedConcurrency: 65 }, 'managedConcurrency (65) is above 64: AWS allows 64 for each 2048 MB'],
    [
      { managedEnvironments: 21, managedVcpusMax: 999 },
      'managedEnvironmentsMax (20) is below managedEnvironments (21)',
    ],
    [{ managedVcpusMax: 23 }, 'managedVcpusMax (23) is below the 24 of 3 environments of each function'],
    [{ managedSubnets: 'subnet-0a' }, 'managedSubnets and managedSecurityGroups must be set together'],
    [
      toObject([...OWN_NETWORK, ...GPU_SETTINGS]),
      "managedSubnets can't be used with gpuFleet: functions must be in the fleet's network",
    ],
    [{ gpuEgress: 'endpoints' }, 'gpuEgress=endpoints needs gpuFleet, or managedSubnets'],
  ])('the settings refuse %j with managed functions', (settings, problem) => {
    expect(() => makeSettings({ ...on, ...settings })).toThrow(problem);
  });

  it.each([
    ['as many virtual CPUs as the environments need', { managedVcpusMax: 24 }],
    ['a network of the operator that has endpoints', { ...toObject(OWN_NETWORK), gpuEgress: 'endpoints' }],
  ])('the settings accept %s', (_, settings) => {
    expect(() => makeSettings({ ...on, ...settings })).not.toThrow();
  });

  it('managed workers take no executions from the account’s quota', () => {
    expect(computeConcurrency(makeSettings(), true).queued).toBeGreaterThan(2);
    expect(computeConcurrency(makeSettings(on), true).queued).toBe(makeSettings().intakeConcurrency);
  });

  it('the settings restrict memory and concurrency only of functions that are managed', () => {
    expect(makeSettings({ ...toObject(HTTP), generateMemoryMb: 512 }).managedWorkers).toBe(false);
    expect(makeSettings({ ...toObject(WORKERS), chatProvisioned: 2, managedConcurrency: 128 }).managedHttp).toBe(false);
    expect(makeSettings({ managedConcurrency: 1600, gpuEgress: 'endpoints' }).managedConcurrency).toBe(1600);
  });
});
