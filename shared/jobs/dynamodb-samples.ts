import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { getItem, putItem } from '../aws/table.ts';
import type { BacklogSamples } from './backlog-watch.ts';
import type { QueueName } from './index-entry.ts';

/** An unused sample is removed after an hour, in seconds. */
const LIFETIME_SECONDS = 3_600;

const sampleSchema = v.object({ at: v.number(), ticketed: v.number(), missing: v.number() });

/** Creates the backlogs' samples in the jobs table: one item per queue. Throws DynamoDB's errors. */
export function createDynamoDBSamples(client: DynamoDBClient, tableName: string): BacklogSamples {
  const table = { client, name: tableName };
  return {
    async read(queue) {
      const item = await getItem(table, keyOf(queue));
      const result = v.safeParse(sampleSchema, item && unmarshall(item));
      return result.success ? result.output : undefined;
    },
    async write(queue, sample) {
      const expiresAt = Math.ceil(sample.at / 1000) + LIFETIME_SECONDS;
      await putItem(table, { ...keyOf(queue), ...marshall({ ...sample, expiresAt }) });
    },
  };
}

/** No tenant's name begins with `#`. */
function keyOf(queue: QueueName): Item {
  return marshall({ pk: `#backlog#${queue}`, sk: 'sample' });
}
