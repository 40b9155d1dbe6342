import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { EVERYTHING, findByType, listStatements, packageStage, packageWithGpus, walkObjects } from './packaged.ts';

/** Statements that may contain an asterisk, with the reason. */
const WILDCARDS: ReadonlyMap<string, string> = new Map([
  ['ModelsPolicy1/ModelsBehindProfiles', "AWS chooses a profile's regions; the profile is a condition"],
  ...['ChatRole', 'SessionsRole', 'ResponsesRole', 'IntakeRole', 'GenerateRole', 'DispatchRole', 'SweepRole'].map(
    (role) => [`${role}/Objects`, "all tenants' bodies in one bucket"] as const,
  ),
  ['SweepRole/ConversationItems', "all tenants' items in one bucket"],
  ['IntakeRole/Inbox', "all tenants' inboxes in one bucket"],
  ...['ChatRole', 'SessionsRole', 'ResponsesRole', 'IntakeRole', 'GenerateRole', 'DispatchRole', 'SweepRole'].map(
    (role) => [`${role}/Vault`, "the vault key, by its alias; only that key's policy admits the role"] as const,
  ),
  ['DataKey/Administration', 'in a key policy, * is the key itself'],
  ['DataKey/StoredData', 'in a key policy, * is the key itself'],
  ['DataKey/GrantsToServicesOnly', 'a denial'],
  ['DataKey/Sources', 'in a key policy, * is the key itself'],
  ['DataKey/Principals', 'in a key policy, * is the key itself'],
  ['DataKey/Alarms', 'in a key policy, * is the key itself'],
  ['VaultKey/Administration', 'in a key policy, * is the key itself'],
  ['VaultKey/TenantKeys', 'in a key policy, * is the key itself'],
  ['VaultKey/RewrapTenantKeys', 'in a key policy, * is the key itself'],
  ['AdminRole/VaultKey', "the vault key, by its alias; only that key's policy admits the role"],
  ['VaultKey/GrantsToServicesOnly', 'a denial'],
  ['BucketPolicy/OnlyTls', 'a denial'],
  ['GenerationQueuePolicy/OnlyTls', 'a denial'],
  ['GenerationDlqPolicy/OnlyTls', 'a denial'],
  ['JobsQueuePolicy/OnlyTls', 'a denial'],
  ['JobsDlqPolicy/OnlyTls', 'a denial'],
  ['GpuQueuePolicy/OnlyTls', 'a denial'],
  ['GpuDlqPolicy/OnlyTls', 'a denial'],
  ...['GenerationDlqPolicy', 'JobsQueuePolicy', 'JobsDlqPolicy', 'GpuQueuePolicy', 'GpuDlqPolicy'].map(
    (policy) => [`${policy}/OnlySenders`, 'a denial'] as const,
  ),
  ['RecordRole/AuditLog', 'the audit log in a bucket of its own'],
  ['AuditKey/Administration', 'in a key policy, * is the key itself'],
  ['AuditKey/Sign', 'in a key policy, * is the key itself'],
  ['AuditBucketPolicy/OnlyTls', 'a denial'],
  ['RecordDlqPolicy/OnlyTls', 'a denial'],
  ['RecordDlqPolicy/OnlySenders', 'a denial'],
  ['AlarmTopicPolicy/OnlyTls', 'a denial'],
  ['ServerlessDeploymentBucketPolicy/', 'a denial of requests without TLS, by osls'],
]);

