import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { findByType, listFunctions, listStatements, packageStage } from './packaged.ts';

let minimal: Template;
beforeAll(async () => {
  minimal = await packageStage();
});

function expectTlsOnly(policy: string): void {
  const [{ statement } = { statement: {} }] = listStatements(minimal).filter(
    ({ where }) => where === `${policy}/OnlyTls`,
  );
  expect(statement).toMatchObject({
    Effect: 'Deny',
    Principal: '*',
    Condition: { Bool: { 'aws:SecureTransport': false } },
  });
}

/** Retained when the stack is deleted or the resource replaced, but not when its creation is rolled back. */
const RETAINED = { DeletionPolicy: 'RetainExceptOnCreate', UpdateReplacePolicy: 'Retain' };

describe('the tables', () => {
  it('the tables are retained, protected against deletion, recoverable and encrypted with the data key', () => {
    const tables = findByType(minimal, 'AWS::DynamoDB::Table');
    expect(tables.map(({ id }) => id)).toEqual([
      'AccessTable',
      'AdminTable',
      'KeysTable',
      'JobsTable',
      'SessionsTable',
      'LimitsTable',
      'FleetTable',
      'UsageTable',
    ]);
    for (const { id, properties } of tables) {
      expect(minimal.Resources[id], id).toMatchObject(RETAINED);
      expect(properties).toMatchObject({
        BillingMode: 'PAY_PER_REQUEST',
        DeletionProtectionEnabled: true,
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        SSESpecification: { SSEEnabled: true, SSEType: 'KMS', KMSMasterKeyId: { 'Fn::GetAtt': ['DataKey', 'Arn'] } },
        TimeToLiveSpecification: { AttributeName: 'expiresAt', Enabled: true },
      });
    }
  });

  it('the tables are encrypted with a key that rotates every 90 days and decrypts only under conditions', () => {
    expect(minimal.Resources['DataKey']).toMatchObject({
      ...RETAINED,
      Properties: { EnableKeyRotation: true, RotationPeriodInDays: 90 },
    });
    const reading = listStatements(minimal).filter(
      ({ where, statement }) =>
        where.startsWith('DataKey/') && JSON.stringify(statement['Action']).includes('kms:Decrypt'),
    );
    expect(reading.length).toBeGreaterThan(0);
    for (const { statement } of reading) expect(statement).toHaveProperty('Condition');
  });
});

it('a retained resource is deleted if its creation is rolled back, so that a first deployment can be repeated', () => {
  const retained = Object.entries(minimal.Resources).filter(
    ([, { DeletionPolicy = 'Delete' }]) => DeletionPolicy !== 'Delete',
  );
  expect(retained.map(([id]) => id)).toEqual(
    expect.arrayContaining(['AccessTable', 'KeysTable', 'Bucket', 'DataKey', 'VaultKey']),
  );
  for (const [id, resource] of retained) expect(resource, id).toMatchObject(RETAINED);
});

describe('the keys table', () => {
  it('the keys table has a short history, unlike the other tables', () => {
    const recovery = findByType(minimal, 'AWS::DynamoDB::Table').map(({ id, properties }) => [
      id,
      Object(properties['PointInTimeRecoverySpecification']).RecoveryPeriodInDays,
    ]);
    expect(Object.fromEntries(recovery)).toEqual({
      AccessTable: undefined,
      AdminTable: undefined,
      KeysTable: 1,
      JobsTable: undefined,
      SessionsTable: undefined,
      LimitsTable: undefined,
      FleetTable: undefined,
      UsageTable: undefined,
    });
  });
});

describe('the jobs table', () => {
  it('the jobs table has an index on due jobs that holds only their keys', () => {
    expect(minimal.Resources['JobsTable']?.Properties?.['GlobalSecondaryIndexes']).toEqual([
      {
        IndexName: 'due',
        KeySchema: [
          { AttributeName: 'duePartition', KeyType: 'HASH' },
          { AttributeName: 'dueAt', KeyType: 'RANGE' },
        ],
        Projection: { ProjectionType: 'KEYS_ONLY' },
      },
    ]);
  });
});

