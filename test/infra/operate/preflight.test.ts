import { afterEach, describe, expect, it } from 'vitest';
import { type PreflightInput, runPreflight } from '../../../infra/operate/preflight.ts';
import type { Template } from '../../../infra/template.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { FUNCTIONS, GPU_CANARY, GPU_MODELS, packageStage, packageWithGpus, packageWithModels } from '../packaged.ts';
import { type AwsStandIn, type Operations, startAws } from './aws-stand-in.ts';

const bedrockModel = { targets: [{ provider: 'bedrock', model: 'global.amazon.nova-2-lite-v1:0' }] };
const REGISTRY = parseModelRegistry(JSON.stringify({ models: { default: bedrockModel } }), 'models.json');

/** An account in which nothing is missing. */
const HEALTHY: Operations = {
  GetCallerIdentity: () => ({
    body: '<Account>123456789012</Account><Arn>arn:aws:sts::123456789012:assumed-role/Deployer/me</Arn>',
  }),
  GetRole: ({ RoleName }) => ({
    body: `<Role><Arn>arn:aws:iam::123456789012:role/teams/${RoleName}</Arn><RoleName>${RoleName}</RoleName></Role>`,
  }),
  SimulatePrincipalPolicy: (parameters) => ({ body: decide(parameters, () => 'allowed') }),
  ListStackResources: () => ({ error: 'ValidationError', message: 'Stack with id lambent-dev does not exist' }),
  'GET /2016-08-19/account-settings': () => describeAccount(1_000),
  'GET /account': () => ({ body: { cloudwatchRoleArn: 'arn:aws:iam::123456789012:role/logs' } }),
  GetServiceQuota: () => ({ body: { Quota: { Value: 1_000 } } }),
  DescribeTable: () => ({ error: 'ResourceNotFoundException' }),
  GetQueueUrl: () => ({ error: 'QueueDoesNotExist' }),
  DescribeLogGroups: () => ({ body: { logGroups: [] } }),
  ListAliases: () => ({ body: { Aliases: [] } }),
  GetTopicAttributes: () => ({ status: 404, error: 'NotFound' }),
  DescribeAlarms: () => ({}),
  DescribeRule: () => ({ error: 'ResourceNotFoundException' }),
  DescribeClusters: () => ({}),
  DescribeCapacityProviders: () => ({}),
  DescribeLaunchTemplates: () => ({ body: '' }),
  DescribeAutoScalingGroups: () => ({ body: '' }),
  ...Object.fromEntries(
    FUNCTIONS.flatMap((name) =>
      ['dev', 'prod'].map((stage) => [
        `GET /2015-03-31/functions/lambent-${stage}-${name}/configuration`,
        () => ({ status: 404, error: 'ResourceNotFoundException' }),
      ]),
    ),
  ),
};

const describeAccount = (quota: number, unreserved = quota) => ({
  body: { AccountLimit: { ConcurrentExecutions: quota, UnreservedConcurrentExecutions: unreserved } },
});

/** Returns IAM's results of a simulation. */
function decide(parameters: Readonly<Record<string, unknown>>, choose: (action: string, resource: string) => string) {
  const actions = Object.entries(parameters).filter(([name]) => name.startsWith('ActionNames.member.'));
  const resource = String(parameters['ResourceArns.member.1']);
  const results = actions.map(
    ([, action]) =>
      `<member><EvalActionName>${action}</EvalActionName><EvalDecision>${choose(String(action), resource)}</EvalDecision></member>`,
  );
  return `<EvaluationResults>${results.join('')}</EvaluationResults><IsTruncated>false</IsTruncated>`;
}

let aws: AwsStandIn | undefined;
afterEach(() => aws?.close());

/** Runs the preflight in an account that differs from a healthy one by `operations`. */
async function run(operations: Operations, input: Partial<PreflightInput> = {}) {
  aws = await startAws({ ...HEALTHY, ...operations });
  const template: Template = input.template ?? { Resources: {} };
  return runPreflight({
    ...{ stage: 'dev', region: 'eu-west-1', stackName: 'lambent-dev', settings: {}, registry: REGISTRY, template },
    clientConfig: { ...aws.clientConfig },
    ...input,
  });
}

