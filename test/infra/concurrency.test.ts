import * as v from 'valibot';
import { beforeAll, describe, expect, it } from 'vitest';
import { computeConcurrency } from '../../infra/concurrency.ts';
import type { Template } from '../../infra/template.ts';
import { warmTargetsSchema } from '../../shared/lambda/warm-functions.ts';
import { makeSettings, PARAMS } from './make-settings.ts';
import { findByType, packageStage, walkObjects } from './packaged.ts';

let ordinary: Template;
let provisioned: Template;
beforeAll(async () => {
  const settings = [
    'chatProvisioned=3',
    'chatProvisionedMax=7',
    'authorizeProvisioned=2',
    'sessionsProvisioned=1',
    'sessionsProvisionedMax=4',
    'responsesProvisioned=1',
    'warmConcurrency=2',
    'warmEnabled=false',
  ];
  [ordinary, provisioned] = await Promise.all([
    packageStage(),
    packageStage(...settings.flatMap((setting) => ['--param', setting])),
  ]);
});

function readWarmTargets(template: Template) {
  const environment = Object(template.Resources['WarmupLambdaFunction']?.Properties?.['Environment']);
  return v.parse(v.pipe(v.string(), v.parseJson(), warmTargetsSchema), environment.Variables.WARM_TARGETS);
}

function readWarmResources(template: Template): unknown {
  return [...walkObjects(template.Resources['WarmupRole'])].find(({ Sid }) => Sid === 'Warm')?.['Resource'];
}

describe('without provisioned concurrency', () => {
  it('without provisioned concurrency, the template has no alias, version or scaling resource', () => {
    for (const type of ['AWS::Lambda::Alias', 'AWS::Lambda::Version', 'AWS::ApplicationAutoScaling::ScalableTarget']) {
      expect(findByType(ordinary, type)).toEqual([]);
    }
  });

  it('without provisioned concurrency, warmup invokes the unpublished functions, as API Gateway does', () => {
    expect(readWarmTargets(ordinary)).toEqual([
      { functionName: 'lambent-dev-authorize', concurrency: 1 },
      { functionName: 'lambent-dev-chat', concurrency: 1 },
      { functionName: 'lambent-dev-sessions', concurrency: 1 },
      { functionName: 'lambent-dev-responses', concurrency: 1 },
    ]);
    expect(readWarmResources(ordinary)).toEqual([
      { 'Fn::GetAtt': ['AuthorizeLambdaFunction', 'Arn'] },
      { 'Fn::GetAtt': ['ChatLambdaFunction', 'Arn'] },
      { 'Fn::GetAtt': ['SessionsLambdaFunction', 'Arn'] },
      { 'Fn::GetAtt': ['ResponsesLambdaFunction', 'Arn'] },
    ]);
  });
});

