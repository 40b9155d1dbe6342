/**
 * Server process: makes two requests to DynamoDB for each HTTP request, one after another, and nothing else. They have the functions'
 * own client: the least that two requests cost a function.
 *
 * `node table-requests.ts <table>`, with the settings of AWS clients in the environment
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { createDynamoDBClient } from '../../shared/aws/dynamodb.ts';

const [TableName] = process.argv.slice(2);
const client = createDynamoDBClient({ maxAttempts: 1 });
const count = () =>
  client.send(
    new UpdateItemCommand({
      TableName,
      Key: { pk: { S: 'bare' } },
      UpdateExpression: 'ADD calls :one',
      ExpressionAttributeValues: { ':one': { N: '1' } },
      ReturnValues: 'ALL_NEW',
    }),
  );

const server = createServer(async (request, response) => {
  request.resume();
  await count();
  await count();
  response.end('counted');
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
