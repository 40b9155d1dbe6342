import type { Finding } from './findings.ts';

/** Findings that are accepted. In `rule` and `resource`, `…` stands for any text. */
export interface Suppression {
  readonly rule: string;
  readonly resource: string;
  readonly reason: string;
}

/** All suppressions. The check fails for one that matches no finding. */
export const SUPPRESSIONS: readonly Suppression[] = [
  {
    rule: 'AwsSolutions-APIG2',
    resource: 'ApiGatewayRestApi',
    reason: "Chat validates bodies with the API's own schemas and returns OpenAI's error objects.",
  },
  {
    rule: 'AwsSolutions-COG4',
    resource: 'ApiGatewayMethodV1…',
    reason: 'Callers are programs with API keys, which the Lambda authorizer checks; there are no users to sign in.',
  },
  {
    rule: 'AwsSolutions-APIG4',
    resource: 'ApiGatewayMethodV1…Options',
    reason: 'By the CORS standard a preflight request has no key. API Gateway answers it without a function.',
  },
  ...['AwsSolutions-COG4', 'AwsSolutions-APIG4', 'CKV_AWS_59'].map((rule) => ({
    rule,
    resource: 'HeadMethod',
    reason: 'Clients probe the address with HEAD before they have a key. API Gateway answers 200 without a function.',
  })),
  ...['AwsSolutions-COG4', 'AwsSolutions-APIG4', 'CKV_AWS_59'].map((rule) => ({
    rule,
    resource: 'OpenApiMethod',
    reason: 'The description of the API is public: it is in the repository. API Gateway sends it without a function.',
  })),
  ...['AwsSolutions-APIG4', 'CKV_AWS_59'].map((rule) => ({
    rule,
    resource: 'ApiGatewayMethodV1OauthTokenPost',
    reason: "The token in the body is the caller's credential. The function verifies it.",
  })),
  ...['AwsSolutions-APIG1', 'CKV_AWS_76'].map((rule) => ({
    rule,
    resource: 'ApiGatewayStage',
    reason: 'Off by default, because it needs a role that the account may not have yet (infra/account.yml).',
  })),
  {
    rule: 'AwsSolutions-APIG3',
    resource: 'ApiGatewayStage',
    reason: 'A firewall costs money when idle. The stage is throttled, and every route requires a key.',
  },
  {
    rule: 'api_gw_domain_tls_check',
    resource: 'ApiDomain',
    reason: 'The rule knows TLS_1_2 only. The other policy that tlsPolicy allows accepts TLS 1.3 alone.',
  },
  {
    rule: 'AwsSolutions-APIG6',
    resource: 'ApiGatewayStage',
    reason: 'Execution logs contain headers and bodies; prompts and keys must never reach a log.',
  },
  {
    rule: 'api_gw_v1_execution_logging_enabled_check',
    resource: 'ApiGatewayStage',
    reason: 'Execution logs contain headers and bodies; prompts and keys must never reach a log.',
  },
  ...['api_gw_xray_enabled_check', 'CKV_AWS_73'].map((rule) => ({
    rule,
    resource: 'ApiGatewayStage',
    reason: 'Functions publish their own metrics. The X-Ray client would make a cold start a third longer.',
  })),
  {
    rule: 'CKV_AWS_120',
    resource: 'ApiGatewayStage',
    reason: 'Answers are generated for one caller and must not be stored at the gateway.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:bedrock:*::foundation-model/…]',
    resource: 'ModelsPolicy…',
    reason: "AWS chooses a profile's regions. A condition limits the grant to the profile (infra/models-policy.ts).",
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:kms:<AWS::Region>:<AWS::AccountId>:key/*]',
    resource: '…Role',
    reason: "Only the vault key, which a condition names by its alias: the key's policy names the roles by their ARNs.",
  },
  ...['job', 'conversation'].map((folder) => ({
    rule: `AwsSolutions-IAM5[Resource::<Bucket.Arn>/*/${folder}/*]`,
    resource: '…Role',
    reason:
      "The bucket holds sealed records under their tenants' prefixes. A record can't be opened for another tenant.",
  })),
  {
    rule: 'AwsSolutions-IAM5[Resource::<Bucket.Arn>/*/inbox/*]',
    resource: 'IntakeRole',
    reason: "Every tenant has its own inbox. A message that points into another tenant's inbox is refused.",
  },
  ...['s3_bucket_versioning_enabled_check', 'CKV_AWS_21'].map((rule) => ({
    rule,
    resource: 'Bucket',
    reason:
      'Deleted objects must not remain as old versions. Each object is written once, under the key of one attempt.',
  })),
  ...['s3_bucket_logging_enabled_check', 'AwsSolutions-S1', 'CKV_AWS_18'].map((rule) => ({
    rule,
    resource: 'Bucket',
    reason:
      'Only functions access it, and they log their work by id. A log of each access would cost more than the objects.',
  })),
  ...['s3_bucket_logging_enabled_check', 'AwsSolutions-S1', 'CKV_AWS_18'].map((rule) => ({
    rule,
    resource: 'AuditBucket',
    reason: 'Only one function writes to it. Signed digests show every change and removal.',
  })),
  {
    rule: 's3_event_notifications_enabled_check',
    resource: 'AuditBucket',
    reason: 'Nothing has to happen when an object is written.',
  },
  {
    rule: 's3_bucket_policy_ssl_requests_only_check',
    resource: 'AuditBucketPolicy',
    reason: 'The policy refuses requests without TLS. The rule recognises only literal ARNs.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::<AuditBucket.Arn>/audit/*]',
    resource: 'RecordRole',
    reason: 'Keys of objects contain the hashes of batches. The role can read and add objects, not delete them.',
  },
  {
    rule: 'kms_create_grant_aws_service_check',
    resource: 'AuditKey',
    reason: "The key's policy allows no principal to create grants.",
  },
  ...['AwsSolutions-SQS3', 'sqs_dlq_check'].map((rule) => ({
    rule,
    resource: 'RecordDlq',
    reason: 'It is itself where Lambda sends batches that could not be recorded. The rules know only queues of queues.',
  })),
  {
    rule: 'lambda_function_public_access_prohibited_check',
    resource: 'RecordPermission',
    reason: "SourceArn allows this stage's log groups only. The rule recognises only literal ARNs.",
  },
  {
    rule: 's3_event_notifications_enabled_check',
    resource: 'Bucket',
    reason: 'Writing an object starts no work. A queue message starts the job to which the object belongs.',
  },
  {
    rule: 's3_bucket_object_lock_enabled_check',
    resource: 'Bucket',
    reason: 'Bodies expire with their jobs and are deleted when a caller deletes those.',
  },
  {
    rule: 's3_bucket_policy_ssl_requests_only_check',
    resource: 'BucketPolicy',
    reason: 'The policy refuses requests without TLS. The rule recognises only literal ARNs.',
  },
  {
    rule: 'cloudwatch_log_group_retention_period_check',
    resource: '…LogGroup',
    reason: 'Logs hold ids and durations for troubleshooting. 30 days are enough; nothing must be archived.',
  },
  ...['cloudwatch_log_group_encrypted_check', 'CKV_AWS_158'].map((rule) => ({
    rule,
    resource: '…LogGroup',
    reason: 'No content reaches a log, and CloudWatch encrypts logs with its own key.',
  })),
  {
    rule: 'lambda_function_public_access_prohibited_check',
    resource: '…PermissionApiGateway',
    reason: 'SourceArn allows this API only. The rule recognises only literal ARNs.',
  },
  ...['lambda_inside_vpc_check', 'CKV_AWS_117'].map((rule) => ({
    rule,
    resource: '…LambdaFunction',
    reason: 'The functions call nothing in a VPC, and a VPC would need a NAT gateway, which costs money when idle.',
  })),
  {
    rule: 'CKV_AWS_115',
    resource: '…LambdaFunction',
    reason:
      'A reserve is taken from the account, which may have 10 executions. Event source mappings have limits of their own.',
  },
  {
    rule: 'CKV_AWS_116',
    resource: '…LambdaFunction',
    reason:
      'Schedules and events of ECS tasks: the next scheduled run does what one missed. Log lines: a destination has a queue.',
  },
  {
    rule: 'CKV_AWS_173',
    resource: '…LambdaFunction',
    reason: 'The variables hold names and settings, not secrets, and Lambda encrypts them with its own key.',
  },
  {
    rule: 'W3005',
    resource: '…',
    reason: 'Serverless (osls) repeats references in DependsOn, which CloudFormation accepts.',
  },
  ...['AwsSolutions-IAM5[Resource::*]', 'CKV_AWS_111'].flatMap((rule) =>
    ['ChatRole', 'EmbeddingsRole', 'DispatchRole', 'FleetRole'].map((resource) => ({
      rule,
      resource,
      reason:
        "Lambda needs it for a VPC function's network interfaces. The function's own code is denied these actions.",
    })),
  ),
  ...['task', 'container-instance'].map((kind) => ({
    rule: `AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:${kind}/…/*]`,
    resource: 'FleetRole',
    reason: 'ECS names tasks and machines itself. The grant is limited to the clusters of this service.',
  })),
  {
    rule: 'lambda_function_public_access_prohibited_check',
    resource: 'FleetEventBridgeLambdaPermission…',
    reason: 'SourceArn allows one EventBridge rule only. The check recognises only literal ARNs.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::*]',
    resource: 'GpuExecutionRole',
    reason: "ECR's login token belongs to no repository. The actions that it allows are granted per repository.",
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::*]',
    resource: 'GpuInstanceRole',
    reason:
      'Finding the ECS agent endpoint and publishing metrics support no resource. A condition limits the namespace.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:container-instance/<GpuCluster>/*]',
    resource: 'GpuInstanceRole',
    reason: 'A machine learns its name when it joins. The grant is limited to its cluster.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::…/*]',
    resource: 'GpuTaskRole',
    reason: 'A model is many files in one folder. The grant is limited to reading that folder.',
  },
  {
    rule: 'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AWSLambdaManagedEC2ResourceOperator]',
    resource: 'ManagedOperatorRole',
    reason: "AWS's policy follows what Lambda needs to start instances, and allows only those that Lambda manages.",
  },
  {
    rule: 'AwsSolutions-EC26',
    resource: 'GpuInstances',
    reason: "The launch template encrypts the volume. The rule can't follow the reference to it.",
  },
  {
    rule: 'AwsSolutions-AS3',
    resource: 'GpuInstances',
    reason: 'The fleet function learns about workers from the events of their tasks. It needs no events of machines.',
  },
  {
    rule: 'AwsSolutions-ECS2',
    resource: 'Gpu…Task',
    reason: 'The variables hold no secrets, only the region and switches of vLLM. The key is passed by reference.',
  },
  {
    rule: 'ecs_task_definition_nonroot_user_check',
    resource: 'Gpu…Task',
    reason:
      'The public engine images run as root. They are not privileged, and their role only allows reading weights.',
  },
  {
    rule: 'ecs_containers_readonly_access_check',
    resource: 'Gpu…Task',
    reason: 'Engines compile kernels when they start, and their libraries write them to a dozen different places.',
  },
  {
    rule: 'autoscaling_multiple_az_check',
    resource: 'GpuInstances',
    reason: 'Its subnets are in two or three zones. The rule recognises only names of zones.',
  },
  ...['instance', 'encryption_in_transit'].map((rule) => ({
    rule: `autoscaling_group_nitro_${rule}_override_check`,
    resource: 'GpuInstances',
    reason: "G6e instances are Nitro instances and encrypt their traffic. The rule's list is older than G6e.",
  })),
  {
    rule: 's3_bucket_policy_ssl_requests_only_check',
    resource: 'ServerlessDeploymentBucketPolicy',
    reason: 'The policy refuses requests without TLS. The rule recognises only literal ARNs.',
  },
  ...[
    ...['default_encryption_kms', 'versioning_enabled', 'logging_enabled', 'object_lock_enabled'].map(
      (rule) => `s3_bucket_${rule}_check`,
    ),
    ...['AwsSolutions-S1', 'CKV_AWS_18', 'CKV_AWS_21'],
  ].map((rule) => ({
    rule,
    resource: 'ServerlessDeploymentBucket',
    reason: 'It holds bundles and templates, which any build reproduces, and no data of callers.',
  })),
  ...['event_notifications_enabled', 'lifecycle_policy'].map((rule) => ({
    rule: `s3_${rule}_check`,
    resource: 'ServerlessDeploymentBucket',
    reason: 'Serverless (osls) removes all but the last five deployments.',
  })),
];

/** Returns true if a suppression covers a finding. */
export function suppresses({ rule, resource }: Suppression, finding: Finding): boolean {
  return matches(rule, finding.rule) && matches(resource, finding.resource);
}

function matches(pattern: string, text: string): boolean {
  const [start = '', ...rest] = pattern.split('…');
  const end = rest.at(-1);
  if (end === undefined) return pattern === text;
  return text.length >= start.length + end.length && text.startsWith(start) && text.endsWith(end);
}
