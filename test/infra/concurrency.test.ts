import * as v from 'valibot';
import { beforeAll, describe, expect, test } from 'vitest';
import { createScaling, createWarmTargets, readDispatchConcurrencyMax } from '../../infra/concurrency.ts';
import type { Variables } from '../../infra/settings.ts';
import type { Template } from '../../infra/template.ts';
import { warmTargetsSchema } from '../../shared/lambda/warm-functions.ts';
import { objectsIn, ofType, packaged } from './packaged.ts';

let off: Template;
let on: Template;
beforeAll(async () => {
  const settings = [
    'chatProvisioned=3',
    'chatProvisionedMax=7',
    'authorizeProvisioned=2',
    'warmConcurrency=2',
    'warmEnabled=false',
  ];
  [off, on] = await Promise.all([packaged(), packaged(...settings.flatMap((setting) => ['--param', setting]))]);
});

function warmupOf(template: Template) {
  const environment = Object(template.Resources['WarmupLambdaFunction']?.Properties?.['Environment']);
  return v.parse(v.pipe(v.string(), v.parseJson(), warmTargetsSchema), environment.Variables.WARM_TARGETS);
}

function warmable(template: Template): unknown {
  return [...objectsIn(template.Resources['WarmupRole'])].find(({ Sid }) => Sid === 'Warm')?.['Resource'];
}

describe('without provisioned concurrency, the default', () => {
  test('there is no alias, no version and nothing that scales', () => {
    for (const type of ['AWS::Lambda::Alias', 'AWS::Lambda::Version', 'AWS::ApplicationAutoScaling::ScalableTarget']) {
      expect(ofType(off, type)).toEqual([]);
    }
  });

  test('warmup calls the functions themselves, as API Gateway does', () => {
    expect(warmupOf(off)).toEqual([
      { functionName: 'lambent-dev-authorize', concurrency: 1 },
      { functionName: 'lambent-dev-chat', concurrency: 1 },
    ]);
    expect(warmable(off)).toEqual([
      { 'Fn::GetAtt': ['AuthorizeLambdaFunction', 'Arn'] },
      { 'Fn::GetAtt': ['ChatLambdaFunction', 'Arn'] },
    ]);
  });
});

describe('with provisioned concurrency', () => {
  test('an alias keeps as many environments as the setting says', () => {
    const alias = (provisioned: number) =>
      expect.objectContaining({
        Name: 'provisioned',
        ProvisionedConcurrencyConfig: { ProvisionedConcurrentExecutions: provisioned },
      });
    expect(on.Resources['ChatProvConcLambdaAlias']?.Properties).toEqual(alias(3));
    expect(on.Resources['AuthorizeProvConcLambdaAlias']?.Properties).toEqual(alias(2));
  });

  test('target tracking follows the load from there to the maximum, once there is an alias', () => {
    expect(on.Resources['ChatScalableTarget']).toMatchObject({
      DependsOn: ['ChatProvConcLambdaAlias'],
      Properties: {
        ServiceNamespace: 'lambda',
        ScalableDimension: 'lambda:function:ProvisionedConcurrency',
        ResourceId: 'function:lambent-dev-chat:provisioned',
        MinCapacity: 3,
        MaxCapacity: 7,
      },
    });
    expect(on.Resources['ChatScalingPolicy']?.Properties).toMatchObject({
      PolicyType: 'TargetTrackingScaling',
      ScalingTargetId: { Ref: 'ChatScalableTarget' },
      TargetTrackingScalingPolicyConfiguration: {
        TargetValue: 0.7,
        PredefinedMetricSpecification: { PredefinedMetricType: 'LambdaProvisionedConcurrencyUtilization' },
      },
    });
    expect(on.Resources['AuthorizeScalableTarget']?.Properties).toMatchObject({ MinCapacity: 2, MaxCapacity: 5 });
  });

  test('API Gateway calls the aliases, and is allowed to', () => {
    const methods = ofType(on, 'AWS::ApiGateway::Method');
    const ofChat = methods.filter(({ properties }) => JSON.stringify(properties).includes('"ChatLambdaFunction"'));
    expect(ofChat).toHaveLength(4);
    for (const { id, properties } of ofChat) {
      expect(JSON.stringify(properties['Integration']), id).toContain(
        '"provisioned","/response-streaming-invocations"',
      );
    }
    expect(JSON.stringify(on.Resources['AuthorizeApiGatewayAuthorizer'])).toContain('"provisioned"');
    expect(JSON.stringify(on.Resources['ChatLambdaPermissionApiGateway'])).toContain('"provisioned"');
    expect(on.Resources['AuthorizeLambdaPermissionApiGateway']?.Properties?.['FunctionName']).toEqual({
      Ref: 'AuthorizeProvConcLambdaAlias',
    });
  });

  test('warmup calls the aliases, and may call nothing else', () => {
    expect(warmupOf(on)).toEqual([
      { functionName: 'lambent-dev-authorize', qualifier: 'provisioned', concurrency: 2 },
      { functionName: 'lambent-dev-chat', qualifier: 'provisioned', concurrency: 2 },
    ]);
    expect(warmable(on)).toEqual([{ Ref: 'AuthorizeProvConcLambdaAlias' }, { Ref: 'ChatProvConcLambdaAlias' }]);
  });
});