describe('runPreflight', () => {
  it('names that AWS does not show to the caller are a warning, and the others are checked', async () => {
    const template = await packageStage('--stage', 'prod');
    const findings = await run(
      {
        DescribeAlarms: () => ({ status: 403, error: 'AccessDenied', message: 'not you' }),
        GetQueueUrl: () => ({ body: { QueueUrl: 'https://sqs.eu-west-1.amazonaws.com/123456789012/q' } }),
      },
      { template, stage: 'prod', stackName: 'lambent-prod' },
    );
    expect(findings).toContainEqual({
      level: 'warning',
      problem: 'It could not be checked whether an alarm outside the stack has a name of this stage: not you',
      remedy: expect.any(String),
    });
    expect(findings.filter(({ level }) => level === 'error')).toHaveLength(7);
  });

  it('the preflight finds nothing in an account in which nothing is missing, and calls no model', async () => {
    const template = await packageStage('--stage', 'prod');
    expect(await run({}, { template, stage: 'prod', stackName: 'lambent-prod' })).toEqual([]);
    expect(aws?.requested.filter((operation) => operation.includes('converse'))).toEqual([]);
  });

  it('the preflight lists all findings at once, errors first', async () => {
    const template = await packageStage('--stage', 'prod');
    const findings = await run(
      { 'GET /2016-08-19/account-settings': () => describeAccount(10), 'GET /account': () => ({ body: {} }) },
      { template, stage: 'prod', stackName: 'lambent-prod' },
    );
    expect(findings.map(({ level }) => level)).toEqual(['error', 'error']);
  });

  it('a check that AWS does not answer is a warning, and the others are made', async () => {
    const findings = await run({
      'GET /2016-08-19/account-settings': () => ({ status: 403, error: 'AccessDeniedException', message: 'not you' }),
      SimulatePrincipalPolicy: (parameters) => ({ body: decide(parameters, () => 'implicitDeny') }),
    });
    expect(findings.map(({ level }) => level)).toEqual(['error', 'warning']);
    expect(findings[1]?.problem).toBe('The check of the concurrency quota could not be made: not you');
    expect(findings[1]?.remedy).toContain('Allow the action');
  });
});

describe("the check of the caller's permissions", () => {
  it('the check of permissions simulates the role of a session with its path and names missing actions', async () => {
    const principals = new Set<unknown>();
    const [finding, ...more] = await run({
      SimulatePrincipalPolicy: (parameters) => {
        principals.add(parameters['PolicySourceArn']);
        return {
          body: decide(parameters, (action) => (/sqs:(Create|Tag)Queue/.test(action) ? 'implicitDeny' : 'allowed')),
        };
      },
    });
    expect(principals).toEqual(new Set(['arn:aws:iam::123456789012:role/teams/Deployer']));
    expect(finding).toMatchObject({
      level: 'error',
      problem: expect.stringContaining(': sqs:CreateQueue, sqs:TagQueue.'),
    });
    expect(finding?.remedy).not.toContain('gpu.json');
    expect(more).toEqual([]);
  });

  it('the check of permissions accepts a policy that names exactly the stage’s resources', async () => {
    const allowed =
      /^\*$|^arn:aws:(apigateway|application-autoscaling|secretsmanager|bedrock|s3)|:event-source-mapping:|:key\/|aws-service-role|TargetTracking|:(role|user)\/x$|lambent-dev([-/]|$)/;
    const choose = (_: string, resource: string) => (allowed.test(resource) ? 'allowed' : 'implicitDeny');
    expect(await run({ SimulatePrincipalPolicy: (parameters) => ({ body: decide(parameters, choose) }) })).toEqual([]);
  });

  it('the check of permissions adds those for GPU workers if the stack runs them', async () => {
    const findings = await run(
      {
        SimulatePrincipalPolicy: (parameters) => ({
          body: decide(parameters, (action) => (action === 'ecs:CreateService' ? 'implicitDeny' : 'allowed')),
        }),
      },
      { template: await packageWithGpus() },
    );
    expect(findings[0]?.problem).toContain('ecs:CreateService');
    expect(findings[0]?.remedy).toContain('gpu.json');
  });

  it.each([
    ['managed', 'AWS::Lambda::CapacityProvider'],
    ['edge', 'AWS::ApiGateway::DomainName'],
    ['edge', 'AWS::WAFv2::WebACL'],
  ])('the check of permissions adds those of %s.json if the stack has %s', async (policy, Type) => {
    const refuse: Operations = {
      SimulatePrincipalPolicy: (parameters) => ({ body: decide(parameters, () => 'implicitDeny') }),
    };
    const [needed] = await run(refuse, { template: { Resources: { X: { Type } } } });
    expect(needed?.remedy).toContain(`${policy}.json`);
    await aws?.close();
    const [without] = await run(refuse);
    expect(without?.remedy).not.toContain(`${policy}.json`);
  });

  it('the check of permissions is a warning if the caller may not simulate', async () => {
    const findings = await run({ SimulatePrincipalPolicy: () => ({ status: 403, error: 'AccessDenied' }) });
    expect(findings).toMatchObject([{ level: 'warning', problem: expect.stringContaining('SimulatePrincipalPolicy') }]);
  });

  it('the check of permissions asks nothing about the root user', async () => {
    const Arn = '<Account>123456789012</Account><Arn>arn:aws:iam::123456789012:root</Arn>';
    await run({ GetCallerIdentity: () => ({ body: Arn }) });
    expect(aws?.requested).not.toContain('SimulatePrincipalPolicy');
  });
});

