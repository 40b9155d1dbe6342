import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { modelsFile } from '../../infra/models-file.ts';
import { modelsPolicy, type Statement, statementsFor } from '../../infra/models-policy.ts';
import { parseRegistry } from '../../shared/inference/registry.ts';

const PARTITION = `\${AWS::Partition}`;
const REGION = `\${AWS::Region}`;
const ACCOUNT = `\${AWS::AccountId}`;
const DATA_KEY = `\${DataKey.Arn}`;

function statementsOf(...targets: object[]): Map<string, Statement> {
  const registry = parseRegistry(JSON.stringify({ models: { one: { targets } } }), 'test');
  return new Map(statementsFor(registry).map((statement) => [statement.Sid, statement]));
}
const bedrock = (model: string, more: object = {}) => statementsOf({ provider: 'bedrock', model, ...more });
const resources = (statement: Statement | undefined) => statement?.Resource.map((arn) => arn['Fn::Sub']);
const upstream = { provider: 'openai-compatible', model: 'm', baseUrl: 'https://api.example.com/v1' };

describe('the registry that is packaged', () => {
  const repository = join(import.meta.dirname, '../../models.json');
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test.each([{}, { MODELS_FILE: '' }, { MODELS_FILE: 'models.json' }])("is the repository's with %j", (environment) => {
    expect(modelsFile(environment)).toBe(repository);
  });

  test('is the one that MODELS_FILE names, wherever that is', () => {
    expect(modelsFile({ MODELS_FILE: '/elsewhere/models.json' })).toBe('/elsewhere/models.json');
  });

  test('is read for the permissions also when MODELS_FILE is empty', async () => {
    vi.stubEnv('MODELS_FILE', '');
    const expected = statementsFor(parseRegistry(readFileSync(repository, 'utf8'), repository));
    expect(await modelsPolicy()).toMatchObject({ PolicyDocument: { Statement: expected } });
  });
});

describe('models on Bedrock', () => {
  test('a model of its own is invoked by its own ARN in the region that is called, and nothing else is', () => {
    const statements = bedrock('openai.gpt-oss-120b-1:0', { region: 'us-west-2' });
    expect([...statements.keys()]).toEqual(['Models']);
    expect(resources(statements.get('Models'))).toEqual([
      `arn:${PARTITION}:bedrock:us-west-2::foundation-model/openai.gpt-oss-120b-1:0`,
    ]);
    expect(statements.get('Models')?.Action).toEqual(['bedrock:InvokeModel', 'bedrock:InvokeModelWithResponseStream']);
  });

  test("a model without a region is called in the function's own", () => {
    expect(resources(bedrock('amazon.nova-lite-v1:0').get('Models'))).toEqual([
      `arn:${PARTITION}:bedrock:${REGION}::foundation-model/amazon.nova-lite-v1:0`,
    ]);
  });

  test.each(['eu', 'us', 'apac', 'us-gov', 'jp', 'au'])(
    'a profile of %s allows its model only through it',
    (geography) => {
      const statements = bedrock(`${geography}.anthropic.claude-x-v1:0`);
      const profile = `arn:${PARTITION}:bedrock:${REGION}:${ACCOUNT}:inference-profile/${geography}.anthropic.claude-x-v1:0`;
      expect([...statements.keys()]).toEqual(['Profiles', 'ModelsBehindProfiles']);
      expect(resources(statements.get('Profiles'))).toEqual([profile]);
      expect(statements.get('ModelsBehindProfiles')).toMatchObject({
        Resource: [{ 'Fn::Sub': `arn:${PARTITION}:bedrock:*::foundation-model/anthropic.claude-x-v1:0` }],
        Condition: { StringEquals: { 'bedrock:InferenceProfileArn': [{ 'Fn::Sub': profile }] } },
      });
    },
  );

  test('a global profile reaches its model in a region and in none', () => {
    expect(resources(bedrock('global.anthropic.claude-x').get('ModelsBehindProfiles'))).toEqual([
      `arn:${PARTITION}:bedrock:*::foundation-model/anthropic.claude-x`,
      `arn:${PARTITION}:bedrock:::foundation-model/anthropic.claude-x`,
    ]);
  });

  test("an application's profile, whose model its name doesn't tell, is conditioned apart from the others", () => {
    const arn = 'arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123';
    const statements = statementsOf(
      { provider: 'bedrock', model: arn },
      { provider: 'bedrock', model: 'eu.amazon.nova-x' },
    );
    expect(statements.get('ModelsBehindApplicationProfiles')).toMatchObject({
      Resource: [{ 'Fn::Sub': `arn:${PARTITION}:bedrock:*::foundation-model/*` }],
      Condition: { StringEquals: { 'bedrock:InferenceProfileArn': [{ 'Fn::Sub': arn }] } },
    });
    expect(resources(statements.get('ModelsBehindProfiles'))).toEqual([
      `arn:${PARTITION}:bedrock:*::foundation-model/amazon.nova-x`,
    ]);
  });

  test('a model given by ARN is allowed by that ARN', () => {
    const arn = 'arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/abc123';
    expect(resources(bedrock(arn).get('Models'))).toEqual([arn]);
  });

  test('a guardrail is allowed by id or by ARN', () => {
    const byId = bedrock('amazon.nova-x', { guardrail: { id: 'gr1', version: '1' } }).get('Guardrails');
    expect(byId?.Action).toEqual(['bedrock:ApplyGuardrail']);
    expect(resources(byId)).toEqual([`arn:${PARTITION}:bedrock:${REGION}:${ACCOUNT}:guardrail/gr1`]);
    const arn = 'arn:aws:bedrock:eu-west-1:123456789012:guardrail/gr2';
    const byArn = bedrock('amazon.nova-x', { guardrail: { id: arn, version: 'DRAFT' } }).get('Guardrails');
    expect(resources(byArn)).toEqual([arn]);
  });

  test('the same model named twice is allowed once', () => {
    const target = { provider: 'bedrock', model: 'amazon.nova-x' };
    expect(resources(statementsOf(target, target).get('Models'))).toHaveLength(1);
  });

  test.each(['amazon.*', 'eu.anthropic.claude-*', REGION, 'amazon.nova ?'])(
    'refuses the name %s, which would say more than a name',
    (model) => {
      expect(() => bedrock(model)).toThrow(/plain name/);
    },
  );
});

