import { beforeAll, describe, expect, it } from 'vitest';
import { checkStageOption } from '../../infra/operate/stage.ts';
import { checkStageName } from '../../infra/stage-name.ts';
import type { Template } from '../../infra/template.ts';
import { findByType, GPU_CANARY, GPU_MODELS, GPU_SETTINGS, packageOnce, packageStage } from './packaged.ts';

/** The longest name of a stage that is accepted. */
const LONGEST = 's'.repeat(45);

/**
 * AWS's limits on the lengths of names that the templates form, from its CloudFormation and API references. The
 * reference gives none for a REST API's name.
 */
const LIMITS: Readonly<Record<string, number>> = {
  'AWS::ApiGateway::Stage.StageName': 128,
  'AWS::ApplicationAutoScaling::ScalingPolicy.PolicyName': 256,
  'AWS::AutoScaling::AutoScalingGroup.AutoScalingGroupName': 255,
  'AWS::CloudWatch::Alarm.AlarmName': 255,
  'AWS::DynamoDB::Table.TableName': 255,
  'AWS::EC2::LaunchTemplate.LaunchTemplateName': 128,
  'AWS::ECS::CapacityProvider.Name': 255,
  'AWS::ECS::TaskDefinition.Family': 255,
  'AWS::Events::Rule.Name': 64,
  'AWS::KMS::Alias.AliasName': 256,
  'AWS::Lambda::Function.FunctionName': 64,
  'AWS::Logs::LogGroup.LogGroupName': 512,
  'AWS::SNS::Topic.TopicName': 256,
  'AWS::SQS::Queue.QueueName': 80,
  'AWS::WAFv2::WebACL.Name': 128,
};

describe('the longest name of a stage', () => {
  let template: Template;
  beforeAll(async () => {
    const settings = [
      'firewall=true',
      'alarmEmail=ops@example.com',
      'chatProvisioned=1',
      'accessLog=true',
      ...GPU_SETTINGS,
      GPU_CANARY,
    ];
    const args = settings.flatMap((setting) => ['--param', setting]);
    template = await packageOnce(['--stage', LONGEST, ...args], GPU_MODELS);
  });

  it('the longest name of a stage gives no name that exceeds a limit of AWS', () => {
    const names = Object.values(template.Resources).flatMap(({ Type, Properties = {} }) =>
      Object.entries(Properties).flatMap(([property, value]) =>
        /(Name|Family)$/.test(property) && /s{16}/.test(String(value)) ? { kind: `${Type}.${property}`, value } : [],
      ),
    );
    const kinds = new Set(names.map(({ kind }) => kind));
    expect(kinds).toEqual(new Set([...Object.keys(LIMITS), 'AWS::ApiGateway::RestApi.Name']));
    for (const { kind, value } of names) expect(String(value).length, kind).toBeLessThanOrEqual(LIMITS[kind] ?? 1_024);
  });

  it('the longest name of a stage gives targets of rules an id within 64 characters', () => {
    const rules = findByType(template, 'AWS::Events::Rule');
    const targets = rules.flatMap(({ properties }) => [properties['Targets']].flat());
    expect(targets.length).toBeGreaterThan(0);
    for (const target of targets) expect(String(Object(target).Id).length).toBeLessThanOrEqual(64);
  });

  it('the longest name of a stage is no part of a pattern for roles, whose generated names are shortened', () => {
    expect(JSON.stringify(template)).not.toMatch(/role\/[^"]*\*/);
  });
});

describe('a name of a stage that AWS would refuse', () => {
  it('a stage name whose functions would have too long names is rejected when packaging', async () => {
    await expect(packageStage('--stage', `${LONGEST}s`)).rejects.toThrow(
      `The stage's name ${LONGEST}s can't be used: the function's name lambent-${LONGEST}s-embeddings would have 65 characters, and Lambda accepts 64. Use at most 45 characters`,
    );
  });

  it('the operator’s commands accept exactly the names of stages that can be packaged', () => {
    expect(checkStageOption(LONGEST)).toBe(LONGEST);
    for (const name of [`${LONGEST}s`, 'dev-vault', '1dev', 'a_b', '']) expect(() => checkStageOption(name)).toThrow();
  });

  it('a stage name that ends in -vault is rejected, because its alias would be that of another stage', () => {
    expect(() => checkStageName('dev-vault', ['lambent-dev-vault-chat'])).toThrow('reserved for the alias of a key');
    expect(() => checkStageName('vault', ['lambent-vault-chat'])).not.toThrow();
  });
});
