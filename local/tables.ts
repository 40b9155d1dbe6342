import {
  CreateTableCommand,
  type CreateTableCommandInput,
  DescribeTableCommand,
  type DynamoDBClient,
  ResourceInUseException,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import dynalite from 'dynalite';
import { LambentError } from '../shared/core/errors.ts';
import { type Listening, listen } from './listen.ts';
import type { References } from './service/references.ts';
import type { Service } from './service/service.ts';

/**
 * Starts DynamoDB's stand-in on 127.0.0.1.
 * @param path folder that keeps the tables; they are forgotten with the process when absent
 */
export async function startTables({
  path,
  port = 0,
}: {
  path?: string;
  port?: number;
}): Promise<{ url: string } & Listening> {
  const server = dynalite({ createTableMs: 0, ...(path === undefined ? {} : { path }) });
  const listening = await listen(server, { port });
  return { url: `http://127.0.0.1:${listening.port}`, ...listening };
}

/** The parts of a CloudFormation table that DynamoDB takes as they are. */
const PROPERTIES = [
  'AttributeDefinitions',
  'KeySchema',
  'BillingMode',
  'ProvisionedThroughput',
  'GlobalSecondaryIndexes',
  'LocalSecondaryIndexes',
] as const;

/**
 * Creates the tables that the service defines. Those that exist, from an earlier start, are left as they are.
 * @returns their names, by logical id
 * @throws LambentError `configuration` when an existing table has other keys than its definition now says
 */
export async function createTables(
  client: DynamoDBClient,
  { resources }: Service,
  references: References,
): Promise<Record<string, string>> {
  const tables = Object.entries(resources).filter(([, { Type }]) => Type === 'AWS::DynamoDB::Table');
  const names = tables.map(async ([logicalId, { Properties }]) => {
    const TableName = references.nameOf(logicalId);
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
    await waitUntilTableExists({ client, maxWaitTime: 10, minDelay: 0.01, maxDelay: 0.1 }, { TableName });
  } catch (error) {
    if (!(error instanceof ResourceInUseException)) throw error;
    const { Table } = await client.send(new DescribeTableCommand({ TableName }));
    if (shapeOf(Table) === shapeOf(definition)) return;
    const message = `The table ${TableName} was made by an earlier version and has other keys now: delete the state folder.`;
    throw new LambentError('configuration', message, { cause: error });
  }
}

type KeySchema = readonly { readonly AttributeName: string | undefined; readonly KeyType: string | undefined }[];
type Indexes = readonly { readonly IndexName?: string | undefined; readonly KeySchema?: KeySchema | undefined }[];

/** What a definition and a description have in common. */
interface Shape {
  readonly KeySchema?: KeySchema | undefined;
  readonly GlobalSecondaryIndexes?: Indexes | undefined;
  readonly LocalSecondaryIndexes?: Indexes | undefined;
}

/** The keys of a table and of its indexes, as one comparable text. */
function shapeOf({ KeySchema, GlobalSecondaryIndexes, LocalSecondaryIndexes }: Shape = {}): string {
  const keys = (schema: KeySchema | undefined) =>
    (schema ?? []).map(({ AttributeName, KeyType }) => `${AttributeName} ${KeyType}`);
  const indexes = [...(GlobalSecondaryIndexes ?? []), ...(LocalSecondaryIndexes ?? [])]
    .map((index) => [index.IndexName, ...keys(index.KeySchema)].join(' '))
    .sort();
  return JSON.stringify([keys(KeySchema), indexes]);
}