describe('the bucket', () => {
  it('the bucket is private, encrypted with the data key, retained and accessible only over TLS', () => {
    expect(minimal.Resources['Bucket']).toMatchObject({
      ...RETAINED,
      Properties: {
        PublicAccessBlockConfiguration: {
          BlockPublicAcls: true,
          BlockPublicPolicy: true,
          IgnorePublicAcls: true,
          RestrictPublicBuckets: true,
        },
        OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
        BucketEncryption: {
          ServerSideEncryptionConfiguration: [
            {
              ServerSideEncryptionByDefault: {
                SSEAlgorithm: 'aws:kms',
                KMSMasterKeyID: { 'Fn::GetAtt': ['DataKey', 'Arn'] },
              },
            },
          ],
        },
      },
    });
    expect(minimal.Resources['Bucket']?.Properties).not.toHaveProperty('VersioningConfiguration');
    expectTlsOnly('BucketPolicy');
  });

  it('the bucket deletes objects after their job has expired, and unfinished uploads after a day', async () => {
    const readDays = (template: Template) => {
      const { Rules } = Object(template.Resources['Bucket']?.Properties?.['LifecycleConfiguration']);
      return Rules.flatMap(({ ExpirationInDays }: { ExpirationInDays?: number }) => ExpirationInDays ?? []);
    };
    expect(readDays(minimal)).toEqual([32]);
    expect(readDays(await packageStage('--param', 'retentionDays=20', '--param', 'jobDeadlineHours=48'))).toEqual([23]);
    const { Rules } = Object(minimal.Resources['Bucket']?.Properties?.['LifecycleConfiguration']);
    for (const rule of Rules) expect(rule).not.toHaveProperty('Prefix');
    expect(Rules).toContainEqual(
      expect.objectContaining({ Status: 'Enabled', AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 } }),
    );
  });

  it('the bucket keeps objects for longer than SQS keeps a message that points to them', async () => {
    const short = await packageStage('--param', 'retentionDays=1', '--param', 'jobDeadlineHours=1');
    const retained = Number(short.Resources['GenerationQueue']?.Properties?.['MessageRetentionPeriod']) / 86_400;
    const { Rules } = Object(short.Resources['Bucket']?.Properties?.['LifecycleConfiguration']);
    const days = Rules.flatMap(({ ExpirationInDays }: { ExpirationInDays?: number }) => ExpirationInDays ?? []);
    expect(days[0]).toBeGreaterThan(retained);
  });
});

