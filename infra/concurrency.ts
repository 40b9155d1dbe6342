import { LambentError } from '../shared/core/errors.ts';
import type { WarmTarget } from '../shared/lambda/warmup.ts';
import { readPrefix, readSetting, type Variables } from './settings.ts';

/** The alias that osls makes for a function with provisioned concurrency, and for no other. */
const ALIAS = 'provisioned';

/** The functions that a caller waits for. */
const INTERACTIVE = [
  { name: 'authorize', resource: 'Authorize', provisioned: 'authorizeProvisioned', max: 'authorizeProvisionedMax' },
  { name: 'chat', resource: 'Chat', provisioned: 'chatProvisioned', max: 'chatProvisionedMax' },
] as const;
type Interactive = (typeof INTERACTIVE)[number];

const aliasOf = ({ resource }: Interactive) => `${resource}ProvConcLambdaAlias`;

/** Whether a function of this stage has provisioned concurrency, and so an alias. A 0 makes none. */
async function isProvisioned(variables: Variables, { provisioned }: Interactive): Promise<boolean> {
  return (await readSetting(variables, provisioned)) > 0;
}

/**
 * What scales provisioned concurrency with its use, for each function that has it: from what the setting says up to its
 * maximum, at the utilization that is aimed at. Nothing for a function without.
 * @throws LambentError `configuration` for a maximum below the setting
 * @see https://docs.aws.amazon.com/autoscaling/application/userguide/services-that-can-integrate-lambda.html
 */
export async function scaling(variables: Variables): Promise<{ Resources: Readonly<Record<string, object>> }> {
  const resources = await Promise.all(INTERACTIVE.map((interactive) => scalingOf(variables, interactive)));
  return { Resources: Object.assign({}, ...resources) };
}

async function scalingOf(variables: Variables, interactive: Interactive): Promise<Record<string, object>> {
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
      DependsOn: [aliasOf(interactive)],
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

/** `WARM_TARGETS` of warmup: every interactive function, by its alias where it has one. */
export async function warmTargets(variables: Variables): Promise<string> {
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

/** What warmup may invoke: exactly what `warmTargets` names. */
export async function warmResources(variables: Variables): Promise<object[]> {
  const resources = INTERACTIVE.map(async (interactive) =>
    (await isProvisioned(variables, interactive))
      ? { Ref: aliasOf(interactive) }
      : { 'Fn::GetAtt': [`${interactive.resource}LambdaFunction`, 'Arn'] },
  );
  return Promise.all(resources);
}

/**
 * `DISPATCH_CONCURRENCY_MAX` of fleet: how many dispatchers it lets run at once.
 * @throws LambentError `configuration` for one below what they begin with
 */
export async function dispatchConcurrencyMax(variables: Variables): Promise<number> {
  const first = await readSetting(variables, 'dispatchConcurrency');
  const most = await readSetting(variables, 'dispatchConcurrencyMax');
  if (most >= first) return most;
  const message = `The setting dispatchConcurrencyMax (${most}) is below dispatchConcurrency (${first})`;
  throw new LambentError('configuration', message);
}