describe('with provisioned concurrency', () => {
  it('an alias provisions as many environments as the setting', () => {
    const alias = (executions: number) =>
      expect.objectContaining({
        Name: 'provisioned',
        ProvisionedConcurrencyConfig: { ProvisionedConcurrentExecutions: executions },
      });
    expect(provisioned.Resources['ChatProvConcLambdaAlias']?.Properties).toEqual(alias(3));
    expect(provisioned.Resources['AuthorizeProvConcLambdaAlias']?.Properties).toEqual(alias(2));
    expect(provisioned.Resources['SessionsProvConcLambdaAlias']?.Properties).toEqual(alias(1));
    expect(provisioned.Resources['ResponsesProvConcLambdaAlias']?.Properties).toEqual(alias(1));
  });

  it('target tracking scales between the setting and its maximum, after the alias exists', () => {
    expect(provisioned.Resources['ChatScalableTarget']).toMatchObject({
      DependsOn: ['ChatProvConcLambdaAlias'],
      Properties: {
        ServiceNamespace: 'lambda',
        ScalableDimension: 'lambda:function:ProvisionedConcurrency',
        ResourceId: 'function:lambent-dev-chat:provisioned',
        MinCapacity: 3,
        MaxCapacity: 7,
      },
    });
    expect(provisioned.Resources['ChatScalingPolicy']?.Properties).toMatchObject({
      PolicyType: 'TargetTrackingScaling',
      ScalingTargetId: { Ref: 'ChatScalableTarget' },
      TargetTrackingScalingPolicyConfiguration: {
        TargetValue: 0.7,
        PredefinedMetricSpecification: { PredefinedMetricType: 'LambdaProvisionedConcurrencyUtilization' },
      },
    });
    expect(provisioned.Resources['AuthorizeScalableTarget']?.Properties).toMatchObject({
      MinCapacity: 2,
      MaxCapacity: 5,
    });
    expect(provisioned.Resources['SessionsScalableTarget']?.Properties).toMatchObject({
      ResourceId: 'function:lambent-dev-sessions:provisioned',
      MinCapacity: 1,
      MaxCapacity: 4,
    });
    expect(provisioned.Resources['ResponsesScalableTarget']?.Properties).toMatchObject({
      ResourceId: 'function:lambent-dev-responses:provisioned',
      MinCapacity: 1,
      MaxCapacity: 5,
    });
  });

  it('API Gateway invokes the aliases and has permission to', () => {
    const methods = findByType(provisioned, 'AWS::ApiGateway::Method');
    const chatMethods = methods.filter(({ properties }) => JSON.stringify(properties).includes('"ChatLambdaFunction"'));
    expect(chatMethods).toHaveLength(8);
    for (const { id, properties } of chatMethods) {
      expect(JSON.stringify(properties['Integration']), id).toContain(
        '"provisioned","/response-streaming-invocations"',
      );
    }
    expect(JSON.stringify(provisioned.Resources['AuthorizeApiGatewayAuthorizer'])).toContain('"provisioned"');
    expect(JSON.stringify(provisioned.Resources['ChatLambdaPermissionApiGateway'])).toContain('"provisioned"');
    expect(provisioned.Resources['AuthorizeLambdaPermissionApiGateway']?.Properties?.['FunctionName']).toEqual({
      Ref: 'AuthorizeProvConcLambdaAlias',
    });
  });

  it('warmup invokes the aliases and has permission for nothing else', () => {
    expect(readWarmTargets(provisioned)).toEqual([
      { functionName: 'lambent-dev-authorize', qualifier: 'provisioned', concurrency: 2 },
      { functionName: 'lambent-dev-chat', qualifier: 'provisioned', concurrency: 2 },
      { functionName: 'lambent-dev-sessions', qualifier: 'provisioned', concurrency: 2 },
      { functionName: 'lambent-dev-responses', qualifier: 'provisioned', concurrency: 2 },
    ]);
    expect(readWarmResources(provisioned)).toEqual([
      { Ref: 'AuthorizeProvConcLambdaAlias' },
      { Ref: 'ChatProvConcLambdaAlias' },
      { Ref: 'SessionsProvConcLambdaAlias' },
      { Ref: 'ResponsesProvConcLambdaAlias' },
    ]);
  });
});

it('warmup runs on its schedule without retries, unless warmEnabled is false', () => {
  expect(ordinary.Resources['WarmupEventsRuleSchedule1']?.Properties).toMatchObject({
    ScheduleExpression: 'rate(5 minutes)',
    State: 'ENABLED',
  });
  expect(findByType(ordinary, 'AWS::Lambda::EventInvokeConfig')[0]?.properties).toMatchObject({
    MaximumRetryAttempts: 0,
  });
  expect(provisioned.Resources['WarmupEventsRuleSchedule1']?.Properties?.['State']).toBe('DISABLED');
});

describe('the quota of concurrent executions', () => {
  const computeQuota = (settings: Readonly<Record<string, unknown>>, hasFleets = false) =>
    computeConcurrency(makeSettings(settings), hasFleets).quota;

  it('the defaults fit into the 10 executions of a new account, with fleets too', () => {
    expect(computeQuota({})).toBe(8);
    expect(computeQuota({}, true)).toBe(10);
    expect(ordinary.Outputs?.['ConcurrencyQuota']).toMatchObject({ Value: '8' });
  });

  it('queued work may use what the defaults leave, and dispatch counts with fleets only', () => {
    expect(computeQuota({ generateConcurrency: 20, dispatchConcurrencyMax: 50 })).toBe(25);
    expect(computeQuota({ generateConcurrency: 20, dispatchConcurrencyMax: 50 }, true)).toBe(75);
  });

  it('provisioned concurrency needs its maximum besides the 100 executions that Lambda keeps unreserved', () => {
    expect(computeQuota({ chatProvisioned: 2 })).toBe(110);
    expect(computeQuota({ chatProvisioned: 2, generateConcurrency: 200 })).toBe(10 + 2 + 200 + 3);
    expect(computeQuota(PARAMS['prod'] ?? {})).toBe(125);
    expect(computeQuota(PARAMS['prod'] ?? {}, true)).toBe(125);
  });
});