describe('keys of other providers', () => {
  test('a parameter is read by its own name, with or without a leading slash', () => {
    const statements = statementsOf({ ...upstream, apiKey: 'ssm:/lambent/a' }, { ...upstream, apiKey: 'ssm:b' });
    expect(resources(statements.get('Parameters'))).toEqual([
      `arn:${PARTITION}:ssm:${REGION}:${ACCOUNT}:parameter/b`,
      `arn:${PARTITION}:ssm:${REGION}:${ACCOUNT}:parameter/lambent/a`,
    ]);
    expect(statements.get('Parameters')?.Action).toEqual(['ssm:GetParameter']);
  });

  test('a secret is read by name and the six characters that AWS adds, or by its whole ARN', () => {
    const arn = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:b-abcdef';
    const statements = statementsOf({ ...upstream, apiKey: 'secret:a' }, { ...upstream, apiKey: `secret:${arn}` });
    expect(resources(statements.get('Secrets'))).toEqual([
      `arn:${PARTITION}:secretsmanager:${REGION}:${ACCOUNT}:secret:a-??????`,
      arn,
    ]);
  });

  test('a reference in a header counts; a plain header and an environment reference need nothing', () => {
    const headers = { 'x-key': 'ssm:c', 'x-plain': 'value' };
    expect([...statementsOf({ ...upstream, headers, apiKey: 'env:KEY' }).keys()]).toEqual([
      'Parameters',
      'DecryptSecrets',
    ]);
    expect(statementsOf({ ...upstream, apiKey: 'env:KEY' })).toEqual(new Map());
  });

  test("a fleet's key counts too", () => {
    const models = { one: { targets: [{ provider: 'gpu', model: 'm', fleet: 'f' }] } };
    const registry = parseRegistry(JSON.stringify({ models, fleets: { f: { apiKey: 'ssm:/lambent/f' } } }), 'test');
    const [parameters] = statementsFor(registry);
    expect(parameters).toMatchObject({ Sid: 'Parameters' });
    expect(resources(parameters)?.[0]).toMatch(/parameter\/lambent\/f$/);
  });

  test("the stack's key opens them through their services only", () => {
    expect(statementsOf({ ...upstream, apiKey: 'ssm:a' }).get('DecryptSecrets')).toMatchObject({
      Action: ['kms:Decrypt'],
      Resource: [{ 'Fn::Sub': DATA_KEY }],
      Condition: {
        StringEquals: { 'kms:ViaService': [{ 'Fn::Sub': `ssm.${REGION}.amazonaws.com` }, expect.anything()] },
      },
    });
  });
});

test('the models.json of the repository is valid and every policy it makes fits into a role (10,240 characters)', () => {
  const file = join(import.meta.dirname, '../../models.json');
  const registry = parseRegistry(readFileSync(file, 'utf8'), file);
  expect(JSON.stringify(statementsFor(registry)).length).toBeLessThan(10_240);
  expect(registry.models['default']?.targets[0]?.provider).toBe('bedrock');
});