describe('the check of concurrency', () => {
  const quota = (...args: Parameters<typeof describeAccount>): Operations => ({
    'GET /2016-08-19/account-settings': () => describeAccount(...args),
  });
  const prod = { stage: 'prod', stackName: 'lambent-prod', settings: {} };

  it('the check of concurrency accepts the default settings in a new account', async () => {
    expect(await run(quota(10), { template: await packageStage() })).toEqual([]);
  });

  it('the check of concurrency refuses provisioned concurrency that does not leave 100 executions', async () => {
    // prod provisions 2 for chat, and 1 each for authorize, sessions and responses.
    const template = await packageStage('--stage', 'prod');
    const [finding] = await run(quota(104), { ...prod, template });
    expect(finding?.level).toBe('error');
    expect(finding?.problem).toContain('provisions or reserves 5');
    expect(finding?.remedy).toContain('--quota-code L-B99A9384 --desired-value 105');
    await aws?.close();
    expect((await run(quota(105), { ...prod, template })).filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('the check of concurrency counts what other functions reserved', async () => {
    const template = await packageStage('--stage', 'prod');
    const [finding] = await run(quota(1_000, 104), { ...prod, template });
    expect(finding?.remedy).toContain('--desired-value 1001');
  });

  it('the check of concurrency warns of a maximum to which provisioned concurrency could not scale', async () => {
    const template = await packageStage('--stage', 'prod');
    expect(await run(quota(124), { ...prod, template })).toMatchObject([
      { level: 'warning', problem: expect.stringContaining('maximum of 25') },
    ]);
  });

  it('the check of concurrency warns of queued work that may use every execution', async () => {
    const settings = { dispatchConcurrency: '2', dispatchConcurrencyMax: '50' };
    expect(await run(quota(55), { template: await packageWithModels(GPU_MODELS), settings })).toMatchObject([
      { level: 'warning', problem: expect.stringContaining('may use 55') },
    ]);
    await aws?.close();
    expect(await run(quota(50), { template: await packageStage(), settings })).toEqual([]);
  });
});

describe('the check of models', () => {
  const path = 'POST /model/global.amazon.nova-2-lite-v1:0/converse';

  it('the check of models asks each model for one token if the operator agreed', async () => {
    const bodies: unknown[] = [];
    const answer = { output: { message: { role: 'assistant', content: [{ text: 'H' }] } }, stopReason: 'max_tokens' };
    const findings = await run(
      {
        [path]: (body) => {
          bodies.push(body);
          return { body: { ...answer, usage: {}, metrics: {} } };
        },
      },
      { checkModels: true },
    );
    expect(findings).toEqual([]);
    expect(bodies).toMatchObject([{ inferenceConfig: { maxTokens: 1 } }]);
  });

  it.each([
    ['AccessDeniedException', 'You have no access to the model', 'error'],
    ['ValidationException', 'The provided model identifier is invalid.', 'error'],
    ['ThrottlingException', 'Too many requests', 'warning'],
    ['ValidationException', 'maxTokens must be at least 16', undefined],
  ])('the check of models maps %s: %s to the level %s', async (error, message, level) => {
    const status = error === 'ThrottlingException' ? 429 : 400;
    const findings = await run({ [path]: () => ({ status, error, message }) }, { checkModels: true });
    expect(findings.map((finding) => finding.level)).toEqual(level === undefined ? [] : [level]);
  });
});

describe('the check of a GPU fleet', () => {
  const quotas = (onDemand: number, spot: number): Operations => ({
    GetServiceQuota: ({ QuotaCode }) => ({ body: { Quota: { Value: QuotaCode === 'L-DB2E81BA' ? onDemand : spot } } }),
  });

  it('the check of a GPU fleet refuses quotas with which no worker could start', async () => {
    // The first of up to 6 g6e.xlarge with 4 virtual CPUs each is on demand.
    const findings = await run(quotas(0, 20), { template: await packageWithGpus(GPU_CANARY) });
    expect(findings).toMatchObject([
      { level: 'error', remedy: expect.stringContaining('--quota-code L-DB2E81BA --desired-value 4') },
    ]);
  });

  it('the check of a GPU fleet warns of quotas below the maximum number of workers', async () => {
    const findings = await run(quotas(4, 16), { template: await packageWithGpus(GPU_CANARY) });
    expect(findings).toMatchObject([
      { level: 'warning', remedy: expect.stringContaining('--quota-code L-3819A6DF --desired-value 20') },
    ]);
  });

  it('the check of a GPU fleet names the service-linked roles that the account lacks', async () => {
    const GetRole = (parameters: Readonly<Record<string, unknown>>) =>
      String(parameters['RoleName']).startsWith('AWSServiceRole')
        ? { status: 404, error: 'NoSuchEntity' }
        : (HEALTHY['GetRole']?.(parameters) ?? {});
    const findings = await run({ GetRole }, { template: await packageWithGpus() });
    expect(findings.map(({ level, remedy }) => [level, remedy])).toEqual([
      ['error', expect.stringContaining('--aws-service-name ecs.amazonaws.com')],
      ['warning', expect.stringContaining('--aws-service-name spot.amazonaws.com')],
    ]);
  });
});
