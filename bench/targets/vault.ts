import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { startKms } from '../../local/kms/server.ts';
import { startTables } from '../../local/tables.ts';
import { createVault } from '../../shared/vault/create-vault.ts';
import { createTenantKeyTable } from '../../shared/vault/key-table.ts';
import { createKeyGenerator, createKeyUnwrapper } from '../../shared/vault/kms-keys.ts';
import type { Vault } from '../../shared/vault/vault.ts';

/** A vault configured as in a function, on the stand-ins for DynamoDB and KMS. */
export interface BenchVault extends AsyncDisposable {
  readonly vault: Vault;
  /** Returns the number of calls to KMS so far. */
  kmsCalls(): number;
}

/** Starts a vault with empty caches, whose first use calls KMS. */
export async function startVault(): Promise<BenchVault> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const tables = await startTables({});
  started.defer(() => tables.close());
  const kmsStandIn = await startKms({ stateFile: join(folder, 'kms.json') });
  started.defer(() => kmsStandIn.close());
  const client = { region: 'eu-west-1', credentials: { accessKeyId: 'bench', secretAccessKey: 'bench' } };
  const dynamodb = started.adopt(new DynamoDBClient({ ...client, endpoint: tables.url }), (each) => each.destroy());
  const kms = started.adopt(new KMSClient({ ...client, endpoint: kmsStandIn.url }), (each) => each.destroy());
  await dynamodb.send(new CreateTableCommand(KEYS_TABLE));
  const { KeyMetadata } = await kms.send(new CreateKeyCommand({}));
  const keyId = KeyMetadata?.KeyId ?? '';
  let calls = 0;
  const count = () => {
    calls++;
  };
  const vault = createVault({
    table: createTenantKeyTable(dynamodb, KEYS_TABLE.TableName),
    unwrap: createKeyUnwrapper(kms, keyId, count),
    generate: createKeyGenerator(kms, keyId, count),
  });
  const whole = started.move();
  return { vault, kmsCalls: () => calls, [Symbol.asyncDispose]: () => whole.disposeAsync() };
}

const KEYS_TABLE = {
  TableName: 'keys',
  BillingMode: 'PAY_PER_REQUEST' as const,
  AttributeDefinitions: [
    { AttributeName: 'pk', AttributeType: 'S' as const },
    { AttributeName: 'sk', AttributeType: 'S' as const },
  ],
  KeySchema: [
    { AttributeName: 'pk', KeyType: 'HASH' as const },
    { AttributeName: 'sk', KeyType: 'RANGE' as const },
  ],
};
