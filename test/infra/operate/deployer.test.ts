import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Template, TemplateResource } from '../../../infra/template.ts';
import {
  EVERYTHING,
  findByType,
  GPU_CANARY,
  GPU_ENDPOINTS,
  packageStage,
  packageWithGpus,
  walkObjects,
} from '../packaged.ts';
import permissions from './fixtures/provider-permissions.json' with { type: 'json' };

interface Statement {
  readonly Sid: string;
  readonly Action: readonly string[];
  readonly Resource: readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const FOLDER = join(import.meta.dirname, '../../../infra/operate/deployer');
const readPolicy = (name: string): readonly Statement[] =>
  JSON.parse(readFileSync(join(FOLDER, `${name}.json`), 'utf8')).Statement;
const EVERY_STAGE = [...readPolicy('stack'), ...readPolicy('data')];
const WITH_EDGE = [...EVERY_STAGE, ...readPolicy('edge')];
const WITH_MANAGED = [...EVERY_STAGE, ...readPolicy('gpu'), ...readPolicy('managed')];
const WITH_GPUS = [...EVERY_STAGE, ...readPolicy('gpu')];

/** What providers list but this template's properties never need: resource type and action, with the reason. */
const UNUSED: readonly (readonly [RegExp, string])[] = [
  [/ (kinesis|firehose|s3tables|s3files|elasticfilesystem|elasticloadbalancing):/, 'services that no resource uses'],
  [/ (vpc-lattice|vpce|managed-fleets|codedeploy):/, 'services that no resource uses'],
  [/ autoscaling:\w*(LoadBalancer\w*|TrafficSources|InstanceRefresh)$/, 'no load balancers or refreshes'],
  [/ autoscaling:\w*(NotificationConfiguration|LifecycleHook)$/, 'no notifications or hooks'],
  [/ cloudwatch:GetMetricData$/, 'no predictive scaling'],
  [/ dynamodb:(\w*Import\w*|\w*Kinesis\w*|\w*TableReplica)$/, 'no imports, streams or replicas'],
  [/ dynamodb:((Put|Delete)ResourcePolicy|\w*Item|Query|Scan)$/, 'no resource policies; items are only for replicas'],
  [/DynamoDB::Table (logs|s3):/, 'no imports'],
  [/ ec2:\w*(Vpn|SubnetCidrBlock|PrivateNatGatewayAddress|EncryptionControl|VpcTenancy)\w*$/, 'no such properties'],
  [/ ec2:(Disa|A)ssociateNatGatewayAddress$/, 'one address for each NAT gateway'],
  [/ ec2:(AcceptAddressTransfer|AssociateAddress|Get\*)$/, 'addresses belong to NAT gateways'],
  [/ ecs:PutAccountSetting/, 'no account settings'],
  [/ECS::Cluster kms:/, 'no managed storage'],
  [/ iam:((Attach|Detach)(Group|User)Policy|\w*PermissionsBoundary)$/, 'only roles have policies, and no boundary'],
  [/ kms:DisableKey$/, 'no key is disabled'],
  [/ lambda:(\w*CodeSigning\w*|GetLayerVersion)$/, 'no such properties'],
  [/Lambda::\w+ kms:/, "functions and their mappings use AWS's own keys"],
  [
    / logs:\w*(ResourcePolicy|DataProtectionPolicy|IndexPolicy|BearerToken\w*|DeletionProtection)$/,
    'no such properties',
  ],
  [/LogGroup logs:CreateLogDelivery$/, 'only with a data protection policy'],
  [/ s3:\w*(Abac|Acl|CORS|Cors|Logging|Notification|Replication\w*|Website)$/, 'no such properties'],
  [/ s3:\w*(Accelerate|Analytics|Inventory|Metrics|IntelligentTiering|Metadata)\w*$/, 'no such properties'],
  [
    / s3:(DeleteBucket(Encryption|Lifecycle|Tagging)|PutObjectLockConfiguration|REST\.PUT\.OBJECT)$/,
    'names that are no actions',
  ],
  [/FlowLog s3:/, 'flow logs go to CloudWatch'],
  [
    /SNS::\w+ (iam:GetRole|iam:PassRole|sns:PutDataProtectionPolicy)$/,
    'no delivery logs and no data protection policy',
  ],
  [/ ssm:Get\*$/, 'the image is a dynamic reference'],
];

/** Only functions on managed instances need these actions. */
const ONLY_MANAGED = / lambda:(\w*FunctionScalingConfig|PassCapacityProvider)$/;

const ACCOUNT = 'eu-west-1:123456789012';

/** Returns ARNs of a resource, or of the resources that its provider's actions concern. */
const ARNS: Readonly<Record<string, (name: string) => readonly string[]>> = {
  'AWS::ApiGateway::BasePathMapping': () => [
    'arn:aws:apigateway:eu-west-1::/domainnames/api.example.com/basepathmappings',
  ],
  'AWS::ApiGateway::DomainName': () => ['arn:aws:apigateway:eu-west-1::/domainnames/api.example.com'],
  'AWS::ApiGateway': () => ['arn:aws:apigateway:eu-west-1::/restapis/abc/stages/dev'],
  'AWS::ApplicationAutoScaling': () => [`arn:aws:application-autoscaling:${ACCOUNT}:scalable-target/0123`],
  'AWS::AutoScaling::AutoScalingGroup': (name) => [
    `arn:aws:autoscaling:${ACCOUNT}:autoScalingGroup:0123:autoScalingGroupName/${name}`,
  ],
  'AWS::CloudWatch': (name) => [`arn:aws:cloudwatch:${ACCOUNT}:alarm:${name}`],
  'AWS::DynamoDB': (name) => [`arn:aws:dynamodb:${ACCOUNT}:table/${name}`, `arn:aws:kms:${ACCOUNT}:key/0123`],
  'AWS::EC2': (name) => [`arn:aws:ec2:${ACCOUNT}:vpc/vpc-1`, `arn:aws:iam::123456789012:role/${name}`],
  'AWS::ECS::CapacityProvider': (name) => [`arn:aws:ecs:${ACCOUNT}:capacity-provider/${name}`],
  'AWS::ECS::TaskDefinition': (name) => [`arn:aws:ecs:${ACCOUNT}:task-definition/${name}:1`],
  'AWS::ECS': (name) => [`arn:aws:ecs:${ACCOUNT}:cluster/gpu`, `arn:aws:ecs:${ACCOUNT}:service/gpu/${name}`],
  'AWS::Events': (name) => [`arn:aws:events:${ACCOUNT}:rule/${name}`],
  'AWS::IAM::InstanceProfile': (name) => [`arn:aws:iam::123456789012:instance-profile/${name}`],
  'AWS::IAM::ManagedPolicy': (name) => [
    `arn:aws:iam::123456789012:policy/${name}`,
    'arn:aws:iam::123456789012:role/lambent-dev-ChatRole-ABC',
  ],
  'AWS::IAM::Role': (name) => [`arn:aws:iam::123456789012:role/${name}`],
  'AWS::KMS::Key': () => [`arn:aws:kms:${ACCOUNT}:key/0123`],
  'AWS::KMS::Alias': (name) => [`arn:aws:kms:${ACCOUNT}:${name}`],
  'AWS::Lambda::CapacityProvider': (name) => [`arn:aws:lambda:${ACCOUNT}:capacity-provider:${name}`],
  'AWS::Lambda::EventSourceMapping': () => [`arn:aws:lambda:${ACCOUNT}:event-source-mapping:0123`],
  'AWS::Lambda': (name) => [`arn:aws:lambda:${ACCOUNT}:function:${name}`],
  // The filter of a log group has no ARN of its own.
  'AWS::Logs::SubscriptionFilter': () => [`arn:aws:logs:${ACCOUNT}:log-group:/aws/lambda/lambent-dev-chat`],
  'AWS::Logs': (name) => [`arn:aws:logs:${ACCOUNT}:log-group:${name}`],
  'AWS::S3': (name) => [`arn:aws:s3:::${name.toLowerCase()}`],
  'AWS::SNS': (name) => [`arn:aws:sns:${ACCOUNT}:${name}`],
  'AWS::WAFv2': (name) => [
    `arn:aws:wafv2:${ACCOUNT}:regional/webacl/${name}/0123`,
    'arn:aws:apigateway:eu-west-1::/restapis/abc/stages/dev',
  ],
  'AWS::SQS': (name) => [`arn:aws:sqs:${ACCOUNT}:${name}`],
};

/** ARNs that a service's actions concern, if they belong to another service than the resource. */
const OTHER_SERVICES: Readonly<Record<string, readonly string[]>> = {
  'lambda:PassCapacityProvider': [`arn:aws:lambda:${ACCOUNT}:capacity-provider:lambent-dev-ManagedCapacity-ABC`],
  'iam:PassRole': ['arn:aws:iam::123456789012:role/lambent-dev-ChatRole-ABC'],
  'iam:CreateServiceLinkedRole': ['arn:aws:iam::123456789012:role/aws-service-role/x.amazonaws.com/X'],
  'iam:GetRole': ['arn:aws:iam::123456789012:role/aws-service-role/x.amazonaws.com/X'],
  's3:GetObject': ['arn:aws:s3:::lambent-dev-serverlessdeploymentbuck-abc/serverless/chat.zip'],
  's3:GetObjectVersion': ['arn:aws:s3:::lambent-dev-serverlessdeploymentbuck-abc/serverless/chat.zip'],
  's3:DeleteObject': ['arn:aws:s3:::lambent-dev-serverlessdeploymentbuck-abc/serverless/chat.zip'],
  'autoscaling:CreateOrUpdateTags': [
    `arn:aws:autoscaling:${ACCOUNT}:autoScalingGroup:0123:autoScalingGroupName/lambent-dev-gpu`,
  ],
  ...Object.fromEntries(
    ['Put', 'Get', 'Delete'].map((verb) => [
      `lambda:${verb}ProvisionedConcurrencyConfig`,
      [`arn:aws:lambda:${ACCOUNT}:function:lambent-dev-chat:provisioned`],
    ]),
  ),
  ...Object.fromEntries(
    ['PutMetricAlarm', 'DeleteAlarms', 'DescribeAlarms'].map((action) => [
      `cloudwatch:${action}`,
      [`arn:aws:cloudwatch:${ACCOUNT}:alarm:TargetTracking-function:lambent-dev-chat:provisioned-AlarmHigh-1`],
    ]),
  ),
};

/** Properties with which a resource is named. Others get a name from CloudFormation that begins with the stack's. */
const NAMES =
  /^(AliasName|AlarmName|AutoScalingGroupName|Family|FunctionName|LogGroupName|QueueName|TableName|TopicName|ServiceName)$/;

function nameResource(id: string, { Type, Properties = {} }: TemplateResource): string {
  // An alias has a name too, but its ARN begins with the function's.
  if (Type === 'AWS::ECS::CapacityProvider' || Type === 'AWS::WAFv2::WebACL') return String(Properties['Name']);
  const named = Object.entries(Properties).find(([key, value]) => NAMES.test(key) && typeof value === 'string');
  return named === undefined ? `lambent-dev-${id}-ABC` : String(named[1]);
}

function listArns(type: string, name: string, action: string): readonly string[] {
  if (permissions.withoutResources.includes(action) || action.includes('*')) return ['*'];
  const key = Object.keys(ARNS)
    .filter((prefix) => `${type}::`.startsWith(`${prefix}::`))
    .sort((one, other) => other.length - one.length)[0];
  const own = key === undefined ? [] : (ARNS[key]?.(name) ?? []);
  const service = action.split(':')[0];
  return [
    ...(OTHER_SERVICES[action] ?? []),
    ...own.filter((arn) => arn.split(':')[2] === service),
    ...(service === 'ec2' ? ['*'] : []),
  ];
}

const matches = (pattern: string, text: string): boolean =>
  new RegExp(`^${pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`).test(text);

/** True if a statement allows the action on one of the ARNs. Conditions have tests of their own. */
function allows(policy: readonly Statement[], action: string, arns: readonly string[]): boolean {
  return policy.some(
    ({ Action, Resource }) =>
      Action.some((each) => matches(each, action)) &&
      arns.some((arn) => Resource.some((pattern) => pattern === '*' || matches(pattern, arn))),
  );
}

/** Returns what the providers of the template's resources need and the policy does not allow. */
function findMissing({ Resources }: Template, policy: readonly Statement[]): string[] {
  const types: Readonly<Record<string, readonly string[]>> = permissions.types;
  const missing = Object.entries(Resources).flatMap(([id, resource]) => {
    const actions = types[resource.Type];
    if (actions === undefined) return [`${resource.Type} is not in provider-permissions.json`];
    return actions
      .filter((action) => 'CapacityProviderConfig' in Object(resource.Properties) || !ONLY_MANAGED.test(` ${action}`))
      .filter((action) => !UNUSED.some(([pattern]) => pattern.test(`${resource.Type} ${action}`)))
      .filter((action) => !allows(policy, action, listArns(resource.Type, nameResource(id, resource), action)))
      .map((action) => `${resource.Type} ${action}`);
  });
  return [...new Set(missing)];
}

describe("the deployer's policies", () => {
  let everything: Template;
  let gpus: Template[];
  beforeAll(async () => {
    everything = await packageStage(...EVERYTHING);
    gpus = await Promise.all([
      packageWithGpus(GPU_CANARY, 'gpuZones=3', 'gpuWorkingMin=1'),
      packageWithGpus(...GPU_ENDPOINTS),
    ]);
  });

  it("the deployer's policies allow everything that CloudFormation does for a stage without GPUs", () => {
    expect(findMissing(everything, EVERY_STAGE)).toEqual([]);
  });

  it("the deployer's policies with that for the edge allow everything for a domain and a firewall", async () => {
    const settings = [
      'domainName=api.example.com',
      'domainCertificate=arn:aws:acm:eu-west-1:123456789012:certificate/0123',
      'firewall=true',
    ];
    const template = await packageStage(...settings.flatMap((setting) => ['--param', setting]));
    expect(findMissing(template, EVERY_STAGE)).not.toEqual([]);
    expect(findMissing(template, WITH_EDGE)).toEqual([]);
  });

  it("the deployer's policies with that for GPUs allow everything that CloudFormation does for a fleet", () => {
    expect(gpus.flatMap((template) => findMissing(template, WITH_GPUS))).toEqual([]);
  });

  it("the deployer's policies with those for GPUs and managed instances allow everything for managed functions", async () => {
    const settings = [
      ...[
        'managedHttp=true',
        'chatMemoryMb=2048',
        'embeddingsMemoryMb=2048',
        'sessionsMemoryMb=2048',
        'responsesMemoryMb=2048',
      ],
      ...['managedWorkers=true', 'generateMemoryMb=2048', 'dispatchMemoryMb=2048'],
    ];
    const template = await packageStage(...settings.flatMap((setting) => ['--param', setting]));
    expect(findMissing(template, WITH_GPUS)).toContain('AWS::Lambda::Function lambda:PassCapacityProvider');
    expect(findMissing(template, WITH_MANAGED)).toEqual([]);
  });

  it("the deployer's policies pass roles only to the services that the stack's roles trust", () => {
    const passed = WITH_GPUS.filter(({ Action }) => Action.includes('iam:PassRole'));
    expect(new Set(passed.flatMap(({ Resource }) => Resource))).toEqual(new Set(['arn:aws:iam::*:role/lambent-*']));
    const services = passed.flatMap(({ Condition }) => Condition?.['StringEquals']?.['iam:PassedToService']);
    const trusted = [everything, ...gpus].flatMap((template) =>
      findByType(template, 'AWS::IAM::Role').flatMap(({ properties }) =>
        [...walkObjects(properties['AssumeRolePolicyDocument'])].flatMap(({ Service }) => Service ?? []),
      ),
    );
    expect(new Set(services)).toEqual(new Set(trusted));
  });

  it("the deployer's policies name resources wherever AWS supports it", () => {
    // AWS chooses the ids of these, and models.json the names of clusters and services and what it refers to.
    const unnamed =
      /^(apigateway|application-autoscaling|bedrock|ec2|ecs|kms|lambda:.*EventSourceMapping|secretsmanager):?/;
    const named = /:lambent-|\/lambent-|:TargetTracking-|aws-service-role|event-source-mapping/;
    const exceptions = ['cloudformation:ValidateTemplate', 'iam:SimulatePrincipalPolicy'];
    const wide = WITH_MANAGED.filter(({ Resource }) => !Resource.every((arn) => named.test(arn)))
      .flatMap(({ Action }) => Action)
      .filter((action) => !unnamed.test(action) && !permissions.withoutResources.includes(action))
      .filter((action) => !exceptions.includes(action) && !/:(Describe|List|Get)/.test(action));
    expect(wide).toEqual([]);
  });

  it.each(['stack', 'data', 'gpu', 'edge', 'managed'])(
    'the policy %s.json fits into a managed policy of IAM',
    (name) => {
      const text = readFileSync(join(FOLDER, `${name}.json`), 'utf8').replace(/\s/g, '');
      expect(text.length).toBeLessThanOrEqual(6_144);
    },
  );
});
