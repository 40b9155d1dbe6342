import { GetAccountSettingsCommand, LambdaClient } from '@aws-sdk/client-lambda';
import {
  createError,
  createWarning,
  type Finding,
  listResources,
  type PreflightInput,
  readProperty,
} from './finding.ts';
import { readOwnStack } from './own-stack.ts';

/**
 * What Lambda keeps for functions without reserved or provisioned concurrency.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
 */
const KEPT_UNRESERVED = 100;

/** Compares the account's concurrent executions with those that the template reserves, provisions and may use. */
export async function checkConcurrency(input: PreflightInput): Promise<readonly Finding[]> {
  const { region, clientConfig, template } = input;
  const { AccountLimit = {} } = await new LambdaClient({ ...clientConfig, region }).send(
    new GetAccountSettingsCommand(),
  );
  const { ConcurrentExecutions: quota, UnreservedConcurrentExecutions: unreserved = quota } = AccountLimit;
  if (quota === undefined || unreserved === undefined) return [];

  const fixed =
    sum(listResources(template, 'AWS::Lambda::Function'), 'ReservedConcurrentExecutions') +
    sum(
      listResources(template, 'AWS::Lambda::Alias'),
      'ProvisionedConcurrencyConfig',
      'ProvisionedConcurrentExecutions',
    );
  const scaled = sum(
    listResources(template, 'AWS::ApplicationAutoScaling::ScalableTarget').filter(
      (target) => readProperty(target, 'ServiceNamespace') === 'lambda',
    ),
    'MaxCapacity',
  );
  // What an earlier deployment of this stage reserved is part of the account's reserved executions.
  const available = (await readOwnStack(input)) === undefined ? unreserved : quota;
  const raise = (count: number) =>
    `aws service-quotas request-service-quota-increase --region ${region} --service-code lambda --quota-code L-B99A9384 --desired-value ${count}`;
  const describe = `The account's quota is ${quota} concurrent executions in ${region}, of which ${available} are not reserved`;
  if (fixed > 0 && fixed + KEPT_UNRESERVED > available)
    return [
      createError(
        `${describe}. The stage provisions or reserves ${fixed}, and Lambda keeps ${KEPT_UNRESERVED} for other functions, so the deployment would fail.`,
        `${raise(quota - available + fixed + KEPT_UNRESERVED)}, or set the settings …Provisioned to 0.`,
      ),
    ];
  // Without fleets, the mapping of the queue of GPU workers is disabled.
  const mappings = listResources(template, 'AWS::Lambda::EventSourceMapping').filter(
    (mapping) => readProperty(mapping, 'Enabled') !== false,
  );
  const queued = sum(mappings, 'ScalingConfig', 'MaximumConcurrency');
  const findings: Finding[] = [];
  if (scaled + KEPT_UNRESERVED > available && scaled > fixed)
    findings.push(
      createWarning(
        `${describe}. Provisioned concurrency could not scale to its maximum of ${scaled}.`,
        `${raise(quota - available + scaled + KEPT_UNRESERVED)}, or lower the settings …ProvisionedMax.`,
      ),
    );
  const queuedMax = queued + readDispatchGrowth(input);
  if (queuedMax >= available)
    findings.push(
      createWarning(
        `${describe}. Queued work alone may use ${queuedMax}, so that callers of the API would be throttled.`,
        `${raise(quota - available + queuedMax + KEPT_UNRESERVED)}, or lower generateConcurrency, intakeConcurrency and dispatchConcurrencyMax.`,
      ),
    );
  return findings;
}

/** Returns by how many executions fleet may raise the concurrency of dispatch above that of the template. */
function readDispatchGrowth({ settings, template }: PreflightInput): number {
  // Without fleets, it doesn't run.
  if (!('FleetStoppedAlarm' in template.Resources)) return 0;
  const growth = Number(settings['dispatchConcurrencyMax']) - Number(settings['dispatchConcurrency']);
  return Number.isFinite(growth) ? Math.max(0, growth) : 0;
}

function sum(resources: ReturnType<typeof listResources>, ...path: readonly string[]): number {
  return resources.reduce((total, resource) => total + (Number(readProperty(resource, ...path)) || 0), 0);
}
