import * as v from 'valibot';
import {
  cron,
  flag,
  list,
  logDays,
  number,
  oneOf,
  record,
  region,
  type SettingType,
  schedule,
  text,
  timeZone,
  whole,
} from './setting-types.ts';

/** https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const memory = whole(128, 10_240, 'MB');
const timeout = whole(1, 900, 's');
/** https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html#events-sqs-max-concurrency */
const mappingConcurrency = whole(2, 1_000);
/** Of a standard queue without a batching window. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html */
const batch = whole(1, 10);
const shards = whole(1, 1_000);
const provisioned = whole(0, 10_000);
const count = whole(1, 1_000_000);
const duration = whole(1, 900_000, 'ms');
const environments = whole(1, 15_000);
const percent = number(1, 100, '%');

/** Rejects image names that may refer to another image later, such as `latest`: `:version` or `@digest` is required. */
const PINNED = /(@sha256:[0-9a-f]{64}|:(?!latest$)\w[\w.-]{0,127})$/.source;
const PRIVATE_IMAGE = /\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\/[\w./-]+/.source;
const PUBLIC_IMAGE = /public\.ecr\.aws\/[\w./-]+/.source;
const engineImage = text(
  new RegExp(`^(${PRIVATE_IMAGE}${PINNED})?$`),
  'image, pinned, or empty',
  'an image of a private ECR by a version or digest other than latest, such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.19.0, or empty',
);
const alias = v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/));
const queueUrl = v.pipe(v.string(), v.regex(/^https:\/\/sqs\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\/\d{12}\/[\w-]{1,80}$/));

