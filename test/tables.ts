import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';

/** Returns the input that creates a table with the keys of Lambent's tables: partition key `pk`, sort key `sk`. */
export function createTableInput(TableName: string) {
  return {
    TableName,
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: [
      { AttributeName: 'pk', AttributeType: 'S' },
      { AttributeName: 'sk', AttributeType: 'S' },
    ],
    KeySchema: [
      { AttributeName: 'pk', KeyType: 'HASH' },
      { AttributeName: 'sk', KeyType: 'RANGE' },
    ],
  } satisfies CreateTableCommandInput;
}
