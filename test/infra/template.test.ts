import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { parseRegistry } from '../../shared/inference/registry.ts';
import { EVERYTHING, objectsIn, ofType, packaged } from './packaged.ts';

const FUNCTIONS = ['authorize', 'chat', 'warmup'];

/** Where an asterisk in a policy is right, and why. */
const WILDCARDS: ReadonlyMap<string, string> = new Map([
  ['ChatRole/ModelsBehindProfiles', "a profile's regions are AWS's to choose; the profile is a condition"],
  ['DataKey/Administration', 'in a key policy, * is the key itself'],
  ['DataKey/StoredData', 'in a key policy, * is the key itself'],
  ['DataKey/GrantsToServicesOnly', 'a denial'],
  ['DataKey/Alarms', 'in a key policy, * is the key itself'],
  ['AlarmTopicPolicy/OnlyTls', 'a denial'],
  ['ServerlessDeploymentBucketPolicy/', 'a denial of requests without TLS, by osls'],
]);

let minimal: Template;
let everything: Template;
beforeAll(async () => {
  [minimal, everything] = await Promise.all([packaged(), packaged(...EVERYTHING)]);
});

function functionsOf(template: Template) {
  return ofType(template, 'AWS::Lambda::Function').map(({ id, properties }) => ({
    id,
    name: String(properties['FunctionName']).replace(/^.*-/, ''),
    properties,
  }));
}

describe('functions', () => {
  test('run on Node 24 and arm64, from their own bundle', () => {
    expect(functionsOf(minimal).map(({ name }) => name)).toEqual(FUNCTIONS);
    for (const { name, properties } of functionsOf(minimal)) {
      expect(properties).toMatchObject({
        Runtime: 'nodejs24.x',
        Architectures: ['arm64'],
        Handler: `.build/${name}/index.handler`,
      });
    }
  });

  test('have a role each, that no other has', () => {
    const roles = functionsOf(minimal).map(({ properties }) => JSON.stringify(properties['Role']));
    expect(new Set(roles).size).toBe(FUNCTIONS.length);
    expect(ofType(minimal, 'AWS::IAM::Role')).toHaveLength(FUNCTIONS.length);
  });

  test('write to a log group of their own, made before them and kept for 30 days', () => {
    for (const template of [minimal, everything]) {
      for (const { id, name } of functionsOf(template)) {
        const group = id.replace('LambdaFunction', 'LogGroup');
        expect(template.Resources[group]?.Properties?.['LogGroupName']).toMatch(
          new RegExp(`^/aws/lambda/lambent-\\w+-${name}$`),
        );
        expect(template.Resources[id]?.DependsOn).toContain(group);
      }
      for (const { properties } of ofType(template, 'AWS::Logs::LogGroup'))
        expect(properties['RetentionInDays']).toBe(30);
    }
  });

  test('reserve no concurrency: the account may have 10 executions in all', () => {
    for (const { properties } of functionsOf(minimal))
      expect(properties).not.toHaveProperty('ReservedConcurrentExecutions');
  });

  test('chat has time for the longest request that the registry allows, and to answer after it', () => {
    const file = join(import.meta.dirname, '../../models.json');
    const { models } = parseRegistry(readFileSync(file, 'utf8'), file);
    const longestMs = Math.max(...Object.values(models).map(({ timeoutMs }) => timeoutMs));
    const chat = functionsOf(minimal).find(({ name }) => name === 'chat');
    expect(Number(chat?.properties['Timeout']) * 1000).toBeGreaterThanOrEqual(longestMs + 10_000);
    expect(Number(chat?.properties['Timeout'])).toBeLessThanOrEqual(900);
  });

  test('have the environment that they read, and nothing else', () => {
    const variables = (template: Template) =>
      Object.fromEntries(
        functionsOf(template).map(({ name, properties }) => [name, Object(properties['Environment']).Variables]),
      );
    expect(variables(minimal)).toEqual({
      authorize: { LOG_LEVEL: 'info', ACCESS_TABLE: 'lambent-dev-access' },
      chat: { LOG_LEVEL: 'info', CORS_ORIGIN: '' },
      warmup: { LOG_LEVEL: 'info', WARM_TARGETS: expect.any(String), WARM_HOLD_MS: '100' },
    });
    expect(variables(everything)['chat']).toEqual({ LOG_LEVEL: 'info', CORS_ORIGIN: 'https://app.example.com' });
  });
});

