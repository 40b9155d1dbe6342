import { ConditionalCheckFailedException, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { addDirectAttempt, type DirectService } from './direct-attempt.ts';
import { createRequestHandler } from './request-handler.ts';

/** DynamoDB answers within milliseconds. A second without an answer means a lost connection. */
const REQUEST_TIMEOUT_MS = 1_000;

const DIRECT: DirectService = {
  name: 'dynamodb',
  targetPrefix: 'DynamoDB_20120810',
  endpointVariable: 'AWS_ENDPOINT_URL_DYNAMODB',
  operations: new Set([
    'BatchGetItem',
    'BatchWriteItem',
    'DeleteItem',
    'GetItem',
    'PutItem',
    'Query',
    'Scan',
    'UpdateItem',
  ]),
  toRefusal({ __type, message, Item }, $metadata) {
    if (!String(__type).endsWith('#ConditionalCheckFailedException')) return undefined;
    return new ConditionalCheckFailedException({
      message: String(message),
      $metadata,
      ...(Item === undefined ? {} : { Item: Item as Attributes }),
    });
  },
};
type Attributes = NonNullable<ConditionalCheckFailedException['Item']>;

/** Attempts of the SDK after the direct one, which makes three in all, the SDK's default. */
const SDK_ATTEMPTS = 2;

/**
 * Creates a DynamoDB client. Region, credentials and endpoint come from Lambda's environment variables. A call makes up to
 * three attempts, of which the first is [direct](../../docs/decisions/0021-direct-first-attempts.md).
 */
export function createDynamoDBClient(): DynamoDBClient {
  const client = new DynamoDBClient({
    requestHandler: createRequestHandler(REQUEST_TIMEOUT_MS),
    maxAttempts: SDK_ATTEMPTS,
  });
  // Nothing reads the SDK's log, but its middleware copies each response. For a large response that took half of the
  // client's time.
  client.middlewareStack.remove('loggerMiddleware');
  addDirectAttempt(client, DIRECT);
  return client;
}
