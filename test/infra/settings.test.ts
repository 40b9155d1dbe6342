import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseSettings } from '../../infra/settings.ts';
import { SETTINGS } from '../../infra/settings-schema.ts';
import { makeSettings, PARAMS } from './make-settings.ts';
import { packageStage } from './packaged.ts';

const GPU = {
  gpuFleet: 'qwen',
  gpuImage: '123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.19.0',
  gpuWeights: 's3://models/qwen3-8b',
  gpuWeightsImage:
    'public.ecr.aws/aws-cli/aws-cli@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
};

describe('the settings in serverless.yml', () => {
  it('the settings in serverless.yml are those of the schema, in its order', () => {
    expect(Object.keys(PARAMS['default'] ?? {})).toEqual(Object.keys(SETTINGS));
  });

  it('the settings of each stage are valid', () => {
    for (const stage of Object.keys(PARAMS)) expect(() => makeSettings(PARAMS[stage])).not.toThrow();
  });

  it('the pages describe all settings in order, with their defaults, allowed values and units', () => {
    const pages = ['settings.md', 'gpu-aws.md'].map((page) =>
      readFileSync(join(import.meta.dirname, '../../docs', page), 'utf8'),
    );
    const rows = [...pages.join('').matchAll(/^\| `(\w+)` \| (?:`(.*?)`|empty) \| (.*?) \| [^|]+ \|$/gm)];
    expect(rows.map(([, name, value = '', allowed]) => [name, value, allowed])).toEqual(
      Object.entries(SETTINGS).map(([name, { allowed }]) => [name, String(PARAMS['default']?.[name]), allowed]),
    );
  });
});

