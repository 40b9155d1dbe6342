/** A function that makes its DynamoDB client at once, and leaves all of the client's settings alone. */
import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';

const client = new DynamoDBClient();

export const handler = () => client.send(new GetItemCommand({ TableName: 'things', Key: { pk: { S: 'thing' } } }));
