import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { resolveModelsFile } from '../../infra/models-file.ts';
import {
  createEngineKeysPolicy,
  createModelsPolicies,
  createPolicyDocuments,
  type Statement,
} from '../../infra/models-policy.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { findByType, packageWithModels } from './packaged.ts';

const PARTITION = `\${AWS::Partition}`;
const REGION = `\${AWS::Region}`;
const ACCOUNT = `\${AWS::AccountId}`;
const DATA_KEY = `\${DataKey.Arn}`;

const parseTargets = (...targets: object[]) =>
  parseModelRegistry(JSON.stringify({ models: { one: { targets } } }), 'test');
function createStatements(...targets: object[]): Map<string, Statement> {
  const [{ Statement } = { Statement: [] }] = createPolicyDocuments(parseTargets(...targets));
  return new Map(Statement.map((statement) => [statement.Sid, statement]));
}
const allowBedrock = (model: string, more: object = {}) => createStatements({ provider: 'bedrock', model, ...more });
const listResources = (statement: Statement | undefined) => statement?.Resource.map((arn) => arn['Fn::Sub']);
afterEach(() => {
  vi.unstubAllEnvs();
});
const upstream = { provider: 'openai-compatible', model: 'm', baseUrl: 'https://api.example.com/v1' };

describe('the packaged registry', () => {
  const repository = join(import.meta.dirname, '../../models.json');
  it.each([{}, { MODELS_FILE: '' }, { MODELS_FILE: 'models.json' }])(
    "the packaged registry is the repository's models.json with the environment %j",
    (environment) => {
      expect(resolveModelsFile(environment)).toBe(repository);
    },
  );

  it('the packaged registry is the file that MODELS_FILE names, also outside the repository', () => {
    expect(resolveModelsFile({ MODELS_FILE: '/elsewhere/models.json' })).toBe('/elsewhere/models.json');
  });

  it('the packaged registry determines the permissions even if MODELS_FILE is empty', async () => {
    vi.stubEnv('MODELS_FILE', '');
    const { embeddings, ...models } = parseModelRegistry(readFileSync(repository, 'utf8'), repository).models;
    const [PolicyDocument] = createPolicyDocuments({ models });
    const { Resources } = await createModelsPolicies();
    expect(Resources).toMatchObject({
      ModelsPolicy1: { Type: 'AWS::IAM::ManagedPolicy', Properties: { PolicyDocument } },
    });
    expect(embeddings?.embeddings).toBeDefined();
  });

  it('the packaged registry gives embeddings permissions of their own, without streams', async () => {
    vi.stubEnv('MODELS_FILE', '');
    const { EmbeddingsPolicy1, ...others } = (await createModelsPolicies()).Resources;
    expect(Object.keys(others)).toEqual(['ModelsPolicy1']);
    expect(Object(EmbeddingsPolicy1).Properties.PolicyDocument.Statement).toEqual([
      {
        Sid: 'Models',
        Effect: 'Allow',
        Action: ['bedrock:InvokeModel'],
        Resource: [{ 'Fn::Sub': `arn:${PARTITION}:bedrock:${REGION}::foundation-model/amazon.titan-embed-text-v2:0` }],
      },
    ]);
  });
});

