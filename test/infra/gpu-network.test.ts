import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Template } from '../../infra/template.ts';
import {
  GPU_ENDPOINTS,
  GPU_MODELS,
  GPU_SETTINGS,
  objectsIn,
  ofType,
  packagedOf,
  packagedWithGpus,
} from './packaged.ts';

let nat: Template;
let endpoints: Template;
let folder: string;
beforeAll(async () => {
  [nat, endpoints, folder] = await Promise.all([
    packagedWithGpus('gpuZones=3'),
    packagedWithGpus(...GPU_ENDPOINTS),
    mkdtemp(join(tmpdir(), 'lambent-network-')),
  ]);
});
afterAll(() => rm(folder, { recursive: true }));

interface Way {
  readonly from: string;
  readonly to: string;
  readonly port: number;
}

/** Who may reach whom: a way is there when one group lets it out and the other lets it in. */
function waysInto(template: Template): Way[] {
  return ofType(template, 'AWS::EC2::SecurityGroup').flatMap(({ id, properties }) =>
    rules(properties['SecurityGroupIngress']).map((rule) => ({
      from: groupOf(rule['SourceSecurityGroupId']) ?? String(rule['CidrIp'] ?? rule['CidrIpv6'] ?? '?'),
      to: id,
      port: Number(rule['FromPort']),
    })),
  );
}

const rules = (value: unknown) => [value ?? []].flat().map((rule) => Object(rule) as Readonly<Record<string, unknown>>);
const groupOf = (value: unknown): string | undefined => Object(value)['Fn::GetAtt']?.[0];

