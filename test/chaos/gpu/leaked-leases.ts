import { setTimeout as sleep } from 'node:timers/promises';
import { type DynamoDBClient, paginateQuery } from '@aws-sdk/client-dynamodb';
import type { Cloud } from '../../../local/cloud.ts';
import { connectToTables } from '../../end-to-end/keys.ts';

const EVERY_MS = 250;

/**
 * Waits until no slot of a fleet is leased, reading the table without the service's code.
 * @param patienceMs how long a lease that was not released may remain
 * @returns the number of leases left after that
 */
export async function countLeakedLeases(cloud: Cloud, fleet: string, patienceMs: number): Promise<number> {
  const client = connectToTables(cloud);
  try {
    const until = Date.now() + patienceMs;
    let leases = await countLeases(client, cloud.resources['FLEET_TABLE'], fleet);
    while (leases > 0 && Date.now() < until) {
      await sleep(EVERY_MS);
      leases = await countLeases(client, cloud.resources['FLEET_TABLE'], fleet);
    }
    return leases;
  } finally {
    client.destroy();
  }
}

async function countLeases(client: DynamoDBClient, TableName: string | undefined, fleet: string): Promise<number> {
  let leases = 0;
  const pages = paginateQuery(
    { client },
    {
      TableName,
      KeyConditionExpression: 'pk = :fleet',
      ExpressionAttributeValues: { ':fleet': { S: `fleet#${fleet}` } },
      ConsistentRead: true,
    },
  );
  for await (const { Items = [] } of pages) {
    for (const { leases: held } of Items) leases += Object.keys(held?.M ?? {}).length;
  }
  return leases;
}
