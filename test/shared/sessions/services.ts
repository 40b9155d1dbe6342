import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createBucket } from '../../../shared/aws/bucket.ts';
import { createVault, type TenantVault } from '../../../shared/vault/create-vault.ts';
import { createKeyGenerator, createKeyUnwrapper } from '../../../shared/vault/kms-keys.ts';

import { startServices as startStorage } from '../jobs/services.ts';
import { startServices as startKeys } from '../vault/environments.ts';

/** A table with partition and sort key, a bucket and a vault, with real clients over the wire. */
export interface Stores extends AsyncDisposable {
  readonly client: DynamoDBClient;
  readonly tableName: string;
  /** Base URL of the DynamoDB stand-in. */
  readonly tablesUrl: string;
  readonly bucket: ReturnType<typeof createBucket>;
  readonly vault: TenantVault;
}

/** Starts the stand-ins of DynamoDB, S3 and KMS with an empty table and an empty bucket. */
export async function startStores(): Promise<Stores> {
  const [keys, storage] = await Promise.all([startKeys(), startStorage()]);
  const { kms, keyId } = keys;
  const vault = createVault({
    table: await keys.newTable(),
    unwrap: createKeyUnwrapper(kms, keyId),
    generate: createKeyGenerator(kms, keyId),
  });
  return {
    client: storage.dynamodb,
    tableName: await storage.newTable(),
    tablesUrl: storage.urls.dynamodb,
    bucket: createBucket(storage.s3, storage.bucketName),
    vault,
    async [Symbol.asyncDispose]() {
      await Promise.all([keys[Symbol.asyncDispose](), storage[Symbol.asyncDispose]()]);
    },
  };
}
