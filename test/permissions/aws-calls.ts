import { describeDynamoDB } from './dynamodb-calls.ts';
import type { AwsCall } from './policies.ts';

/** A request that a function sent to a stand-in. */
export interface AwsRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  /** The header `x-amz-target`; empty in protocols without operation names. */
  readonly target: string;
  readonly body: string;
}

const ACCOUNT = '000000000000';
const REGION = 'eu-west-1';
const VAULT_ALIAS = 'alias/lambent-local-vault';
const PREFIXES: Readonly<Record<string, (operation: string, body: Body) => AwsCall[]>> = {
  DynamoDB_20120810: (operation, body) =>
    describeDynamoDB(body).map(({ table, context }) =>
      call(`dynamodb:${operation}`, arn('dynamodb', `table/${table}`), context),
    ),
  AmazonSQS: describeSqs,
  TrentService: describeKms,
  AmazonEC2ContainerServiceV20141113: describeEcs,
  AmazonSSM: (operation, { Name }) => [call(`ssm:${operation}`, arn('ssm', `parameter/${Name?.replace(/^\//, '')}`))],
  // Secrets Manager appends six characters to a secret's name.
  secretsmanager: (operation, { SecretId }) => [
    call(`secretsmanager:${operation}`, arn('secretsmanager', `secret:${SecretId}-a1B2c3`)),
  ],
};

interface Body {
  readonly QueueUrl?: string;
  readonly KeyId?: string;
  readonly EncryptionContext?: Readonly<Record<string, string>>;
  readonly Name?: string;
  readonly SecretId?: string;
  readonly cluster?: string;
  readonly tasks?: readonly string[];
  readonly containerInstances?: readonly string[];
  readonly services?: readonly string[];
  readonly service?: string;
  readonly guardrailConfig?: { readonly guardrailIdentifier: string };
}

/**
 * Returns the calls that IAM checks for a request: one for each resource.
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
 * @throws Error for a request of another service, or an operation that no function should need
 */
export function describeCalls({ method, path, target, body }: AwsRequest): AwsCall[] {
  const [service = '', operation = ''] = target.split('.');
  const describe = PREFIXES[service];
  if (describe !== undefined) return describe(operation, JSON.parse(body));
  const url = new URL(path, 'http://localhost');
  if (/^\/(model|guardrail)\//.test(url.pathname)) return describeBedrock(url.pathname, JSON.parse(body));
  if (url.pathname.startsWith('/2015-03-31/')) return [describeLambda(method, url.pathname)];
  if (target === '') return describeS3(method, url, body);
  throw new Error(`Unknown request: ${method} ${path} ${target}`);
}

/** The batch operations need the permission of the single operation. */
function describeSqs(operation: string, { QueueUrl = '' }: Body): AwsCall[] {
  return [call(`sqs:${operation.replace(/Batch$/, '')}`, arn('sqs', QueueUrl.slice(QueueUrl.lastIndexOf('/') + 1)))];
}

/** The key that functions call KMS with is the one behind the alias of the service's vault. */
function describeKms(operation: string, { KeyId = '', EncryptionContext = {} }: Body): AwsCall[] {
  const pairs = Object.entries(EncryptionContext);
  const values = pairs.map(([key, value]) => [`kms:EncryptionContext:${key}`, [value]] as const);
  const keys = { 'kms:EncryptionContextKeys': pairs.map(([key]) => key), 'kms:ResourceAliases': [VAULT_ALIAS] };
  const key = KeyId.slice(KeyId.lastIndexOf('/') + 1);
  return [call(`kms:${operation}`, arn('kms', `key/${key}`), { ...Object.fromEntries(values), ...keys })];
}

function describeEcs(operation: string, body: Body): AwsCall[] {
  const cluster = body.cluster?.slice(body.cluster.lastIndexOf('/') + 1) ?? '';
  const services = [body.services ?? body.service ?? []].flat().map((name) => arn('ecs', `service/${cluster}/${name}`));
  const resources = [...(body.tasks ?? []), ...(body.containerInstances ?? []), ...services];
  const own = resources.map((resource) => resource.replace(/^(arn:aws:ecs:[\w-]+:)\d+/, `$1${ACCOUNT}`));
  const context = { 'ecs:cluster': [arn('ecs', `cluster/${cluster}`)] };
  return (operation === 'ListTasks' ? ['*'] : own).map((resource) => call(`ecs:${operation}`, resource, context));
}

/**
 * A call through an inference profile needs permission for the profile and, under the profile as a condition, for the
 * model behind it.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
 */
function describeBedrock(path: string, { guardrailConfig }: Body): AwsCall[] {
  const [, kind, id = '', operation = ''] = path.split('/').map(decodeURIComponent);
  if (kind === 'guardrail') return [call('bedrock:ApplyGuardrail', arn('bedrock', `guardrail/${id}`))];
  const action = operation === 'converse-stream' ? 'InvokeModelWithResponseStream' : 'InvokeModel';
  const [, geography, behind = id] = /^(eu)\.(.*)$/.exec(id) ?? [];
  const profile = arn('bedrock', `inference-profile/${id}`);
  const model = `arn:aws:bedrock:${REGION}::foundation-model/${behind}`;
  const invoked =
    geography === undefined
      ? [call(`bedrock:${action}`, model)]
      : [
          call(`bedrock:${action}`, profile),
          call(`bedrock:${action}`, model, { 'bedrock:InferenceProfileArn': [profile] }),
        ];
  if (guardrailConfig === undefined) return invoked;
  return [
    ...invoked,
    call('bedrock:ApplyGuardrail', arn('bedrock', `guardrail/${guardrailConfig.guardrailIdentifier}`)),
  ];
}

function describeLambda(method: string, path: string): AwsCall {
  const [, , kind, encoded = ''] = path.split('/');
  const name = decodeURIComponent(encoded);
  if (kind === 'functions') return call('lambda:InvokeFunction', arn('lambda', `function:${name}`));
  const action = method === 'PUT' ? 'UpdateEventSourceMapping' : 'GetEventSourceMapping';
  return call(`lambda:${action}`, arn('lambda', `event-source-mapping:${name}`));
}

/** Objects are in a path of the bucket, because the stand-in's host is an IP address. */
function describeS3(method: string, { pathname, searchParams }: URL, body: string): AwsCall[] {
  const [, bucket = '', ...rest] = pathname.split('/').map(decodeURIComponent);
  const bucketArn = `arn:aws:s3:::${bucket}`;
  if (searchParams.has('list-type')) return [call('s3:ListBucket', bucketArn)];
  if (searchParams.has('delete')) {
    const keys = [...body.matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key]) => key);
    return keys.map((key) => call('s3:DeleteObject', `${bucketArn}/${key}`));
  }
  const action = { GET: 's3:GetObject', PUT: 's3:PutObject', DELETE: 's3:DeleteObject' }[method];
  if (action === undefined) throw new Error(`Unknown request to S3: ${method}`);
  return [call(action, `${bucketArn}/${rest.join('/')}`)];
}

function call(action: string, resource: string, context: AwsCall['context'] = {}): AwsCall {
  return { action, resource, context };
}

/** Returns an ARN in the local cloud's account. */
export function arn(service: string, resource: string): string {
  return `arn:aws:${service}:${REGION}:${ACCOUNT}:${resource}`;
}