/** All settings in the order of `serverless.yml`, which has their defaults. */
export const SETTINGS = {
  region,
  logLevel: oneOf('debug', 'info', 'warn', 'error'),
  logRetentionDays: logDays,
  corsOrigin: text(
    /^(\*|https?:\/\/([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?)?$/,
    'origin or empty',
    'one origin such as https://app.example.com, * or empty',
  ),
  /** https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html. IAM's limits are the strictest. */
  tags: record(
    v.pipe(v.string(), v.regex(/^(?!aws:|lambent:)[\p{L}\p{Z}\p{N}_.:/=+@-]{1,128}$/iu)),
    v.pipe(v.string(), v.regex(/^[\p{L}\p{Z}\p{N}_.:/=+@-]{0,256}$/u)),
    'a JSON object of tags, such as {"team":"search"}: letters, digits, spaces and _.:/=+@-, keys not beginning with aws: or lambent:',
  ),

  chatMemoryMb: memory,
  chatTimeoutSeconds: timeout,
  embeddingsMemoryMb: memory,
  embeddingsTimeoutSeconds: timeout,
  authorizeMemoryMb: memory,
  /** https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html */
  // Less than a minute, so that a revoked key works no longer.
  authorizerTtlSeconds: whole(0, 55, 's'),
  customKeys: flag,
  sessionsMemoryMb: memory,
  responsesMemoryMb: memory,
  responsesTimeoutSeconds: timeout,

  intakeMemoryMb: memory,
  intakeTimeoutSeconds: timeout,
  intakeConcurrency: mappingConcurrency,
  /** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html */
  generationMaxReceives: whole(1, 1_000),
  generateMemoryMb: memory,
  generateTimeoutSeconds: timeout,
  generateBatchSize: batch,
  generateConcurrency: mappingConcurrency,
  dispatchMemoryMb: memory,
  dispatchTimeoutSeconds: timeout,
  dispatchBatchSize: batch,
  dispatchConcurrency: mappingConcurrency,
  dispatchConcurrencyMax: mappingConcurrency,
  sweepMemoryMb: memory,
  sweepParts: whole(1, 10),
  jobShards: shards,
  jobShardsRead: shards,
  replyQueues: record(
    alias,
    queueUrl,
    'a JSON object: for each alias, of at most 64 letters, digits, ., _ or -, the URL of a queue, such as https://sqs.eu-west-1.amazonaws.com/123456789012/answers',
  ),
  senderSources: list(
    /^(arn:aws[a-z-]*:(events:[a-z0-9-]+:\d{12}:rule\/[\w./-]+|sns:[a-z0-9-]+:\d{12}:[\w-]+)(,(?=.)|$))*$/,
    /,/,
    'ARNs or empty',
    'ARNs of rules of EventBridge or topics of SNS, separated by commas (a bucket sends by a rule that transforms its events)',
  ),
  senderPrincipals: list(
    /^((\d{12}|arn:aws[a-z-]*:iam::\d{12}:(role|user)\/[\w+=.@/-]+)(,(?=.)|$))*$/,
    /,/,
    'ARNs, accounts or empty',
    'ARNs of roles or users, or account ids, separated by commas',
  ),
  retentionDays: whole(1, 3_650, 'days'),
  jobDeadlineHours: number(0.01, 336, 'hours'),
  /** https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/PointInTimeRecovery_Howitworks.html */
  keysRecoveryDays: whole(1, 35, 'days'),
  externalKeys: list(
    /^(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(,(?=.)|$))*$/,
    /,/,
    'ARNs or empty',
    'ARNs of KMS keys, not of aliases, separated by commas',
  ),
  limitsOutage: oneOf('refuse', 'pass'),
  auditRetentionDays: logDays,
  auditLockDays: whole(0, 3_650, 'days'),

  chatProvisioned: provisioned,
  chatProvisionedMax: provisioned,
  authorizeProvisioned: provisioned,
  authorizeProvisionedMax: provisioned,
  sessionsProvisioned: provisioned,
  sessionsProvisionedMax: provisioned,
  responsesProvisioned: provisioned,
  responsesProvisionedMax: provisioned,
  /** https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html, managing with Application Auto Scaling */
  provisionedUtilization: number(0.1, 0.9),

  warmEnabled: flag,
  warmSchedule: schedule,
  warmConcurrency: whole(1, 100),
  warmHoldMs: whole(0, 5_000, 'ms'),

  managedHttp: flag,
  managedWorkers: flag,
  /** https://docs.aws.amazon.com/lambda/latest/api/API_LambdaManagedInstancesCapacityProviderConfig.html */
  managedConcurrency: whole(1, 1_600),
  /** https://docs.aws.amazon.com/lambda/latest/api/API_FunctionScalingConfig.html. Zero would turn the function off. */
  managedEnvironments: environments,
  managedEnvironmentsMax: environments,
  managedInstanceTypes: list(
    /^([a-z0-9-]+\.[a-z0-9-]+(,(?=.)|$))*$/,
    /,/,
    'types or empty',
    'instance types with arm64 processors, separated by commas, or empty',
  ),
  /** https://docs.aws.amazon.com/lambda/latest/api/API_CapacityProviderScalingConfig.html */
  managedVcpusMax: whole(2, 15_000),
  managedSubnets: list(
    /^(subnet-[0-9a-f]+(,(?=.)|$))*$/,
    /,/,
    'ids or empty',
    'ids of subnets, such as subnet-0123456789abcdef0, separated by commas, or empty',
  ),
  managedSecurityGroups: list(
    /^(sg-[0-9a-f]+(,(?=.)|$))*$/,
    /,/,
    'ids or empty',
    'ids of security groups, such as sg-0123456789abcdef0, separated by commas, or empty',
  ),

  throttleRate: number(1, 100_000),
  throttleBurst: whole(1, 100_000),
  accessLog: flag,
  domainName: text(
    /^((?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9])?$/,
    'host name or empty',
    'a host name such as api.example.com, or empty',
  ),
  domainCertificate: text(
    /^(arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate\/[\w-]+)?$/,
    'ARN or empty',
    'the ARN of a certificate of ACM, or empty',
  ),
  domainTruststore: text(
    /^(s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\/[\w./+=-]+)?$/,
    's3://BUCKET/FILE or empty',
    'a file of a bucket, such as s3://my-ca/clients.pem, or empty',
  ),
  /** https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-security-policies.html */
  tlsPolicy: oneOf('TLS_1_2', 'SecurityPolicy_TLS13_1_3_2025_09'),
  vpcEndpoints: list(
    /^(vpce-([0-9a-f]{8}|[0-9a-f]{17})(,(?=.)|$))*$/,
    /,/,
    'ids or empty',
    'ids of VPC endpoints, such as vpce-0123456789abcdef0, separated by commas, or empty',
  ),
  firewall: flag,
  /** https://docs.aws.amazon.com/waf/latest/APIReference/API_RateBasedStatement.html */
  firewallRate: whole(10, 2_000_000_000),

  alarmEmail: text(/^([^\s@,]+@[^\s@,]+\.[^\s@,.]+)?$/, 'mail address or empty', 'one mail address, or empty'),
  alarmErrors: count,
  alarmGateway5xx: count,
  alarmAuthorizeLatencyMs: duration,
  alarmFirstTokenMs: duration,
  alarmSessionsLatencyMs: duration,
  alarmResponsesLatencyMs: duration,
  alarmSpillover: count,
  /** The longest retention of a message. */
  alarmQueueAgeSeconds: whole(1, 1_209_600, 's'),
  alarmJobsWaiting: count,
  alarmSweepFailures: count,
  alarmKmsErrors: count,
  alarmStoreErrors: count,
  alarmSuspectWorkers: count,
  alarmTargetsUnusable: count,
  alarmGuardrailFailures: count,
  alarmContentRefused: count,
  alarmKeysRefused: count,
  alarmAbuseSuspected: count,

  gpuFleet: text(/^[\w.-]{0,64}$/, 'fleet or empty', 'the name of a fleet of models.json, or empty'),
  gpuImage: engineImage,
  gpuCanaryImage: engineImage,
  gpuWeights: text(
    /^(s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[\w.+=-]+)+)?$/,
    's3://BUCKET/FOLDER or empty',
    'a folder of a bucket, such as s3://models/qwen3-8b, or empty',
  ),
  gpuWeightsImage: text(
    new RegExp(`^((${PUBLIC_IMAGE}|${PRIVATE_IMAGE})${PINNED})?$`),
    'image, pinned, or empty',
    'an image of ECR, public or private, by a version or digest other than latest, or empty',
  ),
  gpuInstanceTypes: list(
    /^[a-z0-9-]+\.[a-z0-9-]+(,[a-z0-9-]+\.[a-z0-9-]+)*$/,
    /,/,
    'types, by commas',
    'instance types, separated by commas',
  ),
  gpuOnDemandBase: whole(0, 1_000),
  /** https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html; Amazon Linux's image has 30 GB. */
  gpuDiskGb: whole(30, 16_384, 'GB'),
  gpuMemoryMb: whole(1_024, 4_194_304, 'MiB'),
  gpuTensorParallel: whole(1, 8),
  gpuStepTokens: whole(256, 1_048_576, 'tokens'),
  gpuEngineFlags: list(/^/, /\s+/, 'flags or empty', 'flags, separated by spaces'),
  gpuEgress: oneOf('nat', 'endpoints'),
  gpuZones: whole(2, 3),
  /** https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html. Six subnets of 4,096 addresses must fit. */
  gpuVpcCidr: text(
    /^((25[0-5]|(2[0-4]|1\d|[1-9]|)\d)\.){2}(0\.0\/16|(0|128)\.0\/17)$/,
    'addresses, /16 or /17',
    'a block of addresses of size 16 or 17, such as 10.42.0.0/16',
  ),
  gpuWorkingMin: whole(0, 1_000),
  gpuWorkingStart: cron,
  gpuWorkingEnd: cron,
  gpuTimezone: timeZone,
  alarmGpuSlotWaitMs: duration,
  alarmGpuSlotsRefused: count,
  alarmGpuSuspected: count,
  alarmGpuMemoryPercent: percent,
  alarmGpuDiskFreePercent: percent,
} as const satisfies Readonly<Record<string, SettingType<unknown>>>;

export type Setting = keyof typeof SETTINGS;
export type Settings = { readonly [S in Setting]: v.InferOutput<(typeof SETTINGS)[S]['schema']> };
