import { beforeAll, describe, expect, test } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { EVERYTHING, objectsIn, ofType, packaged, packagedWithGpus, statementsIn } from './packaged.ts';

/** Where an asterisk in a policy is right, and why. */
const WILDCARDS: ReadonlyMap<string, string> = new Map([
  ['ModelsPolicy1/ModelsBehindProfiles', "a profile's regions are AWS's to choose; the profile is a condition"],
  ...['ChatRole', 'SessionsRole', 'ResponsesRole', 'GenerateRole', 'DispatchRole', 'SweepRole'].map(
    (role) => [`${role}/Objects`, "all tenants' bodies in one bucket"] as const,
  ),
  ['SweepRole/ConversationItems', "all tenants' items in one bucket"],
  ['GenerateRole/Inbox', "all tenants' inboxes in one bucket"],
  ['DataKey/Administration', 'in a key policy, * is the key itself'],
  ['DataKey/StoredData', 'in a key policy, * is the key itself'],
  ['DataKey/GrantsToServicesOnly', 'a denial'],
  ['DataKey/Alarms', 'in a key policy, * is the key itself'],
  ['VaultKey/Administration', 'in a key policy, * is the key itself'],
  ['VaultKey/TenantKeys', 'in a key policy, * is the key itself'],
  ['VaultKey/GrantsToServicesOnly', 'a denial'],
  ['BucketPolicy/OnlyTls', 'a denial'],
  ['GenerationQueuePolicy/OnlyTls', 'a denial'],
  ['GenerationDlqPolicy/OnlyTls', 'a denial'],
  ['GpuQueuePolicy/OnlyTls', 'a denial'],
  ['GpuDlqPolicy/OnlyTls', 'a denial'],
  ['AlarmTopicPolicy/OnlyTls', 'a denial'],
  ['ServerlessDeploymentBucketPolicy/', 'a denial of requests without TLS, by osls'],
]);

/** The same, of a stack that runs a GPU fleet. */
const GPU_WILDCARDS: ReadonlyMap<string, string> = new Map([
  ...['ChatRole', 'DispatchRole', 'FleetRole'].flatMap((role) => [
    [`${role}/JoinVpc`, 'Lambda accepts no narrower resource for the interfaces that it makes'] as const,
    [`${role}/OnlyLambda`, 'a denial'] as const,
  ]),
  ['FleetRole/ListTasks', 'a list has no resource; the cluster is a condition'],
  ['FleetRole/Tasks', 'tasks of its cluster'],
  ['FleetRole/Instances', 'machines of its cluster'],
  ['DataKey/EngineLogs', 'in a key policy, * is the key itself'],
  ['GpuS3Endpoint/Bodies', 'an endpoint names places; roles say who'],
  ['GpuS3Endpoint/Weights', 'an endpoint names places; roles say who'],
  ['GpuS3Endpoint/LayersAndPackages', 'an endpoint names places; roles say who'],
  ['GpuDynamoDBEndpoint/Tables', 'an endpoint names places; roles say who'],
  ['GpuTaskRole/Weights', 'the files of one model'],
  ['GpuExecutionRole/Registry', "ECR's token names no repository"],
  ['GpuInstanceRole/FindAgentEndpoint', 'it has no resource'],
  ['GpuInstanceRole/Work', 'machines of its cluster'],
  ['GpuInstanceRole/Metrics', 'it has no resource; the namespace is a condition'],
]);

