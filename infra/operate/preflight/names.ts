import { CloudWatchLogsClient, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { KMSClient, paginateListAliases } from '@aws-sdk/client-kms';
import { GetFunctionConfigurationCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { GetQueueUrlCommand, SQSClient } from '@aws-sdk/client-sqs';
import { isNotFound } from '../aws-error.ts';
import { createError, type Finding, type PreflightInput } from './finding.ts';
import { readOwnStack } from './own-stack.ts';

/** A kind of resource whose name can be used once in an account and region. */
interface Named {
  readonly property: string;
  readonly noun: string;
  /** Returns those of the names that exist. */
  readonly findExisting: (names: readonly string[], input: PreflightInput) => Promise<readonly string[]>;
  /** Returns the command that deletes the resource. */
  readonly formatDeletion: (name: string, region: string) => string;
}

const KINDS: Readonly<Record<string, Named>> = {
  'AWS::DynamoDB::Table': {
    property: 'TableName',
    noun: 'table',
    findExisting: async (names, { region, clientConfig }) => {
      const client = new DynamoDBClient({ ...clientConfig, region });
      return filterExisting(names, (TableName) => client.send(new DescribeTableCommand({ TableName })));
    },
    formatDeletion: (name, region) =>
      `aws dynamodb update-table --region ${region} --table-name ${name} --no-deletion-protection-enabled && aws dynamodb delete-table --region ${region} --table-name ${name}`,
  },
  'AWS::SQS::Queue': {
    property: 'QueueName',
    noun: 'queue',
    findExisting: async (names, { region, clientConfig }) => {
      const client = new SQSClient({ ...clientConfig, region });
      return filterExisting(names, (QueueName) => client.send(new GetQueueUrlCommand({ QueueName })));
    },
    formatDeletion: (name, region) =>
      `aws sqs delete-queue --region ${region} --queue-url "$(aws sqs get-queue-url --region ${region} --queue-name ${name} --query QueueUrl --output text)"`,
  },
  'AWS::Lambda::Function': {
    property: 'FunctionName',
    noun: 'function',
    findExisting: async (names, { region, clientConfig }) => {
      const client = new LambdaClient({ ...clientConfig, region });
      return filterExisting(names, (FunctionName) =>
        client.send(new GetFunctionConfigurationCommand({ FunctionName })),
      );
    },
    formatDeletion: (name, region) => `aws lambda delete-function --region ${region} --function-name ${name}`,
  },
  'AWS::Logs::LogGroup': {
    property: 'LogGroupName',
    noun: 'log group',
    findExisting: async (names, { region, clientConfig }) => {
      const client = new CloudWatchLogsClient({ ...clientConfig, region });
      const exists = async (name: string) => {
        const { logGroups = [] } = await client.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: name }));
        return logGroups.some(({ logGroupName }) => logGroupName === name);
      };
      const existing = await Promise.all(names.map(exists));
      return names.filter((_, index) => existing[index]);
    },
    formatDeletion: (name, region) => `aws logs delete-log-group --region ${region} --log-group-name ${name}`,
  },
  'AWS::KMS::Alias': {
    property: 'AliasName',
    noun: 'alias of a key',
    findExisting: async (names, { region, clientConfig }) => {
      const existing = new Set<string | undefined>();
      for await (const { Aliases = [] } of paginateListAliases(
        { client: new KMSClient({ ...clientConfig, region }) },
        {},
      ))
        for (const { AliasName } of Aliases) existing.add(AliasName);
      return names.filter((name) => existing.has(name));
    },
    formatDeletion: (name, region) => `aws kms delete-alias --region ${region} --alias-name ${name}`,
  },
};

/**
 * Finds names of the template that resources outside the stage's stack have already: CloudFormation would fail on the
 * first of them and undo the deployment. Typically a failed first deployment or a removed stage left them.
 */
export async function checkNames(input: PreflightInput): Promise<readonly Finding[]> {
  const own = await readOwnStack(input);
  const found = await Promise.all(Object.entries(KINDS).map(([type, kind]) => findTaken(type, kind, input, own)));
  return found.flat();
}

async function findTaken(
  type: string,
  { property, noun, findExisting, formatDeletion }: Named,
  input: PreflightInput,
  own: ReadonlyMap<string, string> | undefined,
): Promise<Finding[]> {
  const names = Object.entries(input.template.Resources)
    .filter(([id, { Type }]) => Type === type && own?.has(id) !== true)
    .flatMap(([, { Properties = {} }]) => (typeof Properties[property] === 'string' ? Properties[property] : []));
  if (names.length === 0) return [];
  return (await findExisting(names, input)).map((name) => {
    const remedy = `Deploy another stage. Or, if its data is not needed (this deletes it): ${formatDeletion(name, input.region)}`;
    return createError(
      `The ${noun} ${name} exists already and does not belong to the stack ${input.stackName}.`,
      remedy,
    );
  });
}

async function filterExisting(names: readonly string[], read: (name: string) => Promise<unknown>): Promise<string[]> {
  const exists = (name: string) =>
    read(name).then(
      () => true,
      (thrown: unknown) => {
        if (isNotFound(thrown)) return false;
        throw thrown;
      },
    );
  const existing = await Promise.all(names.map(exists));
  return names.filter((_, index) => existing[index]);
}
