import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startTables } from '../../../local/tables.ts';
import { createVault } from '../../../shared/vault/create-vault.ts';
import { createKeyGenerator, createKeyUnwrapper } from '../../../shared/vault/kms-keys.ts';
import type { Vault } from '../../../shared/vault/vault.ts';
import { keyedTable } from '../../tables.ts';
import { startServices } from '../vault/environments.ts';

/** A table with the two keys that all of the service's tables have, and a vault, over the wire. */
export interface Stores extends AsyncDisposable {
  readonly client: DynamoDBClient;
  readonly tableName: string;
  readonly vault: Vault;
}

/** Starts DynamoDB's and KMS's stand-ins with an empty table. */
export async function startStores(): Promise<Stores> {
  const services = await startServices();
  const tables = await startTables({});
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new DynamoDBClient({ region: 'eu-west-1', endpoint: tables.url, credentials });
  const tableName = 'things';
  await client.send(new CreateTableCommand(keyedTable(tableName)));
  const { kms, keyId } = services;
  const vault = createVault({
    table: await services.newTable(),
    unwrap: createKeyUnwrapper(kms, keyId),
    generate: createKeyGenerator(kms, keyId),
  });
  return {
    client,
    tableName,
    vault,
    async [Symbol.asyncDispose]() {
      client.destroy();
      await tables.close();
      await services[Symbol.asyncDispose]();
    },
  };
}
