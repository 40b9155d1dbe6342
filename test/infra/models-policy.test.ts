import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { resolveModelsFile } from '../../infra/models-file.ts';
import {
  createEngineKeysPolicy,
  createModelsPolicies,
  createPolicyDocuments,
  type Statement,
} from '../../infra/models-policy.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { ofType, packagedOf } from './packaged.ts';

const PARTITION = `\${AWS::Partition}`;
const REGION = `\${AWS::Region}`;
const ACCOUNT = `\${AWS::AccountId}`;
const DATA_KEY = `\${DataKey.Arn}`;

const registryOf = (...targets: object[]) =>
  parseModelRegistry(JSON.stringify({ models: { one: { targets } } }), 'test');
function statementsOf(...targets: object[]): Map<string, Statement> {
  const [{ Statement } = { Statement: [] }] = createPolicyDocuments(registryOf(...targets));
  return new Map(Statement.map((statement) => [statement.Sid, statement]));
}
const bedrock = (model: string, more: object = {}) => statementsOf({ provider: 'bedrock', model, ...more });
const resources = (statement: Statement | undefined) => statement?.Resource.map((arn) => arn['Fn::Sub']);
afterEach(() => {
  vi.unstubAllEnvs();
});
const upstream = { provider: 'openai-compatible', model: 'm', baseUrl: 'https://api.example.com/v1' };

describe('the registry that is packaged', () => {
  const repository = join(import.meta.dirname, '../../models.json');
  test.each([{}, { MODELS_FILE: '' }, { MODELS_FILE: 'models.json' }])("is the repository's with %j", (environment) => {
    expect(resolveModelsFile(environment)).toBe(repository);
  });

  test('is the one that MODELS_FILE names, wherever that is', () => {
    expect(resolveModelsFile({ MODELS_FILE: '/elsewhere/models.json' })).toBe('/elsewhere/models.json');
  });

  test('is read for the permissions also when MODELS_FILE is empty', async () => {
    vi.stubEnv('MODELS_FILE', '');
    const [PolicyDocument] = createPolicyDocuments(parseModelRegistry(readFileSync(repository, 'utf8'), repository));
    const { Resources } = await createModelsPolicies();
    expect(Resources).toMatchObject({
      ModelsPolicy1: { Type: 'AWS::IAM::ManagedPolicy', Properties: { PolicyDocument } },
    });
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
      expect(() => bedrock(model)).toThrow(/can't be used in an IAM permission/);
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

  test("a fleet's key is for those alone who talk to its engines", async () => {
    vi.stubEnv('MODELS_FILE', 'infra/check/gpu-models.json');
    const key = [{ 'Fn::Sub': expect.stringMatching(/:parameter\/lambent\/gpu-key$/) }];
    expect(await createEngineKeysPolicy()).toMatchObject({
      PolicyName: 'engine-keys',
      PolicyDocument: { Statement: [{ Sid: 'Parameters', Resource: key }, { Sid: 'DecryptSecrets' }] },
    });
    expect(JSON.stringify(await createModelsPolicies())).not.toContain('gpu-key');
    vi.stubEnv('MODELS_FILE', '');
    expect(await createEngineKeysPolicy()).toEqual({ Ref: 'AWS::NoValue' });
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

describe('many models', () => {
  const profiles = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      provider: 'bedrock',
      model: `global.anthropic.claude-sonnet-4-5-20250929-v${index}:0`,
    }));
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lambent-models-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('are divided among policies, each of a size that IAM takes, that together allow all of them', () => {
    const documents = createPolicyDocuments(registryOf(...profiles(60), { ...upstream, apiKey: 'ssm:a' }));
    const statements = documents.flatMap(({ Statement }) => Statement);
    expect(documents.length).toBeGreaterThan(1);
    for (const document of documents) expect(deployedLength(document)).toBeLessThanOrEqual(6_144);
    const allowed = statements.filter(({ Sid }) => Sid === 'Profiles').flatMap(resources);
    expect(allowed.map((arn) => arn?.replace(/^.*\//, ''))).toEqual(
      expect.arrayContaining(profiles(60).map(({ model }) => model)),
    );
    expect(statements.map(({ Sid }) => Sid)).toContain('Parameters');
    for (const { Sid, Resource, Condition } of statements) {
      if (Sid !== 'ModelsBehindProfiles') continue;
      // Each in a region and in none.
      expect(Condition?.StringEquals['bedrock:InferenceProfileArn']).toHaveLength(Resource.length / 2);
    }
  });

  test('take room once, however many aliases have them', () => {
    const once = createPolicyDocuments(registryOf(...profiles(30)));
    expect(createPolicyDocuments(registryOf(...profiles(30), ...profiles(30), ...profiles(30)))).toEqual(once);
  });

  test('fit into roles, whose inline policies may have 10,240 characters together', async () => {
    const file = join(folder, 'models.json');
    await writeFile(file, JSON.stringify({ models: { many: { targets: profiles(60) } } }));
    const template = await packagedOf(file);
    const policies = ofType(template, 'AWS::IAM::ManagedPolicy').map(({ id }) => ({ Ref: id }));
    for (const { id, properties } of ofType(template, 'AWS::IAM::Role')) {
      expect(deployedLength(properties['Policies']), id).toBeLessThan(10_240);
      const uses = ['ChatRole', 'GenerateRole', 'DispatchRole'].includes(id);
      expect(properties['ManagedPolicyArns'], id).toEqual(uses ? policies : undefined);
    }
  });

  test('are refused when a role could not have all their policies, with the sum and the limit', () => {
    expect(() => createPolicyDocuments(registryOf(...profiles(300)))).toThrow(
      /needs \d{5,} characters of permissions. A role may have 10 policies of 6144 characters/,
    );
  });

  /** Of what is left when CloudFormation has put in where it is deployed to. */
  function deployedLength(value: unknown): number {
    return JSON.stringify(value)
      .replaceAll(/\{"Fn::(?:Sub|GetAtt)":("[^"]*"|\["\w+","Arn"\])\}/g, '$1')
      .replaceAll(DATA_KEY, `arn:aws:kms:ap-southeast-2:123456789012:key/${randomUUID()}`)
      .replaceAll(PARTITION, 'aws')
      .replaceAll(REGION, 'ap-southeast-2')
      .replaceAll(ACCOUNT, '123456789012').length;
  }
});

test('the models.json of the repository is valid, and one policy is enough for it', () => {
  const file = join(import.meta.dirname, '../../models.json');
  const registry = parseModelRegistry(readFileSync(file, 'utf8'), file);
  expect(createPolicyDocuments(registry)).toHaveLength(1);
  expect(registry.models['default']?.targets[0]?.provider).toBe('bedrock');
});