/** Further statements of a stage that runs a GPU fleet. */
const GPU_WILDCARDS: ReadonlyMap<string, string> = new Map([
  ...['ChatRole', 'EmbeddingsRole', 'DispatchRole', 'FleetRole'].flatMap((role) => [
    [`${role}/JoinVpc`, 'Lambda accepts no narrower resource for network interfaces'] as const,
    [`${role}/OnlyLambda`, 'a denial'] as const,
  ]),
  ['FleetRole/ListTasks', 'ListTasks supports no resource; the cluster is a condition'],
  ['FleetRole/Tasks', 'tasks of its cluster'],
  ['FleetRole/Instances', 'machines of its cluster'],
  ['DataKey/EngineLogs', 'in a key policy, * is the key itself'],
  ['GpuS3Endpoint/Bodies', 'an endpoint policy limits resources; roles limit the callers'],
  ['GpuS3Endpoint/Weights', 'an endpoint policy limits resources; roles limit the callers'],
  ['GpuS3Endpoint/LayersAndPackages', 'an endpoint policy limits resources; roles limit the callers'],
  ['GpuDynamoDBEndpoint/Tables', 'an endpoint policy limits resources; roles limit the callers'],
  ['GpuTaskRole/Weights', 'the files of one model'],
  ['GpuExecutionRole/Registry', "ECR's token belongs to no repository"],
  ['GpuInstanceRole/FindAgentEndpoint', 'the action supports no resource'],
  ['GpuInstanceRole/Work', 'machines of its cluster'],
  ['GpuInstanceRole/Metrics', 'the action supports no resource; the namespace is a condition'],
]);

let minimal: Template;
let everything: Template;
let withGpus: Template;
beforeAll(async () => {
  [minimal, everything, withGpus] = await Promise.all([packageStage(), packageStage(...EVERYTHING), packageWithGpus()]);
});

