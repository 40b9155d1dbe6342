import * as v from 'valibot';
import { createDynamoDBClient } from '../aws/dynamodb.ts';
import { readConfig } from '../core/config.ts';
import { createDynamoDBCounters } from '../limits/dynamodb-counters.ts';

/** Read with the first limited call, so that functions start without them. */
const limitsSettings = {
  LIMITS_TABLE: v.string(),
  /** What happens to limited calls while the table is not available. */
  LIMITS_OUTAGE: v.optional(v.picklist(['refuse', 'pass']), 'refuse'),
};

/** Creates the store of the table of limits, with a client of its own, and reads what happens while it is not available. */
export function createLimitsStore() {
  const config = readConfig(limitsSettings);
  const client = createDynamoDBClient({ maxAttempts: 1 });
  return { store: createDynamoDBCounters(client, config.LIMITS_TABLE), whenDown: config.LIMITS_OUTAGE };
}