describe('nobody reaches', () => {
  test('anything from outside', () => {
    for (const template of [nat, endpoints]) {
      for (const way of waysInto(template)) expect(way.from).toMatch(/^Gpu\w+SecurityGroup$/);
      expect(ofType(template, 'AWS::EC2::SecurityGroupIngress')).toEqual([]);
    }
  });

  test('a function or a machine at all', () => {
    const reached = new Set([...waysInto(nat), ...waysInto(endpoints)].map(({ to }) => to));
    expect(reached).toEqual(new Set(['GpuWorkersSecurityGroup', 'GpuEndpointsSecurityGroup']));
  });

  test("an engine but functions, on the engines' port, which they may leave by", () => {
    const toWorkers = waysInto(nat).filter(({ to }) => to === 'GpuWorkersSecurityGroup');
    expect(toWorkers).toEqual([{ from: 'GpuFunctionsSecurityGroup', to: 'GpuWorkersSecurityGroup', port: 8000 }]);
    const [egress] = ofType(nat, 'AWS::EC2::SecurityGroupEgress');
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

  test('an endpoint but members of the VPC, by HTTPS', () => {
    const ways = waysInto(endpoints).filter(({ to }) => to === 'GpuEndpointsSecurityGroup');
    expect(ways.map(({ from, port }) => `${from} ${port}`)).toEqual([
      'GpuFunctionsSecurityGroup 443',
      'GpuWorkersSecurityGroup 443',
      'GpuInstancesSecurityGroup 443',
    ]);
  });
});

test('everything leaves by HTTPS, but for requests to engines', () => {
  for (const template of [nat, endpoints]) {
    for (const { id, properties } of ofType(template, 'AWS::EC2::SecurityGroup')) {
      const left = rules(properties['SecurityGroupEgress']);
      expect(left, id).toHaveLength(1);
      const nowhere = left[0]?.['CidrIp'] === '127.0.0.1/32';
      if (!nowhere) expect([left[0]?.['FromPort'], left[0]?.['ToPort']], id).toEqual([443, 443]);
    }
  }
});

test('functions leave by the ports, too, of models and machines elsewhere that the registry names', async () => {
  const registry = JSON.parse(await readFile(GPU_MODELS, 'utf8'));
  const hosted = { provider: 'openai-compatible', model: 'm', baseUrl: 'https://models.example.com:8443/v1' };
  const models = { ...registry.models, hosted: { targets: [hosted] } };
  const fleets = { ...registry.fleets, rack: { workers: [{ id: 'w1', url: 'http://10.0.0.7:9000/v1' }] } };
  const file = join(folder, 'models.json');
  await writeFile(file, JSON.stringify({ models, fleets }));
  const template = await packagedOf(file, ...GPU_SETTINGS);
  const left = (id: string) =>
    rules(template.Resources[id]?.Properties?.['SecurityGroupEgress']).map(({ FromPort, ToPort }) => [
      FromPort,
      ToPort,
    ]);
  expect(left('GpuFunctionsSecurityGroup')).toEqual([443, 8443, 9000].map((port) => [port, port]));
  expect(left('GpuWorkersSecurityGroup')).toEqual([[443, 443]]);
});

describe('private subnets', () => {
  const routes = (template: Template) => ofType(template, 'AWS::EC2::Route').map(({ properties }) => properties);

  test('lead to the internet through a NAT gateway of their own zone', () => {
    const gateways = routes(nat).filter(({ NatGatewayId }) => NatGatewayId !== undefined);
    expect(
      gateways.map(({ RouteTableId, NatGatewayId }) => [Object(RouteTableId).Ref, Object(NatGatewayId).Ref]),
    ).toEqual(['A', 'B', 'C'].map((zone) => [`GpuPrivateRoutes${zone}`, `GpuNatGateway${zone}`]));
    for (const zone of ['A', 'B', 'C'])
      expect(Object(nat.Resources[`GpuNatGateway${zone}`]?.Properties).SubnetId).toEqual({
        Ref: `GpuPublicSubnet${zone}`,
      });
  });

  test('lead nowhere with endpoints, and there is no gateway', () => {
    expect(routes(endpoints)).toEqual([]);
    for (const type of ['InternetGateway', 'NatGateway', 'EIP'])
      expect(ofType(endpoints, `AWS::EC2::${type}`), type).toEqual([]);
    expect(Object.keys(endpoints.Resources).filter((id) => id.startsWith('GpuPublic'))).toEqual([]);
  });

  test('give nothing a public address, and overlap nowhere', () => {
    for (const template of [nat, endpoints]) {
      const subnets = ofType(template, 'AWS::EC2::Subnet').map(({ properties }) => properties);
      for (const { MapPublicIpOnLaunch } of subnets) expect(MapPublicIpOnLaunch).toBe(false);
      const parts = subnets.map(({ CidrBlock }) => Object(CidrBlock)['Fn::Select'][0]);
      expect(new Set(parts).size).toBe(subnets.length);
    }
  });
});

describe('endpoints', () => {
  const services = (template: Template, type: string) =>
    ofType(template, 'AWS::EC2::VPCEndpoint')
      .filter(({ properties }) => properties['VpcEndpointType'] === type)
      .map(({ properties }) => String(Object(properties['ServiceName'])['Fn::Sub']).replace(/^.*Region\}\./, ''))
      .sort();

  test('of S3 and DynamoDB are always there, on every private route, and lead to what the stack uses', () => {
    for (const template of [nat, endpoints]) {
      expect(services(template, 'Gateway')).toEqual(['dynamodb', 's3']);
      const tables = ofType(template, 'AWS::EC2::RouteTable').filter(({ id }) => id.startsWith('GpuPrivate'));
      for (const id of ['GpuS3Endpoint', 'GpuDynamoDBEndpoint']) {
        const endpoint = Object(template.Resources[id]?.Properties);
        expect(endpoint.RouteTableIds).toEqual(tables.map((table) => ({ Ref: table.id })));
        for (const { Resource } of [...objectsIn(endpoint.PolicyDocument)].filter((thing) => 'Effect' in thing))
          expect([Resource].flat()).not.toContain('*');
      }
    }
  });

  test('of services are there instead of NAT gateways: what functions, machines and tasks talk to', () => {
    expect(services(nat, 'Interface')).toEqual([]);
    expect(services(endpoints, 'Interface')).toEqual(
      [
        ...['bedrock-runtime', 'kms', 'lambda', 'secretsmanager', 'sqs', 'ssm'],
        ...['ecr.api', 'ecr.dkr', 'ecs', 'ecs-agent', 'ecs-telemetry', 'logs', 'monitoring'],
      ].sort(),
    );
  });
});

test('what is turned away is logged, under a key of ours', () => {
  expect(nat.Resources['GpuFlowLog']?.Properties).toMatchObject({ TrafficType: 'REJECT', ResourceType: 'VPC' });
  for (const id of ['GpuFlowLogGroup', 'GpuEngineLogGroup'])
    expect(nat.Resources[id]?.Properties).toMatchObject({
      RetentionInDays: 30,
      KmsKeyId: { 'Fn::GetAtt': ['DataKey', 'Arn'] },
    });
});