let minimal: Template;
let everything: Template;
let withGpus: Template;
beforeAll(async () => {
  [minimal, everything, withGpus] = await Promise.all([packaged(), packaged(...EVERYTHING), packagedWithGpus()]);
});

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

  test('of a stack with GPU workers hold an asterisk in a few more places, each with its reason', () => {
    const used = statementsIn(withGpus).filter(({ statement }) => asterisk(statement));
    const more = new Set(used.map(({ where }) => where).filter((where) => !WILDCARDS.has(where)));
    expect(more).toEqual(new Set(GPU_WILDCARDS.keys()));
  });

  test('of an action are always spelled out', () => {
    for (const { where, statement } of [...statementsIn(everything), ...statementsIn(withGpus)]) {
      if (statement['Effect'] === 'Allow') expect(JSON.stringify(statement['Action']), where).not.toContain('*');
    }
  });

  test('of a function are what it does', () => {
    const models = [
      ...['bedrock:InvokeModel', 'bedrock:InvokeModelWithResponseStream'],
      ...['kms:Decrypt', 'secretsmanager:GetSecretValue', 'ssm:GetParameter'],
    ];
    const items = (table: string, actions: readonly string[]) => actions.map((action) => `${table} dynamodb:${action}`);
    const createKeys = items('KeysTable', ['GetItem', 'PutItem', 'UpdateItem']);
    const work = ['BatchWriteItem', 'GetItem', 'PutItem', 'Query', 'UpdateItem'];
    const sessions = items('SessionsTable', [...work, 'DeleteItem']);
    const readKey = ['DataKey kms:Decrypt', 'VaultKey kms:Decrypt'];
    const storeKey = [...readKey, 'VaultKey kms:GenerateDataKey', 'DataKey kms:GenerateDataKey'];
    const readObjects = ['Bucket s3:DeleteObject', 'Bucket s3:GetObject', 'Bucket s3:ListBucket'];
    const objects = [...readObjects, 'Bucket s3:PutObject'];
    // Whoever answers calls with idempotency keys keeps their records beside the jobs, and frees them.
    const claims = items('JobsTable', ['DeleteItem']);
    const worker = [...createKeys, ...items('JobsTable', work), ...sessions, ...storeKey, ...objects];
    // Whoever answers for what others accepted seals with a key that is there.
    const answerer = [
      ...[...items('KeysTable', ['GetItem']), ...items('JobsTable', work), ...sessions],
      ...[...readKey, 'DataKey kms:GenerateDataKey', ...objects],
    ];
    const send = ['GenerationQueue sqs:SendMessage', 'GpuQueue sqs:SendMessage'];
    const slots = items('FleetTable', [
      'BatchGetItem',
      'BatchWriteItem',
      'DeleteItem',
      'PutItem',
      'Query',
      'UpdateItem',
    ]);
    const receive = ['ChangeMessageVisibility', 'DeleteMessage', 'GetQueueAttributes', 'ReceiveMessage'];
    const expected: Readonly<Record<string, readonly string[]>> = {
      AuthorizeRole: ['AccessTable dynamodb:GetItem', 'DataKey kms:Decrypt'],
      ChatRole: [...worker, ...claims, ...send, ...slots],
      SessionsRole: [...worker, ...claims],
      ResponsesRole: [...items('KeysTable', ['GetItem']), ...items('JobsTable', work), ...readKey, ...readObjects],
      GenerateRole: [
        ...['AccessTable dynamodb:GetItem', 'GenerationDlq sqs:SendMessage', ...send],
        ...receive.map((action) => `GenerationQueue sqs:${action}`),
        ...worker,
      ],
      DispatchRole: [
        ...['GpuDlq sqs:SendMessage', ...send, ...slots],
        ...receive.map((action) => `GpuQueue sqs:${action}`),
        ...answerer,
      ],
      SweepRole: [...answerer, ...send],
      FleetRole: [
        ...items('FleetTable', ['DeleteItem', 'PutItem', 'Query', 'UpdateItem']),
        ...['DataKey kms:Decrypt', 'GpuQueue sqs:GetQueueAttributes'],
        // Of the mapping that brings the GPU queue to dispatch: its ARN is made of several parts.
        ...[' lambda:GetEventSourceMapping', ' lambda:UpdateEventSourceMapping'],
      ],
      WarmupRole: ['AuthorizeLambdaFunction lambda:InvokeFunction', 'ChatLambdaFunction lambda:InvokeFunction'],
    };
    for (const [role, grants] of Object.entries(expected)) {
      expect(grantsOf(role), role).toEqual(new Set(grants));
    }
    const { PolicyDocument } = Object(minimal.Resources['ModelsPolicy1']?.Properties);
    const actions = [...objectsIn(PolicyDocument)].flatMap(({ Action = [] }) => [Action].flat());
    expect(new Set(actions)).toEqual(new Set(models));
    const users = ofType(minimal, 'AWS::IAM::Role').filter(
      ({ properties: { ManagedPolicyArns } }) => ManagedPolicyArns,
    );
    expect(users.map(({ id }) => id)).toEqual(['ChatRole', 'GenerateRole', 'DispatchRole']);
    for (const { id, properties } of users)
      expect(properties['ManagedPolicyArns'], id).toEqual([{ Ref: 'ModelsPolicy1' }]);
  });

  test("read engines' keys in functions that talk to engines, and in no other", () => {
    const readers = ofType(withGpus, 'AWS::IAM::Role').filter(({ properties }) =>
      JSON.stringify(properties).includes('parameter/lambent/gpu-key'),
    );
    expect(readers.map(({ id }) => id)).toEqual(['ChatRole', 'DispatchRole', 'FleetRole', 'GpuExecutionRole']);
    expect(JSON.stringify(ofType(withGpus, 'AWS::IAM::ManagedPolicy'))).not.toContain('gpu-key');
  });

  test('reach what programs leave in an inbox in generate alone, which can not write there', () => {
    const grants = statementsIn(minimal).filter(
      ({ where, statement }) => /Role\//.test(where) && /s3:(?!List)/.test(JSON.stringify(statement['Action'])),
    );
    const reach = grants.map(({ where, statement }) => [
      where,
      [statement['Resource']].flat().map((resource) => Object(resource)['Fn::Sub']),
    ]);
    const under = (...folders: string[]) => folders.map((folder) => `\${Bucket.Arn}/*/${folder}/*`);
    const talkers = ['ChatRole', 'SessionsRole', 'GenerateRole', 'DispatchRole'];
    expect(Object.fromEntries(reach)).toEqual({
      ...Object.fromEntries(talkers.map((role) => [`${role}/Objects`, under('job', 'conversation')])),
      'ResponsesRole/Objects': under('job'),
      'SweepRole/Objects': under('job'),
      'SweepRole/ConversationItems': under('conversation'),
      'GenerateRole/Inbox': under('inbox'),
    });
    const actionsOf = (where: string) => grants.find((grant) => grant.where === where)?.statement['Action'];
    expect(actionsOf('SweepRole/Objects')).toEqual(['s3:DeleteObject', 's3:GetObject']);
    expect(actionsOf('SweepRole/ConversationItems')).toEqual(['s3:DeleteObject', 's3:PutObject']);
    const inbox = grants.find(({ where }) => where === 'GenerateRole/Inbox')?.statement;
    expect(inbox?.['Action']).toEqual(['s3:DeleteObject', 's3:GetObject']);
  });

  test('to create tenant keys, and to open them, hold for a named tenant and for sealed records only', () => {
    const statements = statementsIn(minimal).filter(({ where }) => /^VaultKey\/TenantKeys$|Role\/Vault$/.test(where));
    const roles = ['ChatRole', 'SessionsRole', 'ResponsesRole', 'GenerateRole', 'DispatchRole', 'SweepRole'];
    const wheres = statements.map(({ where }) => where);
    expect(new Set(wheres)).toEqual(new Set(['VaultKey/TenantKeys', ...roles.map((role) => `${role}/Vault`)]));
    for (const { where, statement } of statements) {
      expect(statement['Condition'], where).toMatchObject({
        StringEquals: { 'kms:EncryptionContext:purpose': 'sealed-records' },
        Null: { 'kms:EncryptionContext:tenant': 'false' },
      });
    }
  });

  test("to open tenants' keys are given by the key itself to roles of this stack alone", () => {
    const statement = statementsIn(minimal).find(({ where }) => where === 'VaultKey/TenantKeys')?.statement;
    expect(statement?.['Condition']).toMatchObject({
      ArnLike: { 'aws:PrincipalArn': { 'Fn::Sub': expect.stringMatching(/:role\/\$\{AWS::StackName\}-\*$/) } },
    });
  });

  test('to use the key of what is stored are tied to the service that stores it', () => {
    const direct = statementsIn(minimal).filter(
      ({ where, statement }) =>
        /Role\//.test(where) &&
        JSON.stringify(statement['Resource'] ?? '').includes('DataKey') &&
        Object(Object(statement['Condition']).StringEquals)['kms:ViaService'] === undefined,
    );
    expect(direct).toEqual([]);
  });

  /** The statements of one of a role's policies. */
  function policyOf(role: string, name: string): Readonly<Record<string, unknown>>[] {
    const policies: { PolicyName: string; PolicyDocument: { Statement: Record<string, unknown>[] } }[] = Object(
      minimal.Resources[role]?.Properties,
    )['Policies'];
    return policies.find(({ PolicyName }) => PolicyName === name)?.PolicyDocument.Statement ?? [];
  }

  /** `JobsTable dynamodb:Query`: what a role's own policy allows, but for its log. */
  function grantsOf(role: string): Set<string> {
    const grants = policyOf(role, role.replace('Role', '').toLowerCase()).flatMap(({ Action, Resource }) =>
      [Resource].flat().flatMap((resource) => [Action].flat().map((action) => `${nameIn(resource)} ${action}`)),
    );
    return new Set(grants.filter((grant) => !grant.includes(' logs:')));
  }

  /** The logical id that an ARN is made of. */
  function nameIn(resource: unknown): string {
    return /"(?:\$\{)?(\w+)(?:"|\.Arn)/.exec(JSON.stringify(Object.values(Object(resource))))?.[1] ?? '';
  }
});
