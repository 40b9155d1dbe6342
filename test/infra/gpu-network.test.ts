import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import {
  findByType,
  GPU_ENDPOINTS,
  GPU_MODELS,
  GPU_SETTINGS,
  packageWithGpus,
  packageWithModels,
  walkObjects,
} from './packaged.ts';

let nat: Template;
let endpoints: Template;
let folder: string;
beforeAll(async () => {
  [nat, endpoints, folder] = await Promise.all([
    packageWithGpus('gpuZones=3'),
    packageWithGpus(...GPU_ENDPOINTS),
    mkdtemp(join(tmpdir(), 'lambent-network-')),
  ]);
});
afterAll(() => rm(folder, { recursive: true }));

interface Connection {
  readonly from: string;
  readonly to: string;
  readonly port: number;
}

/** Returns the connections that the ingress rules of the security groups allow. */
function listIngress(template: Template): Connection[] {
  return findByType(template, 'AWS::EC2::SecurityGroup').flatMap(({ id, properties }) =>
    listRules(properties['SecurityGroupIngress']).map((rule) => ({
      from: findGroup(rule['SourceSecurityGroupId']) ?? String(rule['CidrIp'] ?? rule['CidrIpv6'] ?? '?'),
      to: id,
      port: Number(rule['FromPort']),
    })),
  );
}

const listRules = (value: unknown) =>
  [value ?? []].flat().map((rule) => Object(rule) as Readonly<Record<string, unknown>>);
const findGroup = (value: unknown): string | undefined => Object(value)['Fn::GetAtt']?.[0];

describe('security groups', () => {
  it('no connection from outside of the VPC is allowed', () => {
    for (const template of [nat, endpoints]) {
      for (const connection of listIngress(template)) expect(connection.from).toMatch(/^Gpu\w+SecurityGroup$/);
      expect(findByType(template, 'AWS::EC2::SecurityGroupIngress')).toEqual([]);
    }
  });

  it('no connection to a function or an instance is allowed', () => {
    const reached = new Set([...listIngress(nat), ...listIngress(endpoints)].map(({ to }) => to));
    expect(reached).toEqual(new Set(['GpuWorkersSecurityGroup', 'GpuEndpointsSecurityGroup']));
  });

  it("only functions may connect to an engine, on the engines' port", () => {
    const toWorkers = listIngress(nat).filter(({ to }) => to === 'GpuWorkersSecurityGroup');
    expect(toWorkers).toEqual([{ from: 'GpuFunctionsSecurityGroup', to: 'GpuWorkersSecurityGroup', port: 8000 }]);
    const [egress] = findByType(nat, 'AWS::EC2::SecurityGroupEgress');
    expect(egress?.properties).toMatchObject({
      GroupId: { 'Fn::GetAtt': ['GpuFunctionsSecurityGroup', 'GroupId'] },
      DestinationSecurityGroupId: { 'Fn::GetAtt': ['GpuWorkersSecurityGroup', 'GroupId'] },
      FromPort: 8000,
      ToPort: 8000,
    });
    expect(Object(nat.Resources['GpuService']?.Properties)['NetworkConfiguration']).toMatchObject({
      AwsvpcConfiguration: {
        AssignPublicIp: 'DISABLED',
        SecurityGroups: [{ 'Fn::GetAtt': ['GpuWorkersSecurityGroup', 'GroupId'] }],
      },
    });
  });

  it('only members of the VPC may connect to endpoints, by HTTPS', () => {
    const connections = listIngress(endpoints).filter(({ to }) => to === 'GpuEndpointsSecurityGroup');
    expect(connections.map(({ from, port }) => `${from} ${port}`)).toEqual([
      'GpuFunctionsSecurityGroup 443',
      'GpuWorkersSecurityGroup 443',
      'GpuInstancesSecurityGroup 443',
    ]);
  });
});

it('all egress except to engines is HTTPS', () => {
  for (const template of [nat, endpoints]) {
    for (const { id, properties } of findByType(template, 'AWS::EC2::SecurityGroup')) {
      const egress = listRules(properties['SecurityGroupEgress']);
      expect(egress, id).toHaveLength(1);
      const isEmptyRule = egress[0]?.['CidrIp'] === '127.0.0.1/32';
      if (!isEmptyRule) expect([egress[0]?.['FromPort'], egress[0]?.['ToPort']], id).toEqual([443, 443]);
    }
  }
});

