import { beforeAll, describe, expect, test } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { functionsOf, ofType, packaged, statementsIn } from './packaged.ts';

let minimal: Template;
beforeAll(async () => {
  minimal = await packaged();
});

function expectTlsOnly(policy: string): void {
  const [{ statement } = { statement: {} }] = statementsIn(minimal).filter(
    ({ where }) => where === `${policy}/OnlyTls`,
  );
  expect(statement).toMatchObject({
    Effect: 'Deny',
    Principal: '*',
    Condition: { Bool: { 'aws:SecureTransport': false } },
  });
}

/** Kept when the stack goes or something else takes its place, but not when its own creation is rolled back. */
const KEPT = { DeletionPolicy: 'RetainExceptOnCreate', UpdateReplacePolicy: 'Retain' };

describe('what is stored', () => {
  test('is kept when the stack goes, protected, recoverable and encrypted with our key', () => {
    const tables = ofType(minimal, 'AWS::DynamoDB::Table');
    expect(tables.map(({ id }) => id)).toEqual([
      'AccessTable',
      'KeysTable',
      'JobsTable',
      'SessionsTable',
      'FleetTable',
    ]);
    for (const { id, properties } of tables) {
      expect(minimal.Resources[id], id).toMatchObject(KEPT);
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
      ...KEPT,
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

test('nothing that a failed first deployment made is kept by the stack itself, or it would block the next one', () => {
  const kept = Object.entries(minimal.Resources).filter(
    ([, { DeletionPolicy = 'Delete' }]) => DeletionPolicy !== 'Delete',
  );
  expect(kept.map(([id]) => id)).toEqual(
    expect.arrayContaining(['AccessTable', 'KeysTable', 'Bucket', 'DataKey', 'VaultKey']),
  );
  for (const [id, resource] of kept) expect(resource, id).toMatchObject(KEPT);
});

describe('the keys table', () => {
  test('forgets deleted keys soon, unlike the others', () => {
    const recovery = ofType(minimal, 'AWS::DynamoDB::Table').map(({ id, properties }) => [
      id,
      Object(properties['PointInTimeRecoverySpecification']).RecoveryPeriodInDays,
    ]);
    expect(Object.fromEntries(recovery)).toEqual({
      AccessTable: undefined,
      KeysTable: 1,
      JobsTable: undefined,
      SessionsTable: undefined,
      FleetTable: undefined,
    });
  });
});

describe('the jobs table', () => {
  test('has a sparse index of keys alone on what is due', () => {
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
  test('is private, encrypted with our key, kept when the stack goes, and reached over TLS only', () => {
    expect(minimal.Resources['Bucket']).toMatchObject({
      ...KEPT,
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

  test('removes an object after the last job or message that may need it, and what was never uploaded whole', async () => {
    const days = (template: Template) => {
      const { Rules } = Object(template.Resources['Bucket']?.Properties?.['LifecycleConfiguration']);
      return Rules.flatMap(({ ExpirationInDays }: { ExpirationInDays?: number }) => ExpirationInDays ?? []);
    };
    expect(days(minimal)).toEqual([32]);
    expect(days(await packaged('--param', 'retentionDays=20', '--param', 'jobDeadlineHours=48'))).toEqual([23]);
    const { Rules } = Object(minimal.Resources['Bucket']?.Properties?.['LifecycleConfiguration']);
    for (const rule of Rules) expect(rule).not.toHaveProperty('Prefix');
    expect(Rules).toContainEqual(
      expect.objectContaining({ Status: 'Enabled', AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 } }),
    );
  });

  test('keeps what a message points to for longer than SQS keeps the message', async () => {
    const short = await packaged('--param', 'retentionDays=1', '--param', 'jobDeadlineHours=1');
    const retained = Number(short.Resources['GenerationQueue']?.Properties?.['MessageRetentionPeriod']) / 86_400;
    const { Rules } = Object(short.Resources['Bucket']?.Properties?.['LifecycleConfiguration']);
    const days = Rules.flatMap(({ ExpirationInDays }: { ExpirationInDays?: number }) => ExpirationInDays ?? []);
    expect(days[0]).toBeGreaterThan(retained);
  });
});

describe('queues', () => {
  const queue = (id: string) => minimal.Resources[id]?.Properties ?? {};

  test('are encrypted with our key, keep messages for 14 days, and are reached over TLS only', () => {
    const ids = ofType(minimal, 'AWS::SQS::Queue').map(({ id }) => id);
    expect(ids).toEqual(['GenerationQueue', 'GenerationDlq', 'GpuQueue', 'GpuDlq']);
    for (const id of ids) {
      expect(queue(id)).toMatchObject({
        KmsMasterKeyId: { 'Fn::GetAtt': ['DataKey', 'Arn'] },
        MessageRetentionPeriod: 14 * 86_400,
      });
      expectTlsOnly(`${id}Policy`);
    }
  });

  test.each([
    ['GenerationQueue', 'GenerationDlq'],
    ['GpuQueue', 'GpuDlq'],
  ])('redrive to their own dead-letter queue alone, which takes from no other: %s', (id, deadLetterId) => {
    expect(queue(id)).toMatchObject({
      RedrivePolicy: { deadLetterTargetArn: { 'Fn::GetAtt': [deadLetterId, 'Arn'] }, maxReceiveCount: 10 },
      RedriveAllowPolicy: { redrivePermission: 'denyAll' },
    });
    expect(queue(deadLetterId)).not.toHaveProperty('RedrivePolicy');
    const { redrivePermission, sourceQueueArns } = Object(queue(deadLetterId)['RedriveAllowPolicy']);
    expect(redrivePermission).toBe('byQueue');
    const [{ 'Fn::Sub': source }] = sourceQueueArns;
    expect(source.split(':').at(-1)).toBe(queue(id)['QueueName']);
  });

  const mappings = () => ofType(minimal, 'AWS::Lambda::EventSourceMapping').map(({ properties }) => properties);

  test('are mapped to functions with partial failures and a limit, and hide a message for as long as those may run', () => {
    const expected = [
      { id: 'GenerationQueue', name: 'generate', MaximumConcurrency: 5 },
      { id: 'GpuQueue', name: 'dispatch', MaximumConcurrency: 2 },
    ];
    expect(mappings()).toMatchObject(
      expected.map(({ id, MaximumConcurrency }) => ({
        EventSourceArn: { 'Fn::GetAtt': [id, 'Arn'] },
        BatchSize: 10,
        FunctionResponseTypes: ['ReportBatchItemFailures'],
        ScalingConfig: { MaximumConcurrency },
      })),
    );
    for (const { id, name } of expected) {
      const { properties } = functionsOf(minimal).find((each) => each.name === name) ?? {};
      expect(Number(queue(id)['VisibilityTimeout'])).toBeGreaterThanOrEqual(Number(properties?.['Timeout']));
    }
  });

  test('leave half of the 10 executions of a new account to those who wait for an answer, and some beside GPU work', () => {
    const limits = mappings().map(({ ScalingConfig }) => Number(Object(ScalingConfig).MaximumConcurrency));
    expect(limits[0]).toBeLessThanOrEqual(5);
    expect(limits.reduce((sum, limit) => sum + limit, 0)).toBeLessThanOrEqual(7);
  });
});