describe('the policies of the template', () => {
  const hasAsterisk = ({ Action, Resource, Principal }: Readonly<Record<string, unknown>>) =>
    JSON.stringify([Action, Resource, Principal]).includes('*');

  it('the policies have an asterisk only in statements with a documented reason', () => {
    for (const template of [minimal, everything]) {
      for (const { where, statement } of listStatements(template)) {
        if (hasAsterisk(statement)) expect([...WILDCARDS.keys()]).toContain(where);
      }
    }
  });

  it('every documented reason for an asterisk applies to a policy', () => {
    const used = listStatements(everything).filter(({ statement }) => hasAsterisk(statement));
    expect(new Set(used.map(({ where }) => where))).toEqual(new Set(WILDCARDS.keys()));
  });

  it('the policies have further documented asterisks in a stage that runs GPU workers', () => {
    const used = listStatements(withGpus).filter(({ statement }) => hasAsterisk(statement));
    const more = new Set(used.map(({ where }) => where).filter((where) => !WILDCARDS.has(where)));
    expect(more).toEqual(new Set(GPU_WILDCARDS.keys()));
  });

  it('the policies allow no action by an asterisk', () => {
    for (const { where, statement } of [...listStatements(everything), ...listStatements(withGpus)]) {
      if (statement['Effect'] === 'Allow') expect(JSON.stringify(statement['Action']), where).not.toContain('*');
    }
  });

  it('the policies allow each function exactly the actions that it uses', () => {
    const models = [
      ...['bedrock:InvokeModel', 'bedrock:InvokeModelWithResponseStream'],
      ...['kms:Decrypt', 'secretsmanager:GetSecretValue', 'ssm:GetParameter'],
    ];
    const items = (table: string, actions: readonly string[]) => actions.map((action) => `${table} dynamodb:${action}`);
    const createKeys = items('KeysTable', ['GetItem', 'PutItem', 'UpdateItem']);
    const work = ['BatchWriteItem', 'GetItem', 'PutItem', 'Query', 'UpdateItem'];
    const sessions = items('SessionsTable', work);
    const deleteSessions = items('SessionsTable', ['DeleteItem']);
    const limits = items('LimitsTable', ['GetItem', 'UpdateItem']);
    const countStored = items('LimitsTable', ['UpdateItem']);
    const readKey = ['DataKey kms:Decrypt', 'VaultKey kms:Decrypt'];
    const storeKey = [...readKey, 'VaultKey kms:GenerateDataKey', 'DataKey kms:GenerateDataKey'];
    const readObjects = ['Bucket s3:DeleteObject', 'Bucket s3:GetObject', 'Bucket s3:ListBucket'];
    const objects = [...readObjects, 'Bucket s3:PutObject'];
    // Functions that accept idempotency keys store their records in the jobs table, and delete them.
    const idempotency = items('JobsTable', ['DeleteItem']);
    const accepter = [...createKeys, ...items('JobsTable', work), ...storeKey, ...objects];
    // Functions that process accepted jobs don't create tenant keys: the keys exist already.
    const finisher = [
      ...[...items('KeysTable', ['GetItem']), ...items('JobsTable', work), ...sessions],
      ...[...readKey, 'DataKey kms:GenerateDataKey', ...objects],
    ];
    const send = ['JobsQueue sqs:SendMessage', 'GpuQueue sqs:SendMessage'];
    const giveUp = 'JobsDlq sqs:SendMessage';
    const findPolicy = 'AccessTable dynamodb:GetItem';
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
      AuthorizeRole: [
        findPolicy,
        'AccessTable dynamodb:UpdateItem',
        'KeysTable dynamodb:GetItem',
        'DataKey kms:Decrypt',
      ],
      ChatRole: [...accepter, ...sessions, ...idempotency, ...send, ...slots, ...limits],
      EmbeddingsRole: [...slots, ...limits, 'DataKey kms:Decrypt'],
      SessionsRole: [...accepter, ...sessions, ...deleteSessions, ...idempotency, ...countStored],
      ResponsesRole: [
        ...[...items('KeysTable', ['GetItem']), ...items('JobsTable', work), ...limits],
        ...[...readKey, ...readObjects],
      ],
      TokenRole: [
        ...items('AccessTable', ['GetItem', 'PutItem']),
        ...['KeysTable dynamodb:GetItem', 'DataKey kms:Decrypt'],
      ],
      AdminRole: [
        ...items('AdminTable', ['DeleteItem', 'GetItem', 'PutItem', 'Query']),
        ...items('AccessTable', ['DeleteItem', 'GetItem', 'PutItem', 'UpdateItem']),
        ...['KeysTable dynamodb:GetItem', 'UsageTable dynamodb:Query', 'DataKey kms:Decrypt'],
      ],
      IntakeRole: [
        ...[findPolicy, 'GenerationDlq sqs:SendMessage', ...send, ...limits],
        ...receive.map((action) => `GenerationQueue sqs:${action}`),
        ...accepter,
      ],
      GenerateRole: [
        ...[findPolicy, giveUp, ...send, ...limits],
        ...receive.map((action) => `JobsQueue sqs:${action}`),
        ...finisher,
      ],
      DispatchRole: [
        ...['GpuDlq sqs:SendMessage', findPolicy, giveUp, ...send, ...slots, ...limits],
        ...receive.map((action) => `GpuQueue sqs:${action}`),
        ...finisher,
      ],
      SweepRole: [
        ...['JobsTable dynamodb:BatchGetItem', 'LimitsTable dynamodb:Scan', giveUp, ...limits, ...send, ...finisher],
        ...['AdminTable dynamodb:Query', ...items('AccessTable', ['BatchGetItem', 'GetItem', 'UpdateItem'])],
        ...['JobsQueue sqs:GetQueueAttributes', 'GpuQueue sqs:GetQueueAttributes'],
      ],
      FleetRole: [
        ...items('FleetTable', ['DeleteItem', 'PutItem', 'Query', 'UpdateItem']),
        ...['DataKey kms:Decrypt', 'JobsTable dynamodb:Query'],
        // On dispatch's event source mapping, whose ARN is composed of several parts.
        ...[' lambda:GetEventSourceMapping', ' lambda:UpdateEventSourceMapping'],
      ],
      RecordRole: [
        ...items('UsageTable', ['BatchGetItem', 'BatchWriteItem', 'GetItem', 'PutItem', 'Query', 'UpdateItem']),
        ...items('AccessTable', ['GetItem', 'UpdateItem']),
        ...['AuditBucket s3:GetObject', 'AuditBucket s3:PutObject', 'AuditBucket s3:ListBucket'],
        ...['RecordDlq sqs:SendMessage', 'DataKey kms:Decrypt', 'DataKey kms:GenerateDataKey'],
      ],
      WarmupRole: ['Authorize', 'Chat', 'Sessions', 'Responses'].map(
        (name) => `${name}LambdaFunction lambda:InvokeFunction`,
      ),
    };
    for (const [role, grants] of Object.entries(expected)) {
      expect(listGrants(role), role).toEqual(new Set(grants));
    }
    const { PolicyDocument } = Object(minimal.Resources['ModelsPolicy1']?.Properties);
    const actions = [...walkObjects(PolicyDocument)].flatMap(({ Action = [] }) => [Action].flat());
    expect(new Set(actions)).toEqual(new Set(models));
    const users = findByType(minimal, 'AWS::IAM::Role').filter(
      ({ properties: { ManagedPolicyArns } }) => ManagedPolicyArns,
    );
    expect(users.map(({ id, properties }) => [id, properties['ManagedPolicyArns']])).toEqual([
      ['ChatRole', [{ Ref: 'ModelsPolicy1' }]],
      ['EmbeddingsRole', [{ Ref: 'EmbeddingsPolicy1' }]],
      ['GenerateRole', [{ Ref: 'ModelsPolicy1' }]],
      ['DispatchRole', [{ Ref: 'ModelsPolicy1' }]],
    ]);
  });

  it("the policies allow customers' keys only with the setting: to decrypt, to create keys and to rewrap them", () => {
    const key = 'arn:aws:kms:eu-west-1:333333333333:key/11111111-2222-3333-4444-555555555555';
    const using = listStatements(everything).filter(({ statement }) => [statement['Resource']].flat().includes(key));
    const decrypt = ['kms:Decrypt'];
    const create = ['kms:Decrypt', 'kms:GenerateDataKey'];
    expect(Object.fromEntries(using.map(({ where, statement }) => [where, statement['Action']]))).toEqual({
      ...Object.fromEntries(['Chat', 'Sessions', 'Intake'].map((name) => [`${name}Role/ExternalKeys`, create])),
      ...Object.fromEntries(
        ['Responses', 'Generate', 'Dispatch', 'Sweep'].map((name) => [`${name}Role/ExternalKeys`, decrypt]),
      ),
      'AdminRole/ExternalKeys': ['kms:GenerateDataKey', 'kms:ReEncryptFrom', 'kms:ReEncryptTo'],
      'AdminRole/CheckedKeys': decrypt,
    });
    for (const { where, statement } of using) {
      expect(statement['Resource']).toEqual([key]);
      // The administration opens no tenant's key: only the one with which it tries an external key.
      const isCheck = where === 'AdminRole/CheckedKeys';
      expect(statement['Condition']).toEqual({
        StringEquals: {
          'kms:EncryptionContext:purpose': 'sealed-records',
          ...(isCheck && { 'kms:EncryptionContext:tenant': '-check-' }),
        },
        ...(!isCheck && { Null: { 'kms:EncryptionContext:tenant': 'false' } }),
        'ForAllValues:StringEquals': { 'kms:EncryptionContextKeys': ['tenant', 'purpose'] },
      });
    }
    const optional = /ExternalKeys|Rewrap|AdminRole\/(VaultKey|TenantKeys|CheckedKeys)/;
    expect(listStatements(minimal).filter(({ where }) => optional.test(where))).toEqual([]);
    expect(listStatements(everything).filter(({ where }) => optional.test(where))).toHaveLength(8 + 4);
  });

  it("the policies let only functions that call engines read the engines' keys", () => {
    const readers = findByType(withGpus, 'AWS::IAM::Role').filter(({ properties }) =>
      JSON.stringify(properties).includes('parameter/lambent/gpu-key'),
    );
    expect(readers.map(({ id }) => id)).toEqual(['ChatRole', 'DispatchRole', 'FleetRole', 'GpuExecutionRole']);
    expect(JSON.stringify(findByType(withGpus, 'AWS::IAM::ManagedPolicy'))).not.toContain('gpu-key');
  });

  it('the policies let only intake access inboxes, without writing to them', () => {
    const grants = listStatements(minimal).filter(
      ({ where, statement }) => /Role\//.test(where) && /s3:(?!List)/.test(JSON.stringify(statement['Action'])),
    );
    const reach = grants.map(({ where, statement }) => [
      where,
      [statement['Resource']].flat().map((resource) => Object(resource)['Fn::Sub']),
    ]);
    const under = (...folders: string[]) => folders.map((folder) => `\${Bucket.Arn}/*/${folder}/*`);
    const conversing = ['ChatRole', 'SessionsRole', 'GenerateRole', 'DispatchRole'];
    expect(Object.fromEntries(reach)).toEqual({
      ...Object.fromEntries(conversing.map((role) => [`${role}/Objects`, under('job', 'conversation')])),
      'ResponsesRole/Objects': under('job'),
      'IntakeRole/Objects': under('job'),
      'SweepRole/Objects': under('job'),
      'SweepRole/ConversationItems': under('conversation'),
      'IntakeRole/Inbox': under('inbox'),
      'RecordRole/AuditLog': [`\${AuditBucket.Arn}/audit/*`],
    });
    const findActions = (where: string) => grants.find((grant) => grant.where === where)?.statement['Action'];
    expect(findActions('SweepRole/Objects')).toEqual(['s3:DeleteObject', 's3:GetObject']);
    expect(findActions('SweepRole/ConversationItems')).toEqual(['s3:DeleteObject', 's3:PutObject']);
    const inbox = grants.find(({ where }) => where === 'IntakeRole/Inbox')?.statement;
    expect(inbox?.['Action']).toEqual(['s3:DeleteObject', 's3:GetObject']);
  });

  it('the policies allow creating and unwrapping tenant keys only with a tenant and the purpose of sealed records', () => {
    const statements = listStatements(minimal).filter(({ where }) => /^VaultKey\/TenantKeys$|Role\/Vault$/.test(where));
    const roles = [
      'ChatRole',
      'SessionsRole',
      'ResponsesRole',
      'IntakeRole',
      'GenerateRole',
      'DispatchRole',
      'SweepRole',
    ];
    const wheres = statements.map(({ where }) => where);
    expect(new Set(wheres)).toEqual(new Set(['VaultKey/TenantKeys', ...roles.map((role) => `${role}/Vault`)]));
    for (const { where, statement } of statements) {
      expect(statement['Condition'], where).toMatchObject({
        StringEquals: { 'kms:EncryptionContext:purpose': 'sealed-records' },
        Null: { 'kms:EncryptionContext:tenant': 'false' },
      });
    }
  });

  it('the policies let exactly the roles with a grant for the vault key use it, however long their names are', () => {
    const statement = listStatements(minimal).find(({ where }) => where === 'VaultKey/TenantKeys')?.statement;
    const users = listStatements(minimal).flatMap(({ where }) => /^(\w+Role)\/Vault$/.exec(where)?.[1] ?? []);
    const named = { 'aws:PrincipalArn': users.map((role) => ({ 'Fn::GetAtt': [role, 'Arn'] })) };
    expect(Object(statement?.['Condition']).ArnEquals).toEqual(named);
  });

  it('the policies let a role use a key by its alias only for the vault key', () => {
    const keys = listStatements(minimal).filter(({ statement }) => JSON.stringify(statement).includes(':key/*'));
    expect(keys.length).toBeGreaterThan(0);
    for (const { where, statement } of keys)
      expect(statement['Condition'], where).toMatchObject({
        'ForAnyValue:StringEquals': {
          'kms:ResourceAliases': minimal.Resources['VaultKeyAlias']?.Properties?.['AliasName'],
        },
      });
  });

  it('the queues of tickets and dead letters deny sending to all roles without a grant for it, but to no AWS service', () => {
    const denials = listStatements(minimal).filter(({ where }) => where.endsWith('/OnlySenders'));
    const queues = findByType(minimal, 'AWS::SQS::Queue').map(({ id }) => id);
    const isSender = (queue: string) => (role: string) => listGrants(role).has(`${queue} sqs:SendMessage`);
    const roles = findByType(minimal, 'AWS::IAM::Role').map(({ id }) => id);
    const denied = denials.map(({ statement }) => {
      const { Effect, Principal, Action, Resource, Condition } = Object(statement);
      expect({ Effect, Principal, Action }).toEqual({ Effect: 'Deny', Principal: '*', Action: 'sqs:SendMessage' });
      const queue = findLogicalId(Resource);
      const senders = roles.filter(isSender(queue)).map((role) => ({ 'Fn::GetAtt': [role, 'Arn'] }));
      expect(Condition, queue).toEqual({
        ArnNotEquals: { 'aws:PrincipalArn': expect.toSatisfy((named: unknown[]) => named.length === senders.length) },
        Bool: { 'aws:PrincipalIsAWSService': false },
      });
      expect(Condition.ArnNotEquals['aws:PrincipalArn'], queue).toEqual(expect.arrayContaining(senders));
      return queue;
    });
    expect(new Set(denied)).toEqual(new Set(queues.filter((queue) => queue !== 'GenerationQueue')));
  });

  it('the data key and the alarm topic are open to CloudWatch only for this stage’s alarms and topic', () => {
    const stage = (service: string, name: string) =>
      `arn:\${AWS::Partition}:${service}:\${AWS::Region}:\${AWS::AccountId}:${name}`;
    const own = { ArnLike: { 'aws:SourceArn': { 'Fn::Sub': stage('cloudwatch', 'alarm:lambent-dev-*') } } };
    const [key, topic] = ['DataKey/Alarms', 'AlarmTopicPolicy/Alarms'].map(
      (name) => listStatements(minimal).find(({ where }) => where === name)?.statement['Condition'],
    );
    expect(key).toMatchObject({
      ...own,
      StringEquals: { 'kms:EncryptionContext:aws:sns:topicArn': { 'Fn::Sub': stage('sns', 'lambent-dev-alarms') } },
    });
    expect(topic).toMatchObject(own);
    const names = findByType(minimal, 'AWS::CloudWatch::Alarm').map(({ properties }) => properties['AlarmName']);
    expect(names.filter((name) => !String(name).startsWith('lambent-dev-'))).toEqual([]);
    expect(minimal.Resources['AlarmTopic']?.Properties).toMatchObject({ TopicName: 'lambent-dev-alarms' });
  });

  it('the inline policies of each role fit into the 10,240 characters that IAM allows', () => {
    for (const { id, properties } of findByType(withGpus, 'AWS::IAM::Role')) {
      const policies: { PolicyDocument: unknown }[] = Object(properties)['Policies'] ?? [];
      const characters = policies.reduce((sum, each) => sum + JSON.stringify(each.PolicyDocument ?? each).length, 0);
      expect(characters, id).toBeLessThan(10_240);
    }
  });

  it('the policies allow use of the data key only through the services that store data', () => {
    const direct = listStatements(minimal).filter(
      ({ where, statement }) =>
        /Role\//.test(where) &&
        JSON.stringify(statement['Resource'] ?? '').includes('DataKey') &&
        Object(Object(statement['Condition']).StringEquals)['kms:ViaService'] === undefined,
    );
    expect(direct).toEqual([]);
  });

  /** Returns the statements of one of a role's policies. */
  function findStatements(role: string, name: string): Readonly<Record<string, unknown>>[] {
    const policies: { PolicyName: string; PolicyDocument: { Statement: Record<string, unknown>[] } }[] = Object(
      minimal.Resources[role]?.Properties,
    )['Policies'];
    return policies.find(({ PolicyName }) => PolicyName === name)?.PolicyDocument.Statement ?? [];
  }

  /** Returns the grants of a role's own policy except for logs, such as `JobsTable dynamodb:Query`. */
  function listGrants(role: string): Set<string> {
    const grants = findStatements(role, role.replace('Role', '').toLowerCase()).flatMap(({ Action, Resource }) =>
      [Resource].flat().flatMap((resource) => [Action].flat().map((action) => `${findLogicalId(resource)} ${action}`)),
    );
    return new Set(grants.filter((grant) => !grant.includes(' logs:')));
  }

  /** Returns the logical id in an ARN. The only key that roles use by its alias is the vault key. */
  function findLogicalId(resource: unknown): string {
    if (JSON.stringify(resource).includes(':key/*')) return 'VaultKey';
    return /"(?:\$\{)?(\w+)(?:"|\.Arn)/.exec(JSON.stringify(Object.values(Object(resource))))?.[1] ?? '';
  }
});
