import {
  CreateTableCommand,
  type CreateTableCommandInput,
  DescribeTableCommand,
  type DynamoDBClient,
  ResourceInUseException,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { LambentError } from '../shared/core/errors.ts';
import type { AccessKeys } from './access/access-keys.ts';
import { SignatureVerifier } from './access/signature.ts';
import { createDynalite } from './dynalite/server.ts';
import { type Listening, listen } from './listen.ts';
import type { References } from './service/references.ts';
import type { Service } from './service/service.ts';

export interface Tables extends Listening {
  /** The value for `AWS_ENDPOINT_URL_DYNAMODB`. */
  readonly url: string;
}

export interface TablesOptions {
  /** Folder in which tables are stored. When absent, they are lost when the stand-in stops. */
  readonly path?: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** The keys with which requests must be signed. Signatures are not checked when absent. */
  readonly accessKeys?: AccessKeys;
}

/** Starts the stand-in for DynamoDB on 127.0.0.1. */
export async function startTables({ path, port = 0, accessKeys }: TablesOptions): Promise<Tables> {
  const verifier = accessKeys && new SignatureVerifier('dynamodb', accessKeys);
  const listening = await listen(await createDynalite(path), { port, verifier });
  return { url: `http://127.0.0.1:${listening.port}`, ...listening };
}

/** Properties that CloudFormation and DynamoDB have in common. */
const PROPERTIES = [
  'AttributeDefinitions',
  'KeySchema',
  'BillingMode',
  'ProvisionedThroughput',
  'GlobalSecondaryIndexes',
  'LocalSecondaryIndexes',
] as const;

/**
 * Creates the tables that the service defines. Tables of an earlier start are left as they are.
 * @returns their names, by logical id
 * @throws LambentError `configuration` if the keys of an existing table differ from its definition
 */
export async function createTables(
  client: DynamoDBClient,
  { resources }: Service,
  references: References,
): Promise<Record<string, string>> {
  const tables = Object.entries(resources).filter(([, { Type }]) => Type === 'AWS::DynamoDB::Table');
  const names = tables.map(async ([logicalId, { Properties }]) => {
    const TableName = references.getName(logicalId);
    const definition = Object.fromEntries(
      PROPERTIES.flatMap((name) => (name in Properties ? [[name, Properties[name]]] : [])),
    );
    await createTable(client, { TableName, ...definition } as CreateTableCommandInput);
    return [logicalId, TableName] as const;
  });
  return Object.fromEntries(await Promise.all(names));
}

async function createTable(client: DynamoDBClient, definition: CreateTableCommandInput): Promise<void> {
  const { TableName } = definition;
  try {
    await client.send(new CreateTableCommand(definition));
    await waitUntilTableExists({ client, maxWaitTime: 100, minDelay: 0.01, maxDelay: 0.1 }, { TableName });
  } catch (error) {
    if (!(error instanceof ResourceInUseException)) throw error;
    const { Table } = await client.send(new DescribeTableCommand({ TableName }));
    if (describeKeys(Table) === describeKeys(definition)) return;
    const problem = `The table ${TableName} was created by an earlier version with other keys.`;
    throw new LambentError('configuration', `${problem} Delete the state folder.`, { cause: error });
  }
}

type KeySchema = readonly { readonly AttributeName: string | undefined; readonly KeyType: string | undefined }[];
type Indexes = readonly { readonly IndexName?: string | undefined; readonly KeySchema?: KeySchema | undefined }[];

/** The fields that a table's definition and its description have in common. */
interface TableKeys {
  readonly KeySchema?: KeySchema | undefined;
  readonly GlobalSecondaryIndexes?: Indexes | undefined;
  readonly LocalSecondaryIndexes?: Indexes | undefined;
}

/** Returns the keys of a table and of its indexes as text that can be compared. */
function describeKeys({ KeySchema, GlobalSecondaryIndexes, LocalSecondaryIndexes }: TableKeys = {}): string {
  const keys = (schema: KeySchema | undefined) =>
    (schema ?? []).map(({ AttributeName, KeyType }) => `${AttributeName} ${KeyType}`);
  const indexes = [...(GlobalSecondaryIndexes ?? []), ...(LocalSecondaryIndexes ?? [])]
    .map((index) => [index.IndexName, ...keys(index.KeySchema)].join(' '))
    .sort();
  return JSON.stringify([keys(KeySchema), indexes]);
}