test('warmup runs by schedule, is not tried twice, and stops by setting', () => {
  expect(off.Resources['WarmupEventsRuleSchedule1']?.Properties).toMatchObject({
    ScheduleExpression: 'rate(5 minutes)',
    State: 'ENABLED',
  });
  expect(ofType(off, 'AWS::Lambda::EventInvokeConfig')[0]?.properties).toMatchObject({ MaximumRetryAttempts: 0 });
  expect(on.Resources['WarmupEventsRuleSchedule1']?.Properties?.['State']).toBe('DISABLED');
});

/** Settings with provisioned concurrency, and one that is given on the command line. */
function variables(name: string, value: string): Variables {
  const values = new Map<string, unknown>([
    ['self:service', 'lambent'],
    ['sls:stage', 'dev'],
    ...(['chatProvisioned', 'authorizeProvisioned'] as const).map((key): [string, unknown] => [`param:${key}`, 1]),
    ...(['chatProvisionedMax', 'authorizeProvisionedMax'] as const).map((key): [string, unknown] => [
      `param:${key}`,
      10,
    ]),
    ['param:provisionedUtilization', 0.7],
    ['param:warmConcurrency', 1],
    ['param:dispatchConcurrency', 2],
    ['param:dispatchConcurrencyMax', 10],
    [`param:${name}`, value],
  ]);
  return { resolveVariable: async (address) => values.get(address) };
}

test.each([
  ['chatProvisioned', '-1', /chatProvisioned is not valid: must not be below 0/],
  ['chatProvisioned', '1.5', /chatProvisioned is not valid: must be a whole number/],
  ['chatProvisioned', 'two', /chatProvisioned is not valid: must be a number/],
  ['chatProvisioned', '11', /chatProvisionedMax \(10\) is below chatProvisioned \(11\)/],
  ['provisionedUtilization', '70', /provisionedUtilization is not valid: must be 0.1 to 0.9/],
  ['warmConcurrency', '0', /warmConcurrency is not valid: must be 1 to 100/],
])('refuses %s=%s', async (name, value, message) => {
  const compute = name === 'warmConcurrency' ? createWarmTargets : createScaling;
  await expect(compute(variables(name, value))).rejects.toThrow(message);
});

test.each([
  ['dispatchConcurrency', '11', /dispatchConcurrencyMax \(10\) is below dispatchConcurrency \(11\)/],
  ['dispatchConcurrencyMax', '1', /dispatchConcurrencyMax is not valid: must be 2 to 1000/],
  ['dispatchConcurrencyMax', '1001', /dispatchConcurrencyMax is not valid: must be 2 to 1000/],
])('refuses %s=%s', async (name, value, message) => {
  await expect(readDispatchConcurrencyMax(variables(name, value))).rejects.toThrow(message);
});

test("fleet may raise dispatchers no further than a new account's 10 executions allow, beside all other work", () => {
  const environment = Object(off.Resources['FleetLambdaFunction']?.Properties?.['Environment']).Variables;
  const most = ofType(off, 'AWS::Lambda::EventSourceMapping').map(({ id, properties }) =>
    id.startsWith('Dispatch')
      ? Number(environment.DISPATCH_CONCURRENCY_MAX)
      : Number(Object(properties['ScalingConfig']).MaximumConcurrency),
  );
  expect(most.reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(7);
});

test('says what is wrong with a setting, without a stack trace', async () => {
  const refused = packaged('--param', 'chatProvisioned=two');
  await expect(refused).rejects.toThrow(
    /^osls could not package the service\.\nThe setting chatProvisioned is not valid: must be a number$/,
  );
});
