import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { expect, it } from 'vitest';
import { createDynamoDBClient } from '../../../shared/aws/dynamodb.ts';

it('the DynamoDB client copies no answer for a log', () => {
  const steps = ({ middlewareStack }: DynamoDBClient) => middlewareStack.identify().join('\n');
  expect(steps(new DynamoDBClient({}))).toContain('loggerMiddleware');
  expect(steps(createDynamoDBClient())).not.toContain('loggerMiddleware');
});
