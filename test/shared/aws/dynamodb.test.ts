import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';
import { createDynamoDBClient } from '../../../shared/aws/dynamodb.ts';

const listMiddleware = ({ middlewareStack }: DynamoDBClient) =>
  middlewareStack.identify().map((description) => description.split(' ')[0]);

describe('the DynamoDB client', () => {
  it('leaves out the SDK’s log and its name, and nothing else', () => {
    const unused = ['loggerMiddleware', 'getUserAgentMiddleware'];
    const all = listMiddleware(new DynamoDBClient({}));
    expect(all).toEqual(expect.arrayContaining(unused));
    expect(listMiddleware(createDynamoDBClient())).toEqual(all.filter((name = '') => !unused.includes(name)));
  });

  it('builds the chain of its middleware once per command', () => {
    expect(createDynamoDBClient().config).toMatchObject({ cacheMiddleware: true });
  });
});