it('functions may also connect to the ports of the registry’s external models and workers', async () => {
  const registry = JSON.parse(await readFile(GPU_MODELS, 'utf8'));
  const hosted = { provider: 'openai-compatible', model: 'm', baseUrl: 'https://models.example.com:8443/v1' };
  const models = { ...registry.models, hosted: { targets: [hosted] } };
  const fleets = { ...registry.fleets, rack: { workers: [{ id: 'w1', url: 'http://10.0.0.7:9000/v1' }] } };
  const file = join(folder, 'models.json');
  await writeFile(file, JSON.stringify({ models, fleets }));
  const template = await packageWithModels(file, ...GPU_SETTINGS);
  const listEgressPorts = (id: string) =>
    listRules(template.Resources[id]?.Properties?.['SecurityGroupEgress']).map(({ FromPort, ToPort }) => [
      FromPort,
      ToPort,
    ]);
  expect(listEgressPorts('GpuFunctionsSecurityGroup')).toEqual([443, 8443, 9000].map((port) => [port, port]));
  expect(listEgressPorts('GpuWorkersSecurityGroup')).toEqual([[443, 443]]);
});

describe('private subnets', () => {
  const listRoutes = (template: Template) =>
    findByType(template, 'AWS::EC2::Route').map(({ properties }) => properties);

  it('a private subnet reaches the internet through the NAT gateway of its zone', () => {
    const gateways = listRoutes(nat).filter(({ NatGatewayId }) => NatGatewayId !== undefined);
    expect(
      gateways.map(({ RouteTableId, NatGatewayId }) => [Object(RouteTableId).Ref, Object(NatGatewayId).Ref]),
    ).toEqual(['A', 'B', 'C'].map((zone) => [`GpuPrivateRoutes${zone}`, `GpuNatGateway${zone}`]));
    for (const zone of ['A', 'B', 'C'])
      expect(Object(nat.Resources[`GpuNatGateway${zone}`]?.Properties).SubnetId).toEqual({
        Ref: `GpuPublicSubnet${zone}`,
      });
  });

  it('private subnets have no route to the internet with endpoints, and no gateway exists', () => {
    expect(listRoutes(endpoints)).toEqual([]);
    for (const type of ['InternetGateway', 'NatGateway', 'EIP'])
      expect(findByType(endpoints, `AWS::EC2::${type}`), type).toEqual([]);
    expect(Object.keys(endpoints.Resources).filter((id) => id.startsWith('GpuPublic'))).toEqual([]);
  });

  it('subnets assign no public addresses and do not overlap', () => {
    for (const template of [nat, endpoints]) {
      const subnets = findByType(template, 'AWS::EC2::Subnet').map(({ properties }) => properties);
      for (const { MapPublicIpOnLaunch } of subnets) expect(MapPublicIpOnLaunch).toBe(false);
      const parts = subnets.map(({ CidrBlock }) => Object(CidrBlock)['Fn::Select'][0]);
      expect(new Set(parts).size).toBe(subnets.length);
    }
  });
});

describe('VPC endpoints', () => {
  const listServices = (template: Template, type: string) =>
    findByType(template, 'AWS::EC2::VPCEndpoint')
      .filter(({ properties }) => properties['VpcEndpointType'] === type)
      .map(({ properties }) => String(Object(properties['ServiceName'])['Fn::Sub']).replace(/^.*Region\}\./, ''))
      .sort();

  it('every private route has gateway endpoints of S3 and DynamoDB, which allow only named resources', () => {
    for (const template of [nat, endpoints]) {
      expect(listServices(template, 'Gateway')).toEqual(['dynamodb', 's3']);
      const tables = findByType(template, 'AWS::EC2::RouteTable').filter(({ id }) => id.startsWith('GpuPrivate'));
      for (const id of ['GpuS3Endpoint', 'GpuDynamoDBEndpoint']) {
        const endpoint = Object(template.Resources[id]?.Properties);
        expect(endpoint.RouteTableIds).toEqual(tables.map((table) => ({ Ref: table.id })));
        for (const { Resource } of [...walkObjects(endpoint.PolicyDocument)].filter(
          (statement) => 'Effect' in statement,
        ))
          expect([Resource].flat()).not.toContain('*');
      }
    }
  });

  it('interface endpoints of all called services exist instead of NAT gateways', () => {
    expect(listServices(nat, 'Interface')).toEqual([]);
    expect(listServices(endpoints, 'Interface')).toEqual(
      [
        ...['bedrock-runtime', 'kms', 'lambda', 'secretsmanager', 'sqs', 'ssm'],
        ...['ecr.api', 'ecr.dkr', 'ecs', 'ecs-agent', 'ecs-telemetry', 'logs', 'monitoring'],
      ].sort(),
    );
  });
});

it('rejected connections are logged and encrypted with the stack’s key', () => {
  expect(nat.Resources['GpuFlowLog']?.Properties).toMatchObject({ TrafficType: 'REJECT', ResourceType: 'VPC' });
  for (const id of ['GpuFlowLogGroup', 'GpuEngineLogGroup'])
    expect(nat.Resources[id]?.Properties).toMatchObject({
      RetentionInDays: 30,
      KmsKeyId: { 'Fn::GetAtt': ['DataKey', 'Arn'] },
    });
});
