import type { Finding } from './findings.ts';

/** A finding that is as it should be. In `rule` and `resource`, `…` stands for any text. */
export interface Suppression {
  readonly rule: string;
  readonly resource: string;
  readonly reason: string;
}

/** Every suppression there is. One that matches nothing fails the check. */
export const SUPPRESSIONS: readonly Suppression[] = [
  {
    rule: 'AwsSolutions-APIG2',
    resource: 'ApiGatewayRestApi',
    reason: "Chat validates bodies against the API's own schemas, and answers faults in OpenAI's words.",
  },
  {
    rule: 'AwsSolutions-COG4',
    resource: 'ApiGatewayMethodV1…',
    reason: 'Callers are programs with API keys, which our own authorizer knows; there are no users to sign in.',
  },
  {
    rule: 'AwsSolutions-APIG4',
    resource: 'ApiGatewayMethodV1…Options',
    reason: 'A preflight comes without the key by the CORS standard, and is answered without any function.',
  },
  {
    rule: 'AwsSolutions-APIG1',
    resource: 'ApiGatewayStage',
    reason: 'Off by default: it needs a role of the account (infra/account.yml), which a first deployment may lack.',
  },
  {
    rule: 'AwsSolutions-APIG3',
    resource: 'ApiGatewayStage',
    reason: 'A firewall costs money when idle; the stage is throttled, and every route asks for a key.',
  },
  {
    rule: 'AwsSolutions-APIG6',
    resource: 'ApiGatewayStage',
    reason: 'Execution logs quote headers and bodies: prompts and keys must never reach a log.',
  },
  {
    rule: 'api_gw_v1_execution_logging_enabled_check',
    resource: 'ApiGatewayStage',
    reason: 'Execution logs quote headers and bodies: prompts and keys must never reach a log.',
  },
  {
    rule: 'api_gw_xray_enabled_check',
    resource: 'ApiGatewayStage',
    reason: 'Functions measure themselves; the X-Ray client alone would add a third to a cold start.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:bedrock:*::foundation-model/…]',
    resource: 'ModelsPolicy…',
    reason:
      "A profile's regions are AWS's to choose; a condition ties the grant to the profile (infra/models-policy.ts).",
  },
  ...['job', 'conversation'].map((folder) => ({
    rule: `AwsSolutions-IAM5[Resource::<Bucket.Arn>/*/${folder}/*]`,
    resource: '…Role',
    reason:
      "The bucket holds sealed bytes, under their tenants' names; what a function reads there, it can't open for another.",
  })),
  {
    rule: 'AwsSolutions-IAM5[Resource::<Bucket.Arn>/*/inbox/*]',
    resource: 'GenerateRole',
    reason: "Every tenant has an inbox of its own; a message points into its own tenant's or is refused.",
  },
  {
    rule: 's3_bucket_versioning_enabled_check',
    resource: 'Bucket',
    reason: 'What a caller deletes is to be gone; objects are written once under a key that no other attempt has.',
  },
  {
    rule: 's3_bucket_logging_enabled_check',
    resource: 'Bucket',
    reason:
      'Only functions reach it, which log what they do by id; a log of each object would cost more than the objects.',
  },
  {
    rule: 'AwsSolutions-S1',
    resource: 'Bucket',
    reason:
      'Only functions reach it, which log what they do by id; a log of each object would cost more than the objects.',
  },
  {
    rule: 's3_event_notifications_enabled_check',
    resource: 'Bucket',
    reason: 'Nothing happens when an object comes: the job beside it says what there is to do.',
  },
  {
    rule: 's3_bucket_object_lock_enabled_check',
    resource: 'Bucket',
    reason: 'Bodies expire with their jobs, and go when a caller deletes them.',
  },
  {
    rule: 's3_bucket_policy_ssl_requests_only_check',
    resource: 'BucketPolicy',
    reason: 'The policy refuses requests without TLS; the rule reads only literal ARNs.',
  },
  {
    rule: 'cloudwatch_log_group_retention_period_check',
    resource: '…LogGroup',
    reason: 'Logs hold ids and durations for finding faults, and are no archive: 30 days.',
  },
  {
    rule: 'cloudwatch_log_group_encrypted_check',
    resource: '…LogGroup',
    reason: 'No content reaches a log; CloudWatch encrypts what does with a key of its own.',
  },
  {
    rule: 'lambda_function_public_access_prohibited_check',
    resource: '…PermissionApiGateway',
    reason: 'SourceArn names this API alone; the rule reads only literal ARNs.',
  },
  {
    rule: 'lambda_inside_vpc_check',
    resource: '…LambdaFunction',
    reason: 'Nothing they call is in a VPC, and a VPC would cost a NAT gateway when idle.',
  },
  ...['ChatRole', 'DispatchRole', 'FleetRole'].map((resource) => ({
    rule: 'AwsSolutions-IAM5[Resource::*]',
    resource,
    reason:
      "Lambda makes a VPC function's interfaces in its name, for which it accepts no narrower resource; the function's own code is denied them.",
  })),
  ...['task', 'container-instance'].map((kind) => ({
    rule: `AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:${kind}/…/*]`,
    resource: 'FleetRole',
    reason: 'Tasks and machines come and go under names of their own; those of its own clusters alone.',
  })),
  {
    rule: 'lambda_function_public_access_prohibited_check',
    resource: 'FleetEventBridgeLambdaPermission…',
    reason: 'SourceArn names its rule alone; the rule reads only literal ARNs.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::*]',
    resource: 'GpuExecutionRole',
    reason: "ECR's token names no repository; what it opens is granted by repository.",
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::*]',
    resource: 'GpuInstanceRole',
    reason:
      'Finding the agent an endpoint has no resource; publishing metrics has none but its namespace, a condition.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:container-instance/<GpuCluster>/*]',
    resource: 'GpuInstanceRole',
    reason: 'A machine learns its own name when it joins; those of its cluster alone.',
  },
  {
    rule: 'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::…/*]',
    resource: 'GpuTaskRole',
    reason: "A model is many files, in a folder of its own; the weights' folder alone, to be read.",
  },
  {
    rule: 'AwsSolutions-EC26',
    resource: 'GpuInstances',
    reason: "The launch template's volume is encrypted; the rule can't follow a reference to it.",
  },
  {
    rule: 'AwsSolutions-AS3',
    resource: 'GpuInstances',
    reason: "Fleet hears of workers by their tasks' events; machines without tasks concern nobody.",
  },
  {
    rule: 'AwsSolutions-ECS2',
    resource: 'Gpu…Task',
    reason:
      'What stands there is no secret: that nothing is asked of Hugging Face, and the region. The key comes by reference.',
  },
  {
    rule: 'ecs_task_definition_nonroot_user_check',
    resource: 'Gpu…Task',
    reason:
      'Stock images of engines run as root; they are not privileged, and have no credentials but to read weights.',
  },
  {
    rule: 'ecs_containers_readonly_access_check',
    resource: 'Gpu…Task',
    reason: 'Engines compile kernels as they start, and their libraries write them to a dozen places of their own.',
  },
  {
    rule: 'autoscaling_multiple_az_check',
    resource: 'GpuInstances',
    reason: 'Its subnets are in two or three zones; the rule reads only names of zones.',
  },
  ...['instance', 'encryption_in_transit'].map((rule) => ({
    rule: `autoscaling_group_nitro_${rule}_override_check`,
    resource: 'GpuInstances',
    reason: "G6e machines are Nitro ones and encrypt between each other; the rule's list is older than they.",
  })),
  {
    rule: 's3_bucket_policy_ssl_requests_only_check',
    resource: 'ServerlessDeploymentBucketPolicy',
    reason: 'The policy refuses requests without TLS; the rule reads only literal ARNs.',
  },
  {
    rule: 'AwsSolutions-S1',
    resource: 'ServerlessDeploymentBucket',
    reason: "Holds bundles and templates, which any build makes anew; nothing of a caller's.",
  },
  ...['default_encryption_kms', 'versioning_enabled', 'logging_enabled', 'object_lock_enabled'].map((rule) => ({
    rule: `s3_bucket_${rule}_check`,
    resource: 'ServerlessDeploymentBucket',
    reason: "Holds bundles and templates, which any build makes anew; nothing of a caller's.",
  })),
  ...['event_notifications_enabled', 'lifecycle_policy'].map((rule) => ({
    rule: `s3_${rule}_check`,
    resource: 'ServerlessDeploymentBucket',
    reason: 'What is older than the last five deployments is removed by osls itself.',
  })),
];

/** Whether `suppression` is about `finding`. */
export function suppresses({ rule, resource }: Suppression, finding: Finding): boolean {
  return matches(rule, finding.rule) && matches(resource, finding.resource);
}

function matches(pattern: string, text: string): boolean {
  const [start = '', ...rest] = pattern.split('…');
  const end = rest.at(-1);
  if (end === undefined) return pattern === text;
  return text.length >= start.length + end.length && text.startsWith(start) && text.endsWith(end);
}