describe('the permission for a Bedrock target', () => {
  it("the permission for a Bedrock target allows only the model's ARN in the target's region", () => {
    const statements = allowBedrock('openai.gpt-oss-120b-1:0', { region: 'us-west-2' });
    expect([...statements.keys()]).toEqual(['Models']);
    expect(listResources(statements.get('Models'))).toEqual([
      `arn:${PARTITION}:bedrock:us-west-2::foundation-model/openai.gpt-oss-120b-1:0`,
    ]);
    expect(statements.get('Models')?.Action).toEqual(['bedrock:InvokeModel', 'bedrock:InvokeModelWithResponseStream']);
  });

  it("the permission for a Bedrock target defaults to the function's region", () => {
    expect(listResources(allowBedrock('amazon.nova-lite-v1:0').get('Models'))).toEqual([
      `arn:${PARTITION}:bedrock:${REGION}::foundation-model/amazon.nova-lite-v1:0`,
    ]);
  });

  it.each(['eu', 'us', 'apac', 'us-gov', 'jp', 'au'])(
    'the permission for a Bedrock target allows the model behind a profile of %s only through the profile',
    (geography) => {
      const statements = allowBedrock(`${geography}.anthropic.claude-x-v1:0`);
      const profile = `arn:${PARTITION}:bedrock:${REGION}:${ACCOUNT}:inference-profile/${geography}.anthropic.claude-x-v1:0`;
      expect([...statements.keys()]).toEqual(['Profiles', 'ModelsBehindProfiles']);
      expect(listResources(statements.get('Profiles'))).toEqual([profile]);
      expect(statements.get('ModelsBehindProfiles')).toMatchObject({
        Resource: [{ 'Fn::Sub': `arn:${PARTITION}:bedrock:*::foundation-model/anthropic.claude-x-v1:0` }],
        Condition: { StringEquals: { 'bedrock:InferenceProfileArn': [{ 'Fn::Sub': profile }] } },
      });
    },
  );

  it('the permission for a Bedrock target allows the model behind a global profile with and without a region', () => {
    expect(listResources(allowBedrock('global.anthropic.claude-x').get('ModelsBehindProfiles'))).toEqual([
      `arn:${PARTITION}:bedrock:*::foundation-model/anthropic.claude-x`,
      `arn:${PARTITION}:bedrock:::foundation-model/anthropic.claude-x`,
    ]);
  });

  it('the permission for an application profile allows any model behind it, in a statement of its own', () => {
    const arn = 'arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123';
    const statements = createStatements(
      { provider: 'bedrock', model: arn },
      { provider: 'bedrock', model: 'eu.amazon.nova-x' },
    );
    expect(statements.get('ModelsBehindApplicationProfiles')).toMatchObject({
      Resource: [{ 'Fn::Sub': `arn:${PARTITION}:bedrock:*::foundation-model/*` }],
      Condition: { StringEquals: { 'bedrock:InferenceProfileArn': [{ 'Fn::Sub': arn }] } },
    });
    expect(listResources(statements.get('ModelsBehindProfiles'))).toEqual([
      `arn:${PARTITION}:bedrock:*::foundation-model/amazon.nova-x`,
    ]);
  });

  it('the permission for a Bedrock target allows a model that is given by ARN', () => {
    const arn = 'arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/abc123';
    expect(listResources(allowBedrock(arn).get('Models'))).toEqual([arn]);
  });

  it('the permission for a Bedrock target allows a guardrail by id or by ARN', () => {
    const byId = allowBedrock('amazon.nova-x', { guardrail: { id: 'gr1', version: '1' } }).get('Guardrails');
    expect(byId?.Action).toEqual(['bedrock:ApplyGuardrail']);
    expect(listResources(byId)).toEqual([`arn:${PARTITION}:bedrock:${REGION}:${ACCOUNT}:guardrail/gr1`]);
    const arn = 'arn:aws:bedrock:eu-west-1:123456789012:guardrail/gr2';
    const byArn = allowBedrock('amazon.nova-x', { guardrail: { id: arn, version: 'DRAFT' } }).get('Guardrails');
    expect(listResources(byArn)).toEqual([arn]);
  });

  it('the permission for two Bedrock targets with the same model names the model once', () => {
    const target = { provider: 'bedrock', model: 'amazon.nova-x' };
    expect(listResources(createStatements(target, target).get('Models'))).toHaveLength(1);
  });

  it.each(['amazon.*', 'eu.anthropic.claude-*', REGION, 'amazon.nova ?'])(
    'no permission is created for the model name %s, which IAM or CloudFormation would interpret',
    (model) => {
      expect(() => allowBedrock(model)).toThrow(/can't be used in an IAM permission/);
    },
  );
});

describe('the permission for a provider key', () => {
  it('the permission for a provider key allows a parameter by its name, with or without a leading slash', () => {
    const statements = createStatements({ ...upstream, apiKey: 'ssm:/lambent/a' }, { ...upstream, apiKey: 'ssm:b' });
    expect(listResources(statements.get('Parameters'))).toEqual([
      `arn:${PARTITION}:ssm:${REGION}:${ACCOUNT}:parameter/b`,
      `arn:${PARTITION}:ssm:${REGION}:${ACCOUNT}:parameter/lambent/a`,
    ]);
    expect(statements.get('Parameters')?.Action).toEqual(['ssm:GetParameter']);
  });

  it('the permission for a provider key allows a secret by its name with six more characters, or by its ARN', () => {
    const arn = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:b-abcdef';
    const statements = createStatements({ ...upstream, apiKey: 'secret:a' }, { ...upstream, apiKey: `secret:${arn}` });
    expect(listResources(statements.get('Secrets'))).toEqual([
      `arn:${PARTITION}:secretsmanager:${REGION}:${ACCOUNT}:secret:a-??????`,
      arn,
    ]);
  });

  it('the permission for a provider key covers references in headers, but no plain headers or env: references', () => {
    const headers = { 'x-key': 'ssm:c', 'x-plain': 'value' };
    expect([...createStatements({ ...upstream, headers, apiKey: 'env:KEY' }).keys()]).toEqual([
      'Parameters',
      'DecryptSecrets',
    ]);
    expect(createStatements({ ...upstream, apiKey: 'env:KEY' })).toEqual(new Map());
  });

  it("only functions that call a fleet's engines may read the fleet's key", async () => {
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

  it('the permission for a provider key allows decryption only through SSM and Secrets Manager', () => {
    expect(createStatements({ ...upstream, apiKey: 'ssm:a' }).get('DecryptSecrets')).toMatchObject({
      Action: ['kms:Decrypt'],
      Resource: [{ 'Fn::Sub': DATA_KEY }],
      Condition: {
        StringEquals: { 'kms:ViaService': [{ 'Fn::Sub': `ssm.${REGION}.amazonaws.com` }, expect.anything()] },
      },
    });
  });
});

describe('the permissions for many models', () => {
  const createProfiles = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      provider: 'bedrock',
      model: `global.anthropic.claude-sonnet-4-5-20250929-v${index}:0`,
    }));
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lambent-models-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it("the permissions for many models are split into policies within IAM's size limit", () => {
    const documents = createPolicyDocuments(parseTargets(...createProfiles(60), { ...upstream, apiKey: 'ssm:a' }));
    const statements = documents.flatMap(({ Statement }) => Statement);
    expect(documents.length).toBeGreaterThan(1);
    for (const document of documents) expect(measureDeployed(document)).toBeLessThanOrEqual(6_144);
    const allowed = statements.filter(({ Sid }) => Sid === 'Profiles').flatMap(listResources);
    expect(allowed.map((arn) => arn?.replace(/^.*\//, ''))).toEqual(
      expect.arrayContaining(createProfiles(60).map(({ model }) => model)),
    );
    expect(statements.map(({ Sid }) => Sid)).toContain('Parameters');
    for (const { Sid, Resource, Condition } of statements) {
      if (Sid !== 'ModelsBehindProfiles') continue;
      // Each profile has two models: with and without a region.
      expect(Condition?.StringEquals['bedrock:InferenceProfileArn']).toHaveLength(Resource.length / 2);
    }
  });

  it('the permissions for models name each target once, even if several aliases have it', () => {
    const once = createPolicyDocuments(parseTargets(...createProfiles(30)));
    expect(
      createPolicyDocuments(parseTargets(...createProfiles(30), ...createProfiles(30), ...createProfiles(30))),
    ).toEqual(once);
  });

  it('model permissions are managed policies, so that the inline policies of a role stay within 10,240 characters', async () => {
    const file = join(folder, 'models.json');
    await writeFile(file, JSON.stringify({ models: { many: { targets: createProfiles(60) } } }));
    const template = await packageWithModels(file);
    const policies = findByType(template, 'AWS::IAM::ManagedPolicy').map(({ id }) => ({ Ref: id }));
    for (const { id, properties } of findByType(template, 'AWS::IAM::Role')) {
      expect(measureDeployed(properties['Policies']), id).toBeLessThan(10_240);
      const uses = ['ChatRole', 'GenerateRole', 'DispatchRole'].includes(id);
      expect(properties['ManagedPolicyArns'] ?? [], id).toEqual(uses ? policies : []);
    }
  });

  it('more model permissions than a role may have are an error that names their size and the limit', () => {
    expect(() => createPolicyDocuments(parseTargets(...createProfiles(300)))).toThrow(
      /needs \d{5,} characters of permissions. A role may have 10 policies of 6144 characters/,
    );
  });

  /** Returns the size after CloudFormation's replacements. */
  function measureDeployed(value: unknown): number {
    return JSON.stringify(value)
      .replaceAll(/\{"Fn::(?:Sub|GetAtt)":("[^"]*"|\["\w+","Arn"\])\}/g, '$1')
      .replaceAll(DATA_KEY, `arn:aws:kms:ap-southeast-2:123456789012:key/${randomUUID()}`)
      .replaceAll(PARTITION, 'aws')
      .replaceAll(REGION, 'ap-southeast-2')
      .replaceAll(ACCOUNT, '123456789012').length;
  }
});

it("the repository's models.json is valid and needs one policy", () => {
  const file = join(import.meta.dirname, '../../models.json');
  const registry = parseModelRegistry(readFileSync(file, 'utf8'), file);
  expect(createPolicyDocuments(registry)).toHaveLength(1);
  expect(registry.models['default']?.targets[0]?.provider).toBe('bedrock');
});

describe('the permissions for content checks', () => {
  it('both roles may apply exactly the guardrails of the registry, and read the keys of its moderation models', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lambent-models-'));
    const file = join(folder, 'models.json');
    const registry = {
      models: { one: { targets: [upstream] }, two: { targets: [upstream], embeddings: {} } },
      guardrails: {
        near: { id: 'abc', version: '1' },
        far: { id: 'def', version: 'DRAFT', region: 'us-east-1' },
        shared: { id: 'arn:aws:bedrock:eu-west-1:123456789012:guardrail/ghi', version: '2' },
      },
      moderations: { default: { model: 'm', baseUrl: upstream.baseUrl, apiKey: 'ssm:/lambent/moderation' } },
    };
    await writeFile(file, JSON.stringify(registry));
    vi.stubEnv('MODELS_FILE', file);
    const { Resources } = await createModelsPolicies();
    const statements = (id: string) => {
      const { Properties } = Resources[id] as { Properties: { PolicyDocument: { Statement: Statement[] } } };
      return Properties.PolicyDocument.Statement;
    };
    const guardrails = {
      Sid: 'Guardrails',
      Effect: 'Allow',
      Action: ['bedrock:ApplyGuardrail'],
      Resource: [
        `arn:${PARTITION}:bedrock:${REGION}:${ACCOUNT}:guardrail/abc`,
        `arn:${PARTITION}:bedrock:us-east-1:${ACCOUNT}:guardrail/def`,
        'arn:aws:bedrock:eu-west-1:123456789012:guardrail/ghi',
      ].map((arn) => ({ 'Fn::Sub': arn })),
    };
    for (const id of ['ModelsPolicy1', 'EmbeddingsPolicy1']) {
      expect(statements(id)[0]).toEqual(guardrails);
      expect(statements(id).map(({ Sid }) => Sid)).toEqual(['Guardrails', 'Parameters', 'DecryptSecrets']);
    }
    await rm(folder, { recursive: true });
  });
});
