import {
  DeleteTableCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  ResourceNotFoundException,
  UpdateTableCommand,
  waitUntilTableExists,
  waitUntilTableNotExists,
} from '@aws-sdk/client-dynamodb';
import {
  DescribeKeyCommand,
  type KeyMetadata,
  type KMSClient,
  NotFoundException,
  paginateListKeys,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms';
import {
  DeleteBucketCommand,
  DeleteObjectsCommand,
  GetBucketEncryptionCommand,
  HeadBucketCommand,
  ListObjectVersionsCommand,
  type ObjectIdentifier,
  paginateListBuckets,
  paginateListObjectsV2,
  type S3Client,
} from '@aws-sdk/client-s3';
import { isAccessDenied } from '../operate/aws-error.ts';

/** Resources that hold a stage's data, and remain when its stack is removed. By their logical ids. */
export type DataResources = Readonly<Record<string, string>>;

export interface DataClients {
  readonly dynamoDb: DynamoDBClient;
  readonly kms: KMSClient;
  readonly s3: S3Client;
}

/** The tables' logical ids, with the last part of their names. */
const TABLES: Readonly<Record<string, string>> = {
  AccessTable: 'access',
  AdminTable: 'admin',
  JobsTable: 'jobs',
  SessionsTable: 'sessions',
  LimitsTable: 'limits',
  FleetTable: 'fleet',
  UsageTable: 'usage',
  KeysTable: 'keys',
};
/** The buckets' logical ids, with the part of their names that CloudFormation makes of them. */
const BUCKETS: Readonly<Record<string, string>> = { Bucket: 'bucket', AuditBucket: 'auditbucket' };
/**
 * The logical ids of all data resources, in the order in which they are deleted. After an interruption `findKeptData`
 * must still find the rest: the buckets and the data key by a table, the audit key by the usage table, and the vault key by the
 * keys table.
 */
export const DATA_IDS: readonly string[] = [
  ...Object.keys(BUCKETS),
  ...['AccessTable', 'AdminTable', 'JobsTable', 'SessionsTable', 'LimitsTable', 'FleetTable'],
  ...['AuditKey', 'UsageTable', 'VaultKey', 'KeysTable', 'DataKey'],
];
/** KMS's maximum. Until then, `aws kms cancel-key-deletion` brings a key back. */
const KEY_DELETION_DAYS = 30;
/** The longest that a table may take to be changed or deleted. */
const TABLE_WAIT_SECONDS = 600;

/**
 * Finds the data resources that a removed stack left behind. A removed stack says nothing about them: the tables have
 * fixed names and name their key, the bucket names that key, and the vault key has its description.
 * @param vaultKey the vault key's id, if its description was changed
 * @returns an empty object if there is no table; no vault key if there is no keys table, or no such key
 * @throws Error if several keys may be the vault key
 */
export async function findKeptData(clients: DataClients, stackName: string, vaultKey?: string): Promise<DataResources> {
  const found: Record<string, string> = {};
  let dataKey: string | undefined;
  for (const [id, name] of Object.entries(TABLES)) {
    const table = await describeTable(clients.dynamoDb, `${stackName}-${name}`);
    if (table === undefined) continue;
    found[id] = `${stackName}-${name}`;
    dataKey ??= table.SSEDescription?.KMSMasterKeyArn;
  }
  if (dataKey === undefined) return found;
  found['DataKey'] = dataKey.replace(/^.*\//, '');
  for (const [id, name] of Object.entries(BUCKETS)) {
    const bucket = await findBucket(clients.s3, `${stackName}-${name}-`, dataKey);
    if (bucket !== undefined) found[id] = bucket;
  }
  const auditKey = found['UsageTable'] && (await findKeys(clients.kms, `Signs the audit log of ${stackName}`)).at(-1);
  if (auditKey !== undefined) found['AuditKey'] = auditKey;
  const wrappingKey = found['KeysTable'] && (vaultKey ?? (await findVaultKey(clients.kms, stackName)));
  return wrappingKey === undefined ? found : { ...found, VaultKey: wrappingKey };
}

async function describeTable(client: DynamoDBClient, name: string) {
  try {
    return (await client.send(new DescribeTableCommand({ TableName: name }))).Table;
  } catch (thrown) {
    if (thrown instanceof ResourceNotFoundException) return undefined;
    throw thrown;
  }
}

async function findBucket(client: S3Client, prefix: string, keyArn: string): Promise<string | undefined> {
  // A stage of the same name in another region has buckets that this region's endpoint doesn't serve.
  const filter = { Prefix: prefix, BucketRegion: await client.config.region() };
  for await (const { Buckets = [] } of paginateListBuckets({ client }, filter)) {
    for (const { Name } of Buckets) {
      // Older stand-ins ignore the prefix.
      if (Name === undefined || !Name.startsWith(prefix)) continue;
      const { ServerSideEncryptionConfiguration } = await client.send(new GetBucketEncryptionCommand({ Bucket: Name }));
      const [rule] = ServerSideEncryptionConfiguration?.Rules ?? [];
      if (rule?.ApplyServerSideEncryptionByDefault?.KMSMasterKeyID === keyArn) return Name;
    }
  }
  return undefined;
}

/** Returns the ids of the enabled keys with a description, the newest last. */
async function findKeys(client: KMSClient, description: string): Promise<string[]> {
  const found: KeyMetadata[] = [];
  for await (const { Keys = [] } of paginateListKeys({ client }, {})) {
    for (const { KeyId } of Keys) {
      const key = await describeKey(client, KeyId);
      if (key?.KeyState === 'Enabled' && key.Description === description) found.push(key);
    }
  }
  return found.sort((a, b) => Number(a.CreationDate) - Number(b.CreationDate)).map(({ KeyId = '' }) => KeyId);
}

async function findVaultKey(client: KMSClient, stackName: string): Promise<string | undefined> {
  const found = await findKeys(client, `Wraps the tenants' keys of ${stackName}`);
  if (found.length < 2) return found[0];
  throw new Error(
    `Each of the keys ${found.join(', ')} may have wrapped the tenants' keys of ${stackName}. Name the one that did: --vault-key ID`,
  );
}

/** Returns a key's description; undefined for a key of others, whose policy doesn't let every deployer see it. */
async function describeKey(client: KMSClient, KeyId: string | undefined) {
  try {
    return (await client.send(new DescribeKeyCommand({ KeyId }))).KeyMetadata;
  } catch (thrown) {
    if (isAccessDenied(thrown)) return undefined;
    throw thrown;
  }
}

/**
 * Deletes data resources. Tables lose their deletion protection first; keys wait for 30 days, in which they can be
 * brought back. Resources that don't exist any more are left out.
 */
export async function deleteData(
  clients: DataClients,
  resources: DataResources,
  print: (line: string) => void,
): Promise<void> {
  for (const id of DATA_IDS) {
    const physicalId = resources[id];
    if (physicalId === undefined) continue;
    const isDeleted = await deleteOne(clients, id, physicalId);
    if (isDeleted) print(`  ${id} ${physicalId}: deleted${id.endsWith('Key') ? ` in ${KEY_DELETION_DAYS} days` : ''}`);
  }
}

function deleteOne({ dynamoDb, kms, s3 }: DataClients, id: string, physicalId: string): Promise<boolean> {
  if (id in TABLES) return deleteTable(dynamoDb, physicalId);
  return id in BUCKETS ? deleteBucket(s3, physicalId) : deleteKey(kms, physicalId);
}

async function deleteTable(client: DynamoDBClient, TableName: string): Promise<boolean> {
  const table = await describeTable(client, TableName);
  if (table === undefined) return false;
  const wait = { client, maxWaitTime: TABLE_WAIT_SECONDS, minDelay: 1, maxDelay: 10 };
  // An interrupted deletion may be under way.
  if (table.TableStatus !== 'DELETING') {
    // A table that is still being created can't be changed.
    await waitUntilTableExists(wait, { TableName });
    if (table.DeletionProtectionEnabled === true) {
      await client.send(new UpdateTableCommand({ TableName, DeletionProtectionEnabled: false }));
      await waitUntilTableExists(wait, { TableName });
    }
    await client.send(new DeleteTableCommand({ TableName }));
  }
  await waitUntilTableNotExists(wait, { TableName });
  return true;
}

async function deleteBucket(client: S3Client, Bucket: string): Promise<boolean> {
  try {
    await client.send(new HeadBucketCommand({ Bucket }));
  } catch (thrown) {
    if (thrown instanceof Error && thrown.name === 'NotFound') return false;
    throw thrown;
  }
  await deleteVersions(client, Bucket);
  await client.send(new DeleteBucketCommand({ Bucket }));
  return true;
}

/** Deletes all versions of all objects. A bucket without versions has one of each. */
async function deleteVersions(client: S3Client, Bucket: string): Promise<void> {
  for (;;) {
    const { Versions = [], DeleteMarkers = [] } = await client.send(new ListObjectVersionsCommand({ Bucket }));
    const Objects = [...Versions, ...DeleteMarkers].flatMap(({ Key, VersionId }) =>
      Key === undefined ? [] : [{ Key, VersionId }],
    );
    if (Objects.length === 0) return;
    await deleteObjects(client, Bucket, Objects);
  }
}

async function deleteObjects(client: S3Client, Bucket: string, Objects: ObjectIdentifier[]): Promise<void> {
  const { Errors = [] } = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }));
  const [error] = Errors;
  if (error !== undefined) throw new Error(`${Bucket}/${error.Key} can't be deleted: ${error.Message}`);
}

/** Deletes the objects of a bucket without versions that are not needed; all by default. */
export async function emptyBucket(
  client: S3Client,
  Bucket: string,
  isUnneeded: (key: string, modifiedAt: Date | undefined) => boolean = () => true,
): Promise<void> {
  for await (const { Contents = [] } of paginateListObjectsV2({ client }, { Bucket })) {
    const Objects = Contents.flatMap(({ Key, LastModified }) =>
      Key !== undefined && isUnneeded(Key, LastModified) ? [{ Key }] : [],
    );
    if (Objects.length > 0) await deleteObjects(client, Bucket, Objects);
  }
}

async function deleteKey(client: KMSClient, KeyId: string): Promise<boolean> {
  try {
    const { KeyMetadata } = await client.send(new DescribeKeyCommand({ KeyId }));
    if (KeyMetadata?.KeyState === 'PendingDeletion') return false;
    await client.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: KEY_DELETION_DAYS }));
    return true;
  } catch (thrown) {
    if (thrown instanceof NotFoundException) return false;
    throw thrown;
  }
}
