import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { expect, it } from 'vitest';
import { createDynamoDBClient } from '../../../shared/aws/dynamodb.ts';

it('the DynamoDB client does not copy responses for the SDK’s log', () => {
  const listMiddleware = ({ middlewareStack }: DynamoDBClient) => middlewareStack.identify().join('\n');
  expect(listMiddleware(new DynamoDBClient({}))).toContain('loggerMiddleware');
  expect(listMiddleware(createDynamoDBClient())).not.toContain('loggerMiddleware');
});
