import { APIGatewayClient, GetDomainNameCommand } from '@aws-sdk/client-api-gateway';
import { AutoScalingClient, DescribeAutoScalingGroupsCommand } from '@aws-sdk/client-auto-scaling';
import { CloudWatchClient, DescribeAlarmsCommand } from '@aws-sdk/client-cloudwatch';
import { CloudWatchLogsClient, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import { DescribeTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DescribeLaunchTemplatesCommand, EC2Client } from '@aws-sdk/client-ec2';
import { DescribeCapacityProvidersCommand, DescribeClustersCommand, ECSClient } from '@aws-sdk/client-ecs';
import { DescribeRuleCommand, EventBridgeClient } from '@aws-sdk/client-eventbridge';
import { KMSClient, paginateListAliases } from '@aws-sdk/client-kms';
import { GetFunctionConfigurationCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { GetTopicAttributesCommand, SNSClient } from '@aws-sdk/client-sns';
import { GetQueueUrlCommand, SQSClient } from '@aws-sdk/client-sqs';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { ListWebACLsCommand, WAFV2Client } from '@aws-sdk/client-wafv2';
import { isNotFound } from '../aws-error.ts';
import type { ClientConfig } from './finding.ts';

/** A kind of resource whose name can be used once in an account and region. */
interface NamedResource {
  readonly noun: string;
  /** Returns those of the names that exist. Asks for many at once where AWS has a request for it. */
  readonly findExisting: (names: readonly string[], config: Config) => Promise<readonly string[]>;
  /** Returns the command that deletes the resource, without its region. */
  readonly formatDeletion: (name: string) => string;
}

type Config = ClientConfig & { readonly region: string };

/** By type. A test checks that it has each type of the packaged templates that has a name of its own. */
export const NAMED_RESOURCES: Readonly<Record<string, NamedResource>> = {
  'AWS::DynamoDB::Table': {
    noun: 'table',
    findExisting: async (names, config) => {
      const client = new DynamoDBClient(config);
      return filterExisting(names, (TableName) => client.send(new DescribeTableCommand({ TableName })));
    },
    formatDeletion: (name) =>
      `aws dynamodb update-table --table-name ${name} --no-deletion-protection-enabled && aws dynamodb delete-table --table-name ${name}`,
  },
  'AWS::SQS::Queue': {
    noun: 'queue',
    findExisting: async (names, config) => {
      const client = new SQSClient(config);
      return filterExisting(names, (QueueName) => client.send(new GetQueueUrlCommand({ QueueName })));
    },
    formatDeletion: (name) =>
      `aws sqs delete-queue --queue-url "$(aws sqs get-queue-url --queue-name ${name} --query QueueUrl --output text)"`,
  },
  'AWS::SNS::Topic': {
    noun: 'topic',
    findExisting: async (names, config) => {
      const { Arn = '', Account } = await new STSClient(config).send(new GetCallerIdentityCommand());
      const [, partition] = Arn.split(':');
      const client = new SNSClient(config);
      return filterExisting(names, (name) =>
        client.send(
          new GetTopicAttributesCommand({ TopicArn: `arn:${partition}:sns:${config.region}:${Account}:${name}` }),
        ),
      );
    },
    formatDeletion: (name) =>
      `aws sns delete-topic --topic-arn "$(aws sns list-topics --query "Topics[?ends_with(TopicArn, ':${name}')].TopicArn" --output text)"`,
  },
  'AWS::CloudWatch::Alarm': {
    noun: 'alarm',
    findExisting: async (names, config) => {
      const client = new CloudWatchClient(config);
      return findInBatches(names, 100, async (AlarmNames) => {
        const { MetricAlarms = [], CompositeAlarms = [] } = await client.send(
          new DescribeAlarmsCommand({ AlarmNames, AlarmTypes: ['MetricAlarm', 'CompositeAlarm'], MaxRecords: 100 }),
        );
        return [...MetricAlarms, ...CompositeAlarms].map(({ AlarmName }) => AlarmName);
      });
    },
    formatDeletion: (name) => `aws cloudwatch delete-alarms --alarm-names ${name}`,
  },
  'AWS::Events::Rule': {
    noun: 'rule',
    findExisting: async (names, config) => {
      const client = new EventBridgeClient(config);
      return filterExisting(names, (Name) => client.send(new DescribeRuleCommand({ Name })));
    },
    formatDeletion: (name) =>
      `aws events remove-targets --rule ${name} --ids $(aws events list-targets-by-rule --rule ${name} --query 'Targets[].Id' --output text) && aws events delete-rule --name ${name}`,
  },
  'AWS::Lambda::Function': {
    noun: 'function',
    findExisting: async (names, config) => {
      const client = new LambdaClient(config);
      return filterExisting(names, (FunctionName) =>
        client.send(new GetFunctionConfigurationCommand({ FunctionName })),
      );
    },
    formatDeletion: (name) => `aws lambda delete-function --function-name ${name}`,
  },
  'AWS::Logs::LogGroup': {
    noun: 'log group',
    findExisting: async (names, config) => {
      const client = new CloudWatchLogsClient(config);
      const exists = async (name: string) => {
        const { logGroups = [] } = await client.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: name }));
        return logGroups.some(({ logGroupName }) => logGroupName === name);
      };
      const existing = await Promise.all(names.map(exists));
      return names.filter((_, index) => existing[index]);
    },
    formatDeletion: (name) => `aws logs delete-log-group --log-group-name ${name}`,
  },
  'AWS::KMS::Alias': {
    noun: 'alias of a key',
    findExisting: async (names, config) => {
      const existing = new Set<string | undefined>();
      for await (const { Aliases = [] } of paginateListAliases({ client: new KMSClient(config) }, {}))
        for (const { AliasName } of Aliases) existing.add(AliasName);
      return names.filter((name) => existing.has(name));
    },
    formatDeletion: (name) => `aws kms delete-alias --alias-name ${name}`,
  },
  'AWS::ApiGateway::DomainName': {
    noun: 'domain name of API Gateway',
    findExisting: async (names, config) => {
      const client = new APIGatewayClient(config);
      return filterExisting(names, (domainName) => client.send(new GetDomainNameCommand({ domainName })));
    },
    formatDeletion: (name) => `aws apigateway delete-domain-name --domain-name ${name}`,
  },
  'AWS::WAFv2::WebACL': {
    noun: 'web ACL',
    findExisting: async (names, config) => {
      const client = new WAFV2Client(config);
      const existing = new Set<string | undefined>();
      let NextMarker: string | undefined;
      do {
        const page = await client.send(new ListWebACLsCommand({ Scope: 'REGIONAL', Limit: 100, NextMarker }));
        for (const { Name } of page.WebACLs ?? []) existing.add(Name);
        ({ NextMarker } = page);
      } while (NextMarker !== undefined);
      return names.filter((name) => existing.has(name));
    },
    formatDeletion: (name) =>
      `aws wafv2 delete-web-acl --scope REGIONAL --name ${name} --id ID --lock-token TOKEN, with both as aws wafv2 list-web-acls --scope REGIONAL shows them`,
  },
  'AWS::ECS::Cluster': {
    noun: 'cluster',
    findExisting: async (names, config) => {
      const client = new ECSClient(config);
      return findInBatches(names, 100, async (clusters) => {
        const found = await client.send(new DescribeClustersCommand({ clusters }));
        return (found.clusters ?? []).filter(isActive).map(({ clusterName }) => clusterName);
      });
    },
    formatDeletion: (name) => `aws ecs delete-cluster --cluster ${name}`,
  },
  'AWS::ECS::CapacityProvider': {
    noun: 'capacity provider of ECS',
    findExisting: async (names, config) => {
      const client = new ECSClient(config);
      return findInBatches(names, 100, async (capacityProviders) => {
        const found = await client.send(new DescribeCapacityProvidersCommand({ capacityProviders }));
        return (found.capacityProviders ?? []).filter(isActive).map(({ name }) => name);
      });
    },
    formatDeletion: (name) => `aws ecs delete-capacity-provider --capacity-provider ${name}`,
  },
  'AWS::EC2::LaunchTemplate': {
    noun: 'launch template',
    findExisting: async (names, config) => {
      const client = new EC2Client(config);
      return findInBatches(names, 200, async (Values) => {
        // A filter, because the request fails if one of its names does not exist.
        const Filters = [{ Name: 'launch-template-name', Values }];
        const { LaunchTemplates = [] } = await client.send(new DescribeLaunchTemplatesCommand({ Filters }));
        return LaunchTemplates.map(({ LaunchTemplateName }) => LaunchTemplateName);
      });
    },
    formatDeletion: (name) => `aws ec2 delete-launch-template --launch-template-name ${name}`,
  },
  'AWS::AutoScaling::AutoScalingGroup': {
    noun: 'Auto Scaling group',
    findExisting: async (names, config) => {
      const client = new AutoScalingClient(config);
      return findInBatches(names, 50, async (AutoScalingGroupNames) => {
        const { AutoScalingGroups = [] } = await client.send(
          new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames }),
        );
        return AutoScalingGroups.map(({ AutoScalingGroupName }) => AutoScalingGroupName);
      });
    },
    formatDeletion: (name) =>
      `aws autoscaling delete-auto-scaling-group --auto-scaling-group-name ${name} --force-delete`,
  },
};

/** ECS describes what was deleted for some time. */
const isActive = ({ status }: { readonly status?: string | undefined }): boolean => status !== 'INACTIVE';

/** Returns those of the names that `find` returns, which takes `size` names at most. */
async function findInBatches(
  names: readonly string[],
  size: number,
  find: (names: string[]) => Promise<readonly (string | undefined)[]>,
): Promise<string[]> {
  const batches = Array.from({ length: Math.ceil(names.length / size) }, (_, index) =>
    names.slice(index * size, (index + 1) * size),
  );
  const existing = new Set((await Promise.all(batches.map((batch) => find(batch)))).flat());
  return names.filter((name) => existing.has(name));
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
