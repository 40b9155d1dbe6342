import * as v from 'valibot';

/**
 * The schema of the parts of a resolved `serverless.yml` that the local cloud runs. `strictObject` rejects settings
 * that would change how the service runs but that the local cloud doesn't support. `object` ignores settings that
 * matter only in AWS.
 */

const environment = v.optional(v.record(v.string(), v.unknown()), {});
const httpMethod = v.pipe(
  v.string(),
  v.transform((method) => method.toUpperCase()),
  v.picklist(['ANY', 'GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']),
);

const cors = v.strictObject({
  origin: v.string(),
  headers: v.array(v.string()),
  maxAge: v.optional(v.number()),
  allowCredentials: v.optional(v.boolean(), false),
});

const authorizer = v.pipe(
  v.strictObject({
    name: v.string(),
    /** The function, if `name` doesn't name it. */
    arn: v.optional(
      v.pipe(
        v.strictObject({ 'Fn::GetAtt': v.tuple([v.string(), v.literal('Arn')]) }),
        v.transform(({ 'Fn::GetAtt': [logicalId] }) => logicalId),
      ),
    ),
    type: v.literal('request'),
    identitySource: v.optional(
      v.pipe(
        v.string(),
        v.regex(/^method\.request\.header\.[\w-]+(\s*,\s*method\.request\.header\.[\w-]+)*$/, 'must name headers only'),
      ),
    ),
    resultTtlInSeconds: v.optional(v.number(), 300),
    /** True if the permission to call the function is not the authorizer's own. */
    managedExternally: v.optional(v.literal(true)),
  }),
  v.check(
    ({ identitySource, resultTtlInSeconds }) => identitySource !== undefined || resultTtlInSeconds === 0,
    'an authorizer whose policies are cached needs an identity source',
  ),
);

const httpEvent = v.strictObject({
  path: v.string(),
  method: httpMethod,
  cors: v.optional(v.union([cors, v.literal(false)]), false),
  authorizer: v.optional(authorizer),
  timeoutInMillis: v.optional(v.number()),
  response: v.optional(v.strictObject({ transferMode: v.picklist(['STREAM', 'BUFFERED']) })),
});

const schedule = v.pipe(
  v.union([v.string(), v.looseObject({})]),
  v.transform((value) => (typeof value === 'string' ? { rate: value } : value)),
  v.object({
    rate: v.pipe(
      v.union([v.string(), v.array(v.string())]),
      v.transform((rate) => [rate].flat()),
    ),
    enabled: v.optional(v.boolean(), true),
    input: v.optional(v.unknown()),
  }),
);

const sqsEvent = v.pipe(
  v.strictObject({
    /** The queue's ARN: a string or an intrinsic function. */
    arn: v.unknown(),
    enabled: v.optional(v.boolean(), true),
    batchSize: v.optional(wholeNumber(1, 10_000), 10),
    /** Seconds. */
    maximumBatchingWindow: v.optional(wholeNumber(0, 300), 0),
    functionResponseType: v.optional(v.literal('ReportBatchItemFailures')),
    maximumConcurrency: v.optional(wholeNumber(2, 1_000)),
  }),
  v.check(
    ({ batchSize, maximumBatchingWindow }) => batchSize <= 10 || maximumBatchingWindow >= 1,
    'a batch size of more than 10 requires a batching window of at least 1 second',
  ),
);

/** Returns the schema of a whole number within AWS's limits. A value from the command line is a string. */
function wholeNumber(min: number, max: number) {
  return v.pipe(v.union([v.number(), v.pipe(v.string(), v.toNumber())]), v.integer(), v.minValue(min), v.maxValue(max));
}

/** A trigger of a function. Its only key is the trigger's type. */
const event = v.strictObject({
  http: v.optional(httpEvent),
  schedule: v.optional(schedule),
  sqs: v.optional(sqsEvent),
  /** Events of AWS services. They are ignored, because no service sends them on a laptop. */
  eventBridge: v.optional(v.unknown()),
});

const functionSchema = v.object({
  name: v.string(),
  handler: v.string(),
  memorySize: v.optional(v.number()),
  timeout: v.optional(v.number()),
  reservedConcurrency: v.optional(v.number()),
  provisionedConcurrency: v.optional(v.number(), 0),
  recursiveLoop: v.optional(v.picklist(['Allow', 'Terminate']), 'Terminate'),
  environment,
  events: v.optional(v.array(event), []),
});

const resource = v.object({
  Type: v.string(),
  Properties: v.optional(v.record(v.string(), v.unknown()), {}),
});

export const serviceSchema = v.object({
  service: v.string(),
  provider: v.object({
    region: v.string(),
    stage: v.string(),
    memorySize: v.optional(v.number(), 1024),
    timeout: v.optional(v.number(), 6),
    environment,
    apiGateway: v.optional(
      v.object({ timeoutInMillis: v.optional(v.number()), binaryMediaTypes: v.optional(v.array(v.string()), []) }),
      {},
    ),
  }),
  functions: v.record(v.string(), functionSchema),
  resources: v.optional(v.object({ Resources: v.optional(v.record(v.string(), resource), {}) }), {}),
});

export type ServiceDefinition = v.InferOutput<typeof serviceSchema>;
export type HttpEvent = v.InferOutput<typeof httpEvent>;
export type ResourceDefinition = v.InferOutput<typeof resource>;
