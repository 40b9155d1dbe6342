import { LambentError } from '../shared/core/errors.ts';
import type { WarmTarget } from '../shared/lambda/warm-functions.ts';
import { readPrefix, readSetting, type Variables } from './settings.ts';

/** Name of the alias that osls creates only for functions with provisioned concurrency. */
const ALIAS = 'provisioned';

/** Functions that callers wait for. */
const INTERACTIVE = [
  { name: 'authorize', resource: 'Authorize', provisioned: 'authorizeProvisioned', max: 'authorizeProvisionedMax' },
  { name: 'chat', resource: 'Chat', provisioned: 'chatProvisioned', max: 'chatProvisionedMax' },
] as const;
type Interactive = (typeof INTERACTIVE)[number];

const formatAliasId = ({ resource }: Interactive) => `${resource}ProvConcLambdaAlias`;

/** True if a function of this stage has provisioned concurrency, and with it an alias. */
async function isProvisioned(variables: Variables, { provisioned }: Interactive): Promise<boolean> {
  return (await readSetting(variables, provisioned)) > 0;
}

/**
 * Returns the scaling resources of each function with provisioned concurrency: target tracking between the function's
 * setting and its maximum.
 * @throws LambentError `configuration` if a maximum is below its setting
 * @see https://docs.aws.amazon.com/autoscaling/application/userguide/services-that-can-integrate-lambda.html
 */
export async function createScaling(variables: Variables): Promise<{ Resources: Readonly<Record<string, object>> }> {
  const resources = await Promise.all(INTERACTIVE.map((interactive) => createFunctionScaling(variables, interactive)));
  return { Resources: Object.assign({}, ...resources) };
}

async function createFunctionScaling(variables: Variables, interactive: Interactive): Promise<Record<string, object>> {
  if (!(await isProvisioned(variables, interactive))) return {};
  const { name, resource, provisioned, max } = interactive;
  const prefix = await readPrefix(variables);
  const MinCapacity = await readSetting(variables, provisioned);
  const MaxCapacity = await readSetting(variables, max);
  if (MaxCapacity < MinCapacity) {
    const message = `The setting ${max} (${MaxCapacity}) is below ${provisioned} (${MinCapacity})`;
    throw new LambentError('configuration', message);
  }
  return {
    [`${resource}ScalableTarget`]: {
      Type: 'AWS::ApplicationAutoScaling::ScalableTarget',
      DependsOn: [formatAliasId(interactive)],
      Properties: {
        ServiceNamespace: 'lambda',
        ScalableDimension: 'lambda:function:ProvisionedConcurrency',
        ResourceId: `function:${prefix}-${name}:${ALIAS}`,
        MinCapacity,
        MaxCapacity,
      },
    },
    [`${resource}ScalingPolicy`]: {
      Type: 'AWS::ApplicationAutoScaling::ScalingPolicy',
      Properties: {
        PolicyName: `${prefix}-${name}`,
        PolicyType: 'TargetTrackingScaling',
        ScalingTargetId: { Ref: `${resource}ScalableTarget` },
        TargetTrackingScalingPolicyConfiguration: {
          TargetValue: await readSetting(variables, 'provisionedUtilization'),
          PredefinedMetricSpecification: { PredefinedMetricType: 'LambdaProvisionedConcurrencyUtilization' },
        },
      },
    },
  };
}

/** Returns warmup's `WARM_TARGETS` as JSON: every interactive function, by its alias if it has one. */
export async function createWarmTargets(variables: Variables): Promise<string> {
  const prefix = await readPrefix(variables);
  const concurrency = await readSetting(variables, 'warmConcurrency');
  const targets = INTERACTIVE.map(async (interactive): Promise<WarmTarget> => {
    const functionName = `${prefix}-${interactive.name}`;
    return (await isProvisioned(variables, interactive))
      ? { functionName, qualifier: ALIAS, concurrency }
      : { functionName, concurrency };
  });
  return JSON.stringify(await Promise.all(targets));
}

/** Returns the ARNs that warmup may invoke: those of the functions and aliases in `WARM_TARGETS`. */
export async function listWarmResources(variables: Variables): Promise<object[]> {
  const resources = INTERACTIVE.map(async (interactive) =>
    (await isProvisioned(variables, interactive))
      ? { Ref: formatAliasId(interactive) }
      : { 'Fn::GetAtt': [`${interactive.resource}LambdaFunction`, 'Arn'] },
  );
  return Promise.all(resources);
}

/**
 * Returns fleet's `DISPATCH_CONCURRENCY_MAX`: the highest number of concurrent dispatch invocations.
 * @throws LambentError `configuration` if it is below `dispatchConcurrency`
 */
export async function readDispatchConcurrencyMax(variables: Variables): Promise<number> {
  const start = await readSetting(variables, 'dispatchConcurrency');
  const max = await readSetting(variables, 'dispatchConcurrencyMax');
  if (max >= start) return max;
  const message = `The setting dispatchConcurrencyMax (${max}) is below dispatchConcurrency (${start})`;
  throw new LambentError('configuration', message);
}
