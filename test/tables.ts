import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';

/** What a table of Lambent's is created with: partition key `pk`, sort key `sk`. */
export function keyedTable(TableName: string) {
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