interface PolicyStatement {
  readonly where: string;
  readonly statement: Readonly<Record<string, unknown>>;
}

function statementsIn({ Resources }: Template): PolicyStatement[] {
  return Object.entries(Resources).flatMap(([id, resource]) =>
    [...objectsIn(resource.Properties)]
      .filter((thing) => 'Effect' in thing)
      .map((statement) => ({ where: `${id}/${statement['Sid'] ?? ''}`, statement })),
  );
}

describe('permissions', () => {
  const asterisk = ({ Action, Resource, Principal }: Readonly<Record<string, unknown>>) =>
    JSON.stringify([Action, Resource, Principal]).includes('*');

  test('hold an asterisk only where there is a reason', () => {
    for (const template of [minimal, everything]) {
      for (const { where, statement } of statementsIn(template)) {
        if (asterisk(statement)) expect([...WILDCARDS.keys()]).toContain(where);
      }
    }
  });

  test('have no reason left over', () => {
    const used = statementsIn(everything).filter(({ statement }) => asterisk(statement));
    expect(new Set(used.map(({ where }) => where))).toEqual(new Set(WILDCARDS.keys()));
  });

  test('of an action are always spelled out', () => {
    for (const { where, statement } of statementsIn(everything)) {
      if (statement['Effect'] === 'Allow') expect(JSON.stringify(statement['Action']), where).not.toContain('*');
    }
  });

  test('of a function are what it does', () => {
    const allowed = (role: string) =>
      statementsIn({ Resources: Object.fromEntries(Object.entries(minimal.Resources).filter(([id]) => id === role)) })
        .flatMap(({ statement }) => statement['Action'])
        .flat()
        .filter((action) => action !== 'sts:AssumeRole' && !String(action).startsWith('logs:'));
    expect(allowed('AuthorizeRole')).toEqual(['dynamodb:GetItem', 'kms:Decrypt']);
    expect(allowed('WarmupRole')).toEqual(['lambda:InvokeFunction']);
    expect(new Set(allowed('ChatRole'))).toEqual(
      new Set([
        'bedrock:InvokeModel',
        'bedrock:InvokeModelWithResponseStream',
        'ssm:GetParameter',
        'secretsmanager:GetSecretValue',
        'kms:Decrypt',
      ]),
    );
  });
});

describe('what is stored', () => {
  test('is kept when the stack goes, protected, recoverable and encrypted with our key', () => {
    const tables = ofType(minimal, 'AWS::DynamoDB::Table');
    expect(tables.map(({ id }) => id)).toEqual(['AccessTable']);
    for (const { id, properties } of tables) {
      expect(minimal.Resources[id]?.DeletionPolicy).toBe('Retain');
      expect(properties).toMatchObject({
        BillingMode: 'PAY_PER_REQUEST',
        DeletionProtectionEnabled: true,
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        SSESpecification: { SSEEnabled: true, SSEType: 'KMS', KMSMasterKeyId: { 'Fn::GetAtt': ['DataKey', 'Arn'] } },
        TimeToLiveSpecification: { AttributeName: 'expiresAt', Enabled: true },
      });
    }
  });

  test('is encrypted with a key that turns every 90 days and is read with through its services alone', () => {
    expect(minimal.Resources['DataKey']).toMatchObject({
      DeletionPolicy: 'Retain',
      Properties: { EnableKeyRotation: true, RotationPeriodInDays: 90 },
    });
    const reading = statementsIn(minimal).filter(
      ({ where, statement }) =>
        where.startsWith('DataKey/') && JSON.stringify(statement['Action']).includes('kms:Decrypt'),
    );
    expect(reading.length).toBeGreaterThan(0);
    for (const { statement } of reading) expect(statement).toHaveProperty('Condition');
  });
});

test('the same sources make the same template, but for the time in the names of its bundles', async () => {
  const again = await packaged('--param', 'logLevel=info');
  const timeless = (template: Template) => JSON.stringify(template).replace(/\d{13}-\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME');
  expect(timeless(again)).toBe(timeless(minimal));
});