describe('parseSettings', () => {
  it('parseSettings accepts the texts of the command line', () => {
    const texts = { throttleRate: '200', jobDeadlineHours: '0.5', accessLog: 'true', gpuInstanceTypes: 'g6.xlarge' };
    expect(makeSettings(texts)).toMatchObject({
      throttleRate: 200,
      jobDeadlineHours: 0.5,
      accessLog: true,
      gpuInstanceTypes: ['g6.xlarge'],
    });
  });

  it.each([
    ['chatProvisioned', '-1', 'a whole number, 0 to 10000'],
    ['chatProvisioned', '1.5', 'a whole number, 0 to 10000'],
    ['chatProvisioned', 'two', 'a whole number, 0 to 10000'],
    ['chatProvisioned', '', 'a whole number, 0 to 10000'],
    ['chatProvisioned', '0x2', 'a whole number, 0 to 10000'],
    ['chatTimeoutSeconds', 901, 'a whole number, 1 to 900 s'],
    ['chatMemoryMb', 64, 'a whole number, 128 to 10240 MB'],
    ['chatMemoryMb', '10241', 'a whole number, 128 to 10240 MB'],
    ['generateBatchSize', 11, 'a whole number, 1 to 10'],
    ['generateConcurrency', 1, 'a whole number, 2 to 1000'],
    ['dispatchConcurrencyMax', '1001', 'a whole number, 2 to 1000'],
    ['generationMaxReceives', 1_001, 'a whole number, 1 to 1000'],
    ['jobShards', 0, 'a whole number, 1 to 1000'],
    ['keysRecoveryDays', 36, 'a whole number, 1 to 35 days'],
    ['warmConcurrency', '0', 'a whole number, 1 to 100'],
    ['provisionedUtilization', '70', 'a number, 0.1 to 0.9'],
    ['logRetentionDays', 31, "one of CloudWatch's periods: 1, 3, 5, "],
    ['logLevel', 'verbose', 'one of debug, info, warn, error'],
    ['accessLog', 'yes', 'true or false'],
    ['warmEnabled', 1, 'true or false'],
    ['region', 'eu-west-9', 'an AWS region, such as eu-west-1'],
    ['region', 'EU', 'an AWS region, such as eu-west-1'],
    ['alarmEmail', 'ops', 'one mail address, or empty'],
    ['alarmEmail', 'a@example.com,b@example.com', 'one mail address, or empty'],
    ['warmSchedule', 'rate(5 minute)', "a schedule of EventBridge's, such as rate(5 minutes)"],
    ['gpuWorkingStart', '0 8 * * 1-5', 'a cron expression of six fields'],
    ['gpuTimezone', 'Berlin', 'a time zone, such as Europe/Berlin'],
    ['gpuVpcCidr', '10.42.0.0/20', 'a block of addresses of size 16 or 17'],
    ['gpuVpcCidr', '10.300.0.0/16', 'a block of addresses of size 16 or 17'],
    ['corsOrigin', 'https://a.example,https://b.example', 'one origin such as https://app.example.com, * or empty'],
    ['corsOrigin', 'app.example.com', 'one origin'],
    ['corsOrigin', "https://x'", 'one origin'],
    ['corsOrigin', 'https://$context.authorizer.tenant', 'one origin'],
    ['corsOrigin', `https://\${AWS::AccountId}`, 'one origin'],
    ['gpuImage', 'vllm/vllm-openai:v0.19.0', 'an image of a private ECR by a version or digest other than latest'],
    ['gpuImage', '123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:latest', 'an image of a private ECR by a version'],
    ['gpuImage', '123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm', 'an image of a private ECR by a version'],
    ['gpuWeights', 's3://models', 'a folder of a bucket'],
    ['gpuInstanceTypes', 'g6e', 'instance types, separated by commas'],
    ['externalKeys', 'arn:aws:kms:eu-west-1:123456789012:alias/customer', 'ARNs of KMS keys, not of aliases'],
    ['externalKeys', 'arn:aws:kms:eu-west-1:123456789012:key/*', 'ARNs of KMS keys'],
    ['replyQueues', 'orders', 'a JSON object: for each alias'],
    ['replyQueues', '["https://sqs.eu-west-1.amazonaws.com/123456789012/answers"]', 'a JSON object'],
    ['replyQueues', '{"orders":"http://sqs.eu-west-1.amazonaws.com/123456789012/answers"}', 'a JSON object'],
    ['replyQueues', '{"orders":"https://example.com/123456789012/answers"}', 'a JSON object'],
    ['replyQueues', '{"all":"https://sqs.eu-west-1.amazonaws.com/123456789012/*"}', 'a JSON object'],
    ['replyQueues', '{"two words":"https://sqs.eu-west-1.amazonaws.com/123456789012/answers"}', 'a JSON object'],
    ['senderSources', 'arn:aws:s3:::uploads', 'ARNs of rules of EventBridge or topics of SNS'],
    ['senderSources', 'arn:aws:events:eu-west-1:123456789012:rule/*', 'ARNs of rules'],
    ['senderSources', 'arn:aws:events:eu-west-1:123456789012:rule/orders,', 'ARNs of rules'],
    ['senderSources', 'events.amazonaws.com', 'ARNs of rules'],
    ['senderPrincipals', '*', 'ARNs of roles or users, or account ids'],
    ['senderPrincipals', 'arn:aws:iam::222222222222:role/*', 'ARNs of roles or users, or account ids'],
  ])('parseSettings rejects %s=%s', (name, value, rule) => {
    const message = `Invalid settings:\n- ${name} is ${JSON.stringify(value)}, but must be ${rule}`;
    expect(() => makeSettings({ [name]: value })).toThrow(message);
  });

  it.each([
    [{ chatProvisioned: 11 }, 'chatProvisionedMax (10) is below chatProvisioned (11)'],
    [{ authorizeProvisioned: 6 }, 'authorizeProvisionedMax (5) is below authorizeProvisioned (6)'],
    [{ dispatchConcurrency: 3 }, 'dispatchConcurrencyMax (2) is below dispatchConcurrency (3)'],
    [{ jobShards: 8 }, 'jobShardsRead (4) is below jobShards (8)'],
    [{ sweepParts: 5 }, 'jobShardsRead (4) is below sweepParts (5)'],
    [
      { chatTimeoutSeconds: 10 },
      "alarmFirstTokenMs (10000) is not below the function's timeout of 10 s (chatTimeoutSeconds)",
    ],
    [{ sessionsProvisioned: 6 }, 'sessionsProvisionedMax (5) is below sessionsProvisioned (6)'],
    [{ responsesProvisioned: 6 }, 'responsesProvisionedMax (5) is below responsesProvisioned (6)'],
    [{ alarmSessionsLatencyMs: 29_000 }, "alarmSessionsLatencyMs (29000) is not below the function's timeout of 29 s"],
    [
      { responsesTimeoutSeconds: 5 },
      "alarmResponsesLatencyMs (5000) is not below the function's timeout of 5 s (responsesTimeoutSeconds)",
    ],
    [{ alarmAuthorizeLatencyMs: 5_000 }, "alarmAuthorizeLatencyMs (5000) is not below the function's timeout of 5 s"],
    [{ ...GPU, gpuImage: '' }, 'gpuImage must be set together with gpuFleet'],
    [{ ...GPU, gpuWeights: '' }, 'gpuWeights must be set together with gpuFleet'],
    [{ ...GPU, gpuWeightsImage: '' }, 'gpuWeightsImage must be set together with gpuFleet'],
    [{ ...GPU, gpuEgress: 'endpoints' }, 'gpuWeightsImage must be in a private ECR repository'],
  ])('parseSettings rejects the combination %j', (settings, message) => {
    expect(() => makeSettings(settings)).toThrow(`Invalid settings:\n- ${message}`);
  });

  it('parseSettings names the setting that an unknown name is most like, if any is like it', () => {
    expect(() => makeSettings({ chatMemory: 512 })).toThrow(
      '- chatMemory is not a setting: did you mean chatMemoryMb?',
    );
    expect(() => makeSettings({ alarmSweepFailure: 1 })).toThrow('did you mean alarmSweepFailures?');
    expect(() => makeSettings({ colour: 'blue' })).toThrow(/- colour is not a setting$/);
  });

  it('parseSettings rejects a setting without a value', () => {
    const { logLevel: _, ...others } = PARAMS['default'] ?? {};
    expect(() => parseSettings(others)).toThrow('- logLevel has no value. It must be one of debug, info, warn, error');
  });
});

it('packaging names all invalid settings at once, of the command line and of the stage, and nothing else', async () => {
  const settings = ['chatMemory=512', 'chatProvisionedMax=1', 'throttleRate=many'].flatMap((each) => ['--param', each]);
  await expect(packageStage('--stage', 'prod', '--region', 'eu-west-9', ...settings)).rejects.toThrow(
    new RegExp(
      `^${[
        'osls could not package the service.',
        'Invalid settings:',
        '- chatMemory is not a setting: did you mean chatMemoryMb\\?',
        '- region is "eu-west-9", but must be an AWS region, such as eu-west-1',
        '- throttleRate is "many", but must be a number, 1 to 100000',
        '- chatProvisionedMax \\(1\\) is below chatProvisioned \\(2\\)',
      ].join('\n')}$`,
    ),
  );
});