describe('the audit log', () => {
  const readBucket = (template: Template) => Object(template.Resources['AuditBucket']?.Properties);

  it('the bucket of the audit log is retained, has versions, and expires its objects', () => {
    expect(minimal.Resources['AuditBucket']).toMatchObject(RETAINED);
    const { VersioningConfiguration, LifecycleConfiguration } = readBucket(minimal);
    expect(VersioningConfiguration).toEqual({ Status: 'Enabled' });
    expect(LifecycleConfiguration.Rules).toContainEqual(
      expect.objectContaining({ ExpirationInDays: 400, NoncurrentVersionExpiration: { NoncurrentDays: 1 } }),
    );
    expectTlsOnly('AuditBucketPolicy');
  });

  it('the bucket of the audit log locks its objects only if a setting says for how long', async () => {
    expect(readBucket(minimal).ObjectLockConfiguration).toEqual({ ObjectLockEnabled: 'Enabled' });
    const locked = await packageStage('--param', 'auditLockDays=365');
    expect(readBucket(locked).ObjectLockConfiguration).toEqual({
      ObjectLockEnabled: 'Enabled',
      Rule: { DefaultRetention: { Mode: 'COMPLIANCE', Days: '365' } },
    });
    await expect(packageStage('--param', 'auditLockDays=500')).rejects.toThrow('auditRetentionDays (400) is below');
  });

  it('the audit key signs, and only for the function that records', () => {
    expect(minimal.Resources['AuditKey']).toMatchObject({
      ...RETAINED,
      Properties: { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' },
    });
    const signers = listStatements(minimal).filter(({ statement }) =>
      JSON.stringify(statement['Action']).includes('kms:Sign'),
    );
    expect(signers.map(({ where, statement }) => [where, statement['Principal']])).toEqual([
      ['AuditKey/Sign', { AWS: { 'Fn::GetAtt': ['RecordRole', 'Arn'] } }],
    ]);
  });

  it('the lines of every function that is called, finds keys, works on jobs or administrates reach the function that records', () => {
    const filters = findByType(minimal, 'AWS::Logs::SubscriptionFilter').map(({ properties }) => properties);
    const groups = filters.map(({ LogGroupName }) => Object(LogGroupName).Ref.replace('LogGroup', '').toLowerCase());
    const others = ['warmup', 'fleet', 'record'];
    const functions = listFunctions(minimal).map(({ name }) => name);
    expect(groups.sort()).toEqual(functions.filter((name) => !others.includes(name)).sort());
    for (const filter of filters) {
      expect(filter).toMatchObject({
        FilterPattern: '{ $.record = "*" }',
        DestinationArn: { 'Fn::GetAtt': ['RecordLambdaFunction', 'Arn'] },
      });
    }
  });

  it('a batch of lines that can not be recorded is kept in a queue', () => {
    const [config] = findByType(minimal, 'AWS::Lambda::EventInvokeConfig').filter(
      ({ properties }) => Object(properties['FunctionName']).Ref === 'RecordLambdaFunction',
    );
    expect(config?.properties).toMatchObject({
      DestinationConfig: { OnFailure: { Destination: { 'Fn::GetAtt': ['RecordDlq', 'Arn'] } } },
    });
  });
});

describe('the queues', () => {
  const findQueue = (id: string) => minimal.Resources[id]?.Properties ?? {};

  it('the queues are encrypted with the data key, keep messages for 14 days and are accessible only over TLS', () => {
    const ids = findByType(minimal, 'AWS::SQS::Queue').map(({ id }) => id);
    expect(ids).toEqual([
      'GenerationQueue',
      'GenerationDlq',
      'JobsQueue',
      'JobsDlq',
      'GpuQueue',
      'GpuDlq',
      'RecordDlq',
    ]);
    for (const id of ids) {
      expect(findQueue(id)).toMatchObject({
        KmsMasterKeyId: { 'Fn::GetAtt': ['DataKey', 'Arn'] },
        MessageRetentionPeriod: 14 * 86_400,
      });
      expectTlsOnly(`${id}Policy`);
    }
  });

  it.each([
    ['GenerationQueue', 'GenerationDlq', 200],
    ['JobsQueue', 'JobsDlq', 1000],
    ['GpuQueue', 'GpuDlq', 1000],
  ])('the %s has a dead-letter queue that serves no other queue', (id, deadLetterId, maxReceiveCount) => {
    expect(findQueue(id)).toMatchObject({
      RedrivePolicy: { deadLetterTargetArn: { 'Fn::GetAtt': [deadLetterId, 'Arn'] }, maxReceiveCount },
      RedriveAllowPolicy: { redrivePermission: 'denyAll' },
    });
    expect(findQueue(deadLetterId)).not.toHaveProperty('RedrivePolicy');
    const { redrivePermission, sourceQueueArns } = Object(findQueue(deadLetterId)['RedriveAllowPolicy']);
    expect(redrivePermission).toBe('byQueue');
    const [{ 'Fn::Sub': source }] = sourceQueueArns;
    expect(source.split(':').at(-1)).toBe(findQueue(id)['QueueName']);
  });

  it('a message of the generation queue outlives 12 hours of failures, or of throttled invocations', () => {
    const { RedrivePolicy, VisibilityTimeout } = findQueue('GenerationQueue');
    const receives = Number(Object(RedrivePolicy).maxReceiveCount);
    // After a failure it is delivered again after 5 s, then each time after twice as long, up to 15 minutes.
    const pausesSeconds = Array.from({ length: receives - 1 }, (_, index) => Math.min(5 * 2 ** index, 900));
    expect(pausesSeconds.reduce((sum, pause) => sum + pause, 0)).toBeGreaterThan(12 * 3_600);
    // While Lambda throttles the function, it comes back when the visibility timeout has passed.
    expect((receives - 1) * Number(VisibilityTimeout)).toBeGreaterThan(12 * 3_600);
  });

  const listMappings = () => findByType(minimal, 'AWS::Lambda::EventSourceMapping').map(({ properties }) => properties);

  it("event source mappings report partial failures, limit concurrency, and hide messages for the function's timeout", () => {
    const expected = [
      { id: 'GenerationQueue', name: 'intake', BatchSize: 10, MaximumConcurrency: 2 },
      { id: 'JobsQueue', name: 'generate', BatchSize: 4, MaximumConcurrency: 3 },
      { id: 'GpuQueue', name: 'dispatch', BatchSize: 10, MaximumConcurrency: 2 },
    ];
    expect(listMappings()).toMatchObject(
      expected.map(({ id, BatchSize, MaximumConcurrency }) => ({
        EventSourceArn: { 'Fn::GetAtt': [id, 'Arn'] },
        BatchSize,
        FunctionResponseTypes: ['ReportBatchItemFailures'],
        ScalingConfig: { MaximumConcurrency },
      })),
    );
    for (const { id, name } of expected) {
      const { properties } = listFunctions(minimal).find((each) => each.name === name) ?? {};
      expect(Number(findQueue(id)['VisibilityTimeout'])).toBeGreaterThanOrEqual(Number(properties?.['Timeout']));
    }
  });

  it("queued work leaves half of a new account's 10 executions to other functions, and 3 while GPU jobs run too", () => {
    const limits = listMappings().map(({ ScalingConfig }) => Number(Object(ScalingConfig).MaximumConcurrency));
    const [intake = 0, generate = 0] = limits;
    expect(intake + generate).toBeLessThanOrEqual(5);
    expect(limits.reduce((sum, limit) => sum + limit, 0)).toBeLessThanOrEqual(7);
  });
});
