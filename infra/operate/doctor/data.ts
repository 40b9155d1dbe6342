import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
} from '@aws-sdk/client-dynamodb';
import { DescribeKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { GetBucketLifecycleConfigurationCommand, S3Client } from '@aws-sdk/client-s3';
import { isNotFound } from '../aws-error.ts';
import { createError, type Finding } from '../preflight/finding.ts';
import { type DoctorCheck, findForEach, formatDeployment, listPhysicalIds } from './check.ts';

/** Checks that each table can be used, is protected against deletion, can be restored, and deletes expired items. */
export const tableCheck: DoctorCheck = {
  name: 'tables',
  async find(input) {
    const { region, clientConfig } = input;
    const client = new DynamoDBClient({ ...clientConfig, region });
    return findForEach(listPhysicalIds(input, 'AWS::DynamoDB::Table'), async (TableName) => {
      const [{ Table }, { ContinuousBackupsDescription }, { TimeToLiveDescription }] = await Promise.all([
        client.send(new DescribeTableCommand({ TableName })),
        client.send(new DescribeContinuousBackupsCommand({ TableName })),
        client.send(new DescribeTimeToLiveCommand({ TableName })),
      ]);
      const findings: Finding[] = [];
      const { TableStatus, DeletionProtectionEnabled } = Table ?? {};
      const backups = ContinuousBackupsDescription?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus;
      const command = (operation: string, options: string) =>
        `aws dynamodb ${operation} --region ${region} --table-name ${TableName} ${options}`;
      if (TableStatus !== 'ACTIVE' && TableStatus !== 'UPDATING')
        findings.push(createError(`The table ${TableName} is ${TableStatus}.`, formatDeployment(input)));
      if (DeletionProtectionEnabled !== true)
        findings.push(
          createError(
            `The table ${TableName} is not protected against deletion.`,
            command('update-table', '--deletion-protection-enabled'),
          ),
        );
      if (backups !== 'ENABLED')
        findings.push(
          createError(
            `The table ${TableName} can't be restored: point-in-time recovery is off.`,
            command(
              'update-continuous-backups',
              '--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true',
            ),
          ),
        );
      if (!['ENABLED', 'ENABLING'].includes(TimeToLiveDescription?.TimeToLiveStatus ?? ''))
        findings.push(
          createError(
            `The table ${TableName} keeps expired items: time to live is off.`,
            command('update-time-to-live', '--time-to-live-specification Enabled=true,AttributeName=expiresAt'),
          ),
        );
      return findings;
    });
  },
};

/** Checks that the buckets with content delete expired objects. */
export const bucketCheck: DoctorCheck = {
  name: 'bucket',
  async find(input) {
    const { region, clientConfig, resources } = input;
    const client = new S3Client({ ...clientConfig, region });
    const buckets = resources.filter(({ id, type }) => type === 'AWS::S3::Bucket' && id === 'Bucket');
    return findForEach(buckets, async ({ physicalId }) => {
      const missing = createError(
        `The bucket ${physicalId} keeps expired objects: it lacks a lifecycle rule.`,
        formatDeployment(input),
      );
      try {
        const { Rules = [] } = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: physicalId }));
        return Rules.some(({ Status, Expiration }) => Status === 'Enabled' && Expiration !== undefined)
          ? []
          : [missing];
      } catch (thrown) {
        if (thrown instanceof Error && thrown.name === 'NoSuchLifecycleConfiguration') return [missing];
        if (isNotFound(thrown))
          return [createError(`The bucket ${physicalId} does not exist.`, formatDeployment(input))];
        throw thrown;
      }
    });
  },
};

/** Checks that the KMS keys can be used. Without them no stored content can be read. */
export const keyCheck: DoctorCheck = {
  name: 'KMS keys',
  async find(input) {
    const { region, clientConfig } = input;
    const client = new KMSClient({ ...clientConfig, region });
    return findForEach(listPhysicalIds(input, 'AWS::KMS::Key'), async (KeyId) => {
      const { KeyMetadata } = await client.send(new DescribeKeyCommand({ KeyId }));
      const state = KeyMetadata?.KeyState;
      if (state === 'Enabled') return [];
      const enable = `aws kms enable-key --region ${region} --key-id ${KeyId}`;
      const cancel = `aws kms cancel-key-deletion --region ${region} --key-id ${KeyId} && ${enable}`;
      return [
        createError(
          `The key ${KeyId} is ${state}: stored content can't be read.`,
          state === 'PendingDeletion' ? cancel : enable,
        ),
      ];
    });
  },
};
