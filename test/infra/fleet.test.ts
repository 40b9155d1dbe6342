import { describe, expect, test } from 'vitest';
import { createStatements, createTriggers } from '../../infra/fleet.ts';
import { type Fleet, parseModelRegistry } from '../../shared/inference/registry.ts';
import { packaged } from './packaged.ts';

function fleets(...given: object[]): Fleet[] {
  const named = Object.fromEntries(given.map((fleet, index) => [`fleet-${index}`, fleet]));
  const models = { gpu: { targets: [{ provider: 'gpu', model: 'm', fleet: 'fleet-0' }] } };
  return Object.values(parseModelRegistry(JSON.stringify({ models, fleets: named }), 'models.json').fleets);
}
const ofEcs = fleets(
  { ecs: { cluster: 'gpu', service: 'qwen' }, apiKey: 'ssm:/lambent/gpu-key' },
  { ecs: { cluster: 'arn:aws:ecs:eu-west-1:123456789012:cluster/gpu', service: 'llama' } },
  { workers: [{ id: 'w1', url: 'http://10.0.0.1:8000/v1' }] },
);

describe('without a fleet of ECS, fleet', () => {
  test('runs by schedule alone', async () => {
    expect(createTriggers(fleets({}))).toEqual([{ schedule: 'rate(1 minute)' }]);
    const { Resources } = await packaged();
    expect(Resources['FleetEventsRuleSchedule1']?.Properties).toMatchObject({ ScheduleExpression: 'rate(1 minute)' });
    expect(Object.keys(Resources).filter((id) => /^Fleet.*EventBridge/.test(id))).toEqual([]);
  });

  test('may ask nothing of ECS', () => {
    expect(createStatements(fleets({}))).toEqual([]);
  });
});

describe('with fleets of ECS, fleet', () => {
  test("hears of their tasks, and of EC2's warnings", () => {
    expect(createTriggers(ofEcs).slice(1)).toEqual([
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

  test('may look at their tasks, scale their services, and read their keys, and nothing else', () => {
    const arn = (resource: string) => ({
      'Fn::Sub': `arn:\${AWS::Partition}:ecs:\${AWS::Region}:\${AWS::AccountId}:${resource}`,
    });
    const statements = createStatements(ofEcs).map((statement) => Object(statement));
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

  test.each(['gpu*', 'a b', ''])('refuses the cluster %j', (name) => {
    const odd = ofEcs.map((fleet) => ({ ...fleet, ecs: { cluster: `x/${name}`, service: 'qwen', port: 8_000 } }));
    expect(() => createStatements(odd)).toThrow(/is not a valid name of an ECS cluster/);
  });
});
