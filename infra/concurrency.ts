import type { WarmTarget } from '../shared/lambda/warm-functions.ts';
import type { Stage } from './settings.ts';
import type { Settings } from './settings-schema.ts';

/** Name of the alias that osls creates only for functions with provisioned concurrency. */
const ALIAS = 'provisioned';

/** Functions that callers wait for. */
const INTERACTIVE = [
  { name: 'authorize', resource: 'Authorize', provisioned: 'authorizeProvisioned', max: 'authorizeProvisionedMax' },
  { name: 'chat', resource: 'Chat', provisioned: 'chatProvisioned', max: 'chatProvisionedMax' },
  { name: 'sessions', resource: 'Sessions', provisioned: 'sessionsProvisioned', max: 'sessionsProvisionedMax' },
  { name: 'responses', resource: 'Responses', provisioned: 'responsesProvisioned', max: 'responsesProvisionedMax' },
] as const;
type Interactive = (typeof INTERACTIVE)[number];

const formatAliasId = ({ resource }: Interactive) => `${resource}ProvConcLambdaAlias`;

/** True if a function of this stage has provisioned concurrency, and with it an alias. */
const isProvisioned = (settings: Settings, { provisioned }: Interactive): boolean => settings[provisioned] > 0;

/**
 * Returns the scaling resources of each function with provisioned concurrency: target tracking between the function's
 * setting and its maximum.
 * @see https://docs.aws.amazon.com/autoscaling/application/userguide/services-that-can-integrate-lambda.html
 */
export function createScaling(stage: Stage): { Resources: Readonly<Record<string, object>> } {
  const provisioned = INTERACTIVE.filter((interactive) => isProvisioned(stage.settings, interactive));
  return {
    Resources: Object.assign({}, ...provisioned.map((interactive) => createFunctionScaling(stage, interactive))),
  };
}

function createFunctionScaling({ prefix, settings }: Stage, interactive: Interactive): Record<string, object> {
  const { name, resource, provisioned, max } = interactive;
  return {
    [`${resource}ScalableTarget`]: {
      Type: 'AWS::ApplicationAutoScaling::ScalableTarget',
      DependsOn: [formatAliasId(interactive)],
      Properties: {
        ServiceNamespace: 'lambda',
        ScalableDimension: 'lambda:function:ProvisionedConcurrency',
        ResourceId: `function:${prefix}-${name}:${ALIAS}`,
        MinCapacity: settings[provisioned],
        MaxCapacity: settings[max],
      },
    },
    [`${resource}ScalingPolicy`]: {
      Type: 'AWS::ApplicationAutoScaling::ScalingPolicy',
      Properties: {
        PolicyName: `${prefix}-${name}`,
        PolicyType: 'TargetTrackingScaling',
        ScalingTargetId: { Ref: `${resource}ScalableTarget` },
        TargetTrackingScalingPolicyConfiguration: {
          TargetValue: settings.provisionedUtilization,
          PredefinedMetricSpecification: { PredefinedMetricType: 'LambdaProvisionedConcurrencyUtilization' },
        },
      },
    },
  };
}

/** Executions that queued work must leave to chat, the authorizer and a schedule. */
const REMAINING = 3;
/** What Lambda keeps of an account's quota for functions that reserve and provision nothing. */
const UNRESERVED = 100;

/** Concurrent executions that a stage takes from the account's quota. */
export interface Concurrency {
  /** At most for queued work: intake, generate and, if there are fleets, dispatch. Managed instances take none. */
  readonly queued: number;
  /** At most provisioned, after scaling. */
  readonly provisioned: number;
  /** The lowest quota with which the stage can be deployed and scale. */
  readonly quota: number;
}

/**
 * Computes the concurrent executions of a stage. Provisioned concurrency needs a quota of 100 more, which Lambda keeps
 * unreserved; queued work and everything else run within these 100 or more. Without it, queued work must leave one
 * execution to each of chat, the authorizer and the schedules.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
 */
export function computeConcurrency(settings: Settings, hasFleets: boolean): Concurrency {
  const { intakeConcurrency, generateConcurrency, dispatchConcurrencyMax, managedWorkers } = settings;
  const workers = generateConcurrency + (hasFleets ? dispatchConcurrencyMax : 0);
  const queued = intakeConcurrency + (managedWorkers ? 0 : workers);
  const provisioned = INTERACTIVE.filter((interactive) => isProvisioned(settings, interactive))
    .map(({ max }) => settings[max])
    .reduce((sum, each) => sum + each, 0);
  const unreserved = queued + REMAINING;
  return { queued, provisioned, quota: provisioned > 0 ? provisioned + Math.max(UNRESERVED, unreserved) : unreserved };
}

/** Returns the interactive functions that warmup calls. Managed instances have no cold starts. */
function listWarmed({ managedHttp }: Settings): readonly Interactive[] {
  return INTERACTIVE.filter(({ name }) => !managedHttp || name === 'authorize');
}

/** Returns warmup's `WARM_TARGETS` as JSON: every function to warm, by its alias if it has one. */
export function createWarmTargets({ prefix, settings }: Stage): string {
  const targets = listWarmed(settings).map((interactive): WarmTarget => {
    const target = { functionName: `${prefix}-${interactive.name}`, concurrency: settings.warmConcurrency };
    return isProvisioned(settings, interactive) ? { ...target, qualifier: ALIAS } : target;
  });
  return JSON.stringify(targets);
}

/** Returns the ARNs that warmup may invoke: those of the functions and aliases in `WARM_TARGETS`. */
export function listWarmResources(settings: Settings): object[] {
  return listWarmed(settings).map((interactive) =>
    isProvisioned(settings, interactive)
      ? { Ref: formatAliasId(interactive) }
      : { 'Fn::GetAtt': [`${interactive.resource}LambdaFunction`, 'Arn'] },
  );
}
