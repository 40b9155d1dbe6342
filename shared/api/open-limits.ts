import * as v from 'valibot';
import { createDynamoDBClient } from '../aws/dynamodb.ts';
import { readConfig } from '../core/config.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { createDynamoDBCounters } from '../limits/dynamodb-counters.ts';
import { LimitsStage } from './limits-stage.ts';

/** Read with the first limited call, so that functions start without them. */
const limitsSettings = {
  LIMITS_TABLE: v.string(),
  /** What happens to limited calls while the table is not available. */
  LIMITS_OUTAGE: v.optional(v.picklist(['refuse', 'pass']), 'refuse'),
};

/** Creates the stage that applies limits, with a client of its own. Call it once per environment. */
export function openLimits(registry: ModelRegistry): LimitsStage {
  const config = readConfig(limitsSettings);
  const client = createDynamoDBClient({ maxAttempts: 1 });
  return new LimitsStage({
    store: createDynamoDBCounters(client, config.LIMITS_TABLE),
    registry,
    whenDown: config.LIMITS_OUTAGE,
  });
}
