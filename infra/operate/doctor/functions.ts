import {
  GetAccountSettingsCommand,
  GetEventSourceMappingCommand,
  GetFunctionConcurrencyCommand,
  GetFunctionConfigurationCommand,
  GetProvisionedConcurrencyConfigCommand,
  LambdaClient,
} from '@aws-sdk/client-lambda';
import { createError, createWarning, type Finding } from '../preflight/finding.ts';
import { type DoctorCheck, type DoctorInput, findForEach, formatDeployment, listPhysicalIds } from './check.ts';

const createClient = ({ region, clientConfig }: DoctorInput) => new LambdaClient({ ...clientConfig, region });

/** Checks that each function can be invoked and its last update succeeded. */
export const functionCheck: DoctorCheck = {
  name: 'functions',
  async find(input) {
    const client = createClient(input);
    return findForEach(listPhysicalIds(input, 'AWS::Lambda::Function'), async (FunctionName) => {
      const unpublished = await client.send(new GetFunctionConfigurationCommand({ FunctionName }));
      const isManaged = unpublished.CapacityProviderConfig !== undefined;
      // On managed instances only the published version can be invoked.
      const found = isManaged
        ? await client.send(new GetFunctionConfigurationCommand({ FunctionName, Qualifier: '$LATEST.PUBLISHED' }))
        : unpublished;
      const { State, StateReason, LastUpdateStatus, LastUpdateStatusReason } = found;
      const remedy = formatDeployment(input);
      // Lambda makes an idle function inactive, and active again by an invocation.
      if (State === 'Inactive') return [createWarning(`${FunctionName} is inactive: its next call is slow.`, remedy)];
      if (State !== 'Active')
        return [createError(`${FunctionName} is ${State}: ${StateReason ?? 'no reason given'}`, remedy)];
      if (LastUpdateStatus === 'Successful') return [];
      const reason = LastUpdateStatusReason ?? 'no reason given';
      return [createError(`The last update of ${FunctionName} is ${LastUpdateStatus}: ${reason}`, remedy)];
    });
  },
};

/** Checks that Lambda reads from the queues: that of GPU workers only if the stage has fleets, and with them their alarms. */
export const mappingCheck: DoctorCheck = {
  name: 'event sources',
  async find(input) {
    const client = createClient(input);
    const hasFleets = input.resources.some(({ id }) => id === 'FleetStoppedAlarm');
    return findForEach(listPhysicalIds(input, 'AWS::Lambda::EventSourceMapping'), async (UUID) => {
      const {
        State,
        EventSourceArn = '',
        StateTransitionReason,
      } = await client.send(new GetEventSourceMappingCommand({ UUID }));
      const queue = EventSourceArn.split(':').at(-1);
      if (State === 'Enabled' || (queue === `${input.stackName}-gpu` && !hasFleets)) return [];
      return [
        createError(
          `Lambda does not read the queue ${queue}: its mapping is ${State} (${StateTransitionReason ?? 'no reason given'}).`,
          `aws lambda update-event-source-mapping --region ${input.region} --uuid ${UUID} --enabled`,
        ),
      ];
    });
  },
};

/** Checks that provisioned environments are ready. */
export const provisionedCheck: DoctorCheck = {
  name: 'provisioned concurrency',
  async find(input) {
    const client = createClient(input);
    // The id of an alias is its ARN: …:function:NAME:ALIAS.
    return findForEach(listPhysicalIds(input, 'AWS::Lambda::Alias'), async (arn): Promise<Finding[]> => {
      const [FunctionName = '', Qualifier = ''] = arn.split(':').slice(-2);
      const found = await client.send(new GetProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier }));
      const { Status, StatusReason, AvailableProvisionedConcurrentExecutions: available = 0 } = found;
      if (Status === 'READY') return [];
      const state = `${available} of ${found.RequestedProvisionedConcurrentExecutions} environments of ${FunctionName} are ready`;
      if (Status === 'IN_PROGRESS') return [createWarning(`${state}.`, 'Wait a minute or two, then run this again.')];
      return [
        createError(
          `${state}: ${StatusReason ?? Status}`,
          "Raise the account's quota (docs/settings.md#concurrency), or lower the setting.",
        ),
      ];
    });
  },
};

/** Checks that the account has executions left for the functions. */
export const concurrencyCheck: DoctorCheck = {
  name: 'concurrency',
  async find(input) {
    const client = createClient(input);
    const { AccountLimit = {} } = await client.send(new GetAccountSettingsCommand());
    const { ConcurrentExecutions: quota = 0, UnreservedConcurrentExecutions: unreserved = quota } = AccountLimit;
    const raise = `aws service-quotas request-service-quota-increase --region ${input.region} --service-code lambda --quota-code L-B99A9384 --desired-value 1000`;
    const limited = await findForEach(listPhysicalIds(input, 'AWS::Lambda::Function'), async (FunctionName) => {
      const { ReservedConcurrentExecutions: reserved } = await client.send(
        new GetFunctionConcurrencyCommand({ FunctionName }),
      );
      if (reserved !== 0) return [];
      const remedy = `aws lambda delete-function-concurrency --region ${input.region} --function-name ${FunctionName}`;
      return [createError(`${FunctionName} is stopped: its reserved concurrency is 0.`, remedy)];
    });
    if (quota <= 10)
      return [
        ...limited,
        createWarning(`The account may run only ${quota} functions at once in ${input.region}.`, raise),
      ];
    if (unreserved >= 100) return limited;
    return [
      ...limited,
      createWarning(`Other functions of the account reserve all but ${unreserved} of ${quota} executions.`, raise),
    ];
  },
};
