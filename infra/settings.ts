import * as v from 'valibot';
import { LambentError } from '../shared/core/errors.ts';

/** osls's argument to a function of `infra/osls.js`. */
export interface Variables {
  /** Resolves a variable such as `param:logLevel` or `sls:stage`. Throws if it has no value. */
  resolveVariable(address: string): Promise<unknown>;
}

/** Accepts a number or its text, because settings on the command line are strings. */
const number = v.union([v.number(), v.pipe(v.string(), v.toNumber())], 'must be a number');
const wholeNumber = v.pipe(number, v.integer('must be a whole number'), v.minValue(0, 'must not be below 0'));
/** Lambda's limits for the maximum concurrency of an event source mapping. */
const mappingConcurrency = v.pipe(
  wholeNumber,
  v.minValue(2, 'must be 2 to 1000'),
  v.maxValue(1_000, 'must be 2 to 1000'),
);
const shards = v.pipe(wholeNumber, v.minValue(1, 'must be 1 to 1000'), v.maxValue(1_000, 'must be 1 to 1000'));
const flag = v.pipe(
  v.union([v.boolean(), v.picklist(['true', 'false'])], 'must be true or false'),
  v.transform((value) => value === true || value === 'true'),
);

const splitList = v.transform((text: string) => text.split(',').filter((part) => part !== ''));

const queueUrl = v.pipe(
  v.string(),
  v.regex(
    /^https:\/\/sqs\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\/\d{12}\/[\w-]{1,80}$/,
    'must be the URL of a queue, such as https://sqs.eu-west-1.amazonaws.com/123456789012/answers',
  ),
);
/** Rejects image names that may refer to another image later, such as `latest`. */
const pinned = v.check(
  (image: string) => image === '' || /@sha256:[0-9a-f]{64}$|:(?!latest$)[\w][\w.-]{0,127}$/.test(image),
  'must end in a version or digest other than latest',
);
const engineImage = v.pipe(
  v.string(),
  v.regex(
    /^(\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\/[\w./@:-]+)?$/,
    'must be an image of a private ECR, such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.19.0',
  ),
  pinned,
);
const alias = v.pipe(
  v.string(),
  v.regex(/^[\w.-]{1,64}$/, 'must use aliases of at most 64 letters, digits, ., _ or -'),
);

