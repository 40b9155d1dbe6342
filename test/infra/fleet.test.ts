import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createStatements, createTriggers } from '../../infra/fleet.ts';
import { type Fleet, parseModelRegistry } from '../../shared/inference/registry.ts';
import { packageStage, packageWithModels } from './packaged.ts';

function parseFleets(...definitions: object[]): Fleet[] {
  const named = Object.fromEntries(definitions.map((fleet, index) => [`fleet-${index}`, fleet]));
  const models = { gpu: { targets: [{ provider: 'gpu', model: 'm', fleet: 'fleet-0' }] } };
  return Object.values(parseModelRegistry(JSON.stringify({ models, fleets: named }), 'models.json').fleets);
}
const ecsFleets = parseFleets(
  { ecs: { cluster: 'gpu', service: 'qwen' }, apiKey: 'ssm:/lambent/gpu-key' },
  { ecs: { cluster: 'arn:aws:ecs:eu-west-1:123456789012:cluster/gpu', service: 'llama' } },
  { workers: [{ id: 'w1', url: 'http://10.0.0.1:8000/v1' }] },
);

describe('without an ECS fleet in the registry, the fleet function', () => {
  it('without an ECS fleet, the fleet function runs only on its schedule', async () => {
    expect(createTriggers(parseFleets({}))).toEqual([{ schedule: 'rate(1 minute)' }]);
    const folder = await mkdtemp(join(tmpdir(), 'lambent-fleet-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const models = join(folder, 'models.json');
    const worker = { id: 'w1', url: 'http://10.0.0.1:8000/v1' };
    const target = { provider: 'gpu', model: 'm', fleet: 'rack' };
    await writeFile(
      models,
      JSON.stringify({ models: { m: { targets: [target] } }, fleets: { rack: { workers: [worker] } } }),
    );
    const { Resources } = await packageWithModels(models);
    expect(Resources['FleetEventsRuleSchedule1']?.Properties).toMatchObject({ ScheduleExpression: 'rate(1 minute)' });
    expect(Object.keys(Resources).filter((id) => /^Fleet.*EventBridge/.test(id))).toEqual([]);
  });

  it('without any fleet, nothing invokes the fleet function or polls the queue of GPU workers', async () => {
    const { Resources } = await packageStage();
    expect(Object.keys(Resources).filter((id) => id.startsWith('FleetEvents'))).toEqual([]);
    expect(Resources['DispatchEventSourceMappingSQSGpuQueue']?.Properties).toMatchObject({ Enabled: false });
    expect(Resources['GenerateEventSourceMappingSQSJobsQueue']?.Properties).toMatchObject({ Enabled: true });
  });

  it('without an ECS fleet, the fleet function has no permissions on ECS', () => {
    expect(createStatements(parseFleets({}))).toEqual([]);
  });
});

describe('with ECS fleets in the registry, the fleet function', () => {
  it("with ECS fleets, the fleet function receives state changes of their tasks, and EC2's interruption warnings", () => {
    expect(createTriggers(ecsFleets).slice(1)).toEqual([
      {
        eventBridge: {
          pattern: {
            source: ['aws.ecs'],
            'detail-type': ['ECS Task State Change'],
            detail: { clusterArn: [{ suffix: ':cluster/gpu' }], group: ['service:llama', 'service:qwen'] },
          },
        },
      },
      {
        eventBridge: {
          pattern: { source: ['aws.ec2'], 'detail-type': ['EC2 Spot Instance Interruption Warning'] },
        },
      },
    ]);
  });

  it('with ECS fleets, the fleet function may only describe their tasks, scale their services and read their keys', () => {
    const arn = (resource: string) => ({
      'Fn::Sub': `arn:\${AWS::Partition}:ecs:\${AWS::Region}:\${AWS::AccountId}:${resource}`,
    });
    const statements = createStatements(ecsFleets).map((statement) => Object(statement));
    expect(statements.map(({ Sid }) => Sid)).toEqual([
      ...['ListTasks', 'Tasks', 'Instances', 'Services'],
      ...['Parameters', 'DecryptSecrets'],
    ]);
    expect(statements[0]).toMatchObject({ Condition: { ArnEquals: { 'ecs:cluster': [arn('cluster/gpu')] } } });
    expect(statements[3]).toMatchObject({
      Action: ['ecs:DescribeServices', 'ecs:UpdateService'],
      Resource: [arn('service/gpu/qwen'), arn('service/gpu/llama')],
    });
  });

  it.each(['gpu*', 'a b', ''])('with ECS fleets, the fleet function rejects the cluster name %j', (name) => {
    const invalid = ecsFleets.map((fleet) => ({
      ...fleet,
      ecs: { cluster: `x/${name}`, service: 'qwen', port: 8_000 },
    }));
    expect(() => createStatements(invalid)).toThrow(/is not a valid name of an ECS cluster/);
  });
});