/** The settings of `serverless.yml` from which values of the template are computed, with their schemas. */
const schemas = {
  corsOrigin: v.pipe(
    v.string(),
    v.regex(/^(\*|https?:\/\/[^\s/'",]+)?$/, 'must be one origin such as https://app.example.com, * or empty'),
  ),
  dispatchConcurrency: mappingConcurrency,
  dispatchConcurrencyMax: mappingConcurrency,
  chatProvisioned: wholeNumber,
  chatProvisionedMax: wholeNumber,
  authorizeProvisioned: wholeNumber,
  authorizeProvisionedMax: wholeNumber,
  provisionedUtilization: v.pipe(number, v.minValue(0.1, 'must be 0.1 to 0.9'), v.maxValue(0.9, 'must be 0.1 to 0.9')),
  accessLog: flag,
  alarmEmail: v.pipe(v.string(), v.regex(/^(\S+@\S+)?$/, 'must be a mail address or empty')),
  replyQueues: v.pipe(
    v.string(),
    v.parseJson(undefined, 'must be a JSON object: the URL of a queue for each alias'),
    v.custom((value) => !Array.isArray(value), 'must be a JSON object: the URL of a queue for each alias'),
    v.record(alias, queueUrl, 'must be a JSON object: the URL of a queue for each alias'),
  ),
  senderSources: v.pipe(
    v.string(),
    v.check(
      (text) => !/(^|,)arn:[^:]*:s3:/.test(text),
      'an event of S3 is no message of the queue; send it by a rule of EventBridge that transforms it',
    ),
    v.regex(
      /^(arn:aws[a-z-]*:(events:[a-z0-9-]+:\d{12}:rule\/[\w./-]+|sns:[a-z0-9-]+:\d{12}:[\w-]+)(,(?=.)|$))*$/,
      'must be ARNs of rules of EventBridge or topics of SNS, separated by commas',
    ),
    splitList,
  ),
  senderPrincipals: v.pipe(
    v.string(),
    v.regex(
      /^((\d{12}|arn:aws[a-z-]*:iam::\d{12}:(role|user)\/[\w+=.@/-]+)(,(?=.)|$))*$/,
      'must be ARNs of roles or users, or account ids, separated by commas',
    ),
    splitList,
  ),
  jobShards: shards,
  jobShardsRead: shards,
  sweepParts: v.pipe(wholeNumber, v.minValue(1, 'must be 1 to 10'), v.maxValue(10, 'must be 1 to 10')),
  jobDeadlineHours: v.pipe(number, v.minValue(0.01, 'must be 0.01 to 336'), v.maxValue(336, 'must be 0.01 to 336')),
  retentionDays: v.pipe(wholeNumber, v.minValue(1, 'must be 1 to 3650'), v.maxValue(3650, 'must be 1 to 3650')),
  warmConcurrency: v.pipe(wholeNumber, v.minValue(1, 'must be 1 to 100'), v.maxValue(100, 'must be 1 to 100')),
  chatTimeoutSeconds: v.pipe(wholeNumber, v.minValue(1, 'must be 1 to 900'), v.maxValue(900, 'must be 1 to 900')),
  gpuFleet: v.pipe(v.string(), v.regex(/^[\w.-]{0,64}$/, 'must name a fleet of models.json, or be empty')),
  gpuImage: engineImage,
  gpuCanaryImage: engineImage,
  gpuWeights: v.pipe(
    v.string(),
    v.regex(
      /^(s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[\w.+=-]+)+)?$/,
      'must be a folder of a bucket, such as s3://models/qwen3-8b',
    ),
  ),
  gpuWeightsImage: v.pipe(
    v.string(),
    v.regex(
      /^(public\.ecr\.aws|\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?)\/[\w./@:-]+$/,
      'must be an image of ECR, public or private',
    ),
    pinned,
  ),
  gpuInstanceTypes: v.pipe(
    v.string(),
    v.regex(/^[a-z0-9-]+\.[a-z0-9]+(,[a-z0-9-]+\.[a-z0-9]+)*$/, 'must be instance types separated by commas'),
    v.transform((text) => text.split(',')),
  ),
  gpuTensorParallel: v.pipe(wholeNumber, v.minValue(1, 'must be 1 to 8'), v.maxValue(8, 'must be 1 to 8')),
  gpuStepTokens: v.pipe(wholeNumber, v.minValue(256, 'must not be below 256')),
  gpuEngineFlags: v.pipe(
    v.string(),
    v.transform((text) => text.split(/\s+/).filter((flag) => flag !== '')),
  ),
  gpuEgress: v.picklist(['nat', 'endpoints'], 'must be nat or endpoints'),
  gpuZones: v.pipe(wholeNumber, v.minValue(2, 'must be 2 or 3'), v.maxValue(3, 'must be 2 or 3')),
  gpuWorkingMin: wholeNumber,
};

export type Setting = keyof typeof schemas;
export type SettingValue<S extends Setting> = v.InferOutput<(typeof schemas)[S]>;

/**
 * Returns the value of a setting of the stage that is packaged.
 * @throws LambentError `configuration` if the value is invalid
 */
export async function readSetting<S extends Setting>(variables: Variables, name: S): Promise<SettingValue<S>> {
  const result = v.safeParse(schemas[name], await variables.resolveVariable(`param:${name}`));
  if (result.success) return result.output as SettingValue<S>;
  throw new LambentError('configuration', `The setting ${name} is not valid: ${result.issues[0].message}`);
}

/** Returns the prefix of the stage's resource names, such as `lambent-dev`. */
export async function readPrefix({ resolveVariable }: Variables): Promise<string> {
  return `${await resolveVariable('self:service')}-${await resolveVariable('sls:stage')}`;
}
