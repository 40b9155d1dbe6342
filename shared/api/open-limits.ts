import * as v from 'valibot';
import { createDynamoDBClient } from '../aws/dynamodb.ts';
import { readConfig } from '../core/config.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { createDynamoDBCounters } from '../limits/dynamodb-counters.ts';
import { LimitsStage } from './limits-stage.ts';
import { Reservations, type ReservationsOptions, type StreamLimits } from './reservations.ts';

/** Read with the first limited call, so that functions start without them. */
const limitsSettings = {
  LIMITS_TABLE: v.string(),
  /** What happens to limited calls while the table is not available. */
  LIMITS_OUTAGE: v.optional(v.picklist(['refuse', 'pass']), 'refuse'),
};

/** Creates the stage that applies limits, with a client of its own. Call it once per environment. */
export function openLimits(registry: ModelRegistry): LimitsStage {
  return new LimitsStage({ ...openCounters(), registry });
}

/** Creates the limits of streams that call no model, with a client of their own. Call it once per environment. */
export function openStreamLimits(): StreamLimits {
  return new Reservations(openCounters());
}

function openCounters(): ReservationsOptions {
  const config = readConfig(limitsSettings);
  const client = createDynamoDBClient({ maxAttempts: 1 });
  return { store: createDynamoDBCounters(client, config.LIMITS_TABLE), whenDown: config.LIMITS_OUTAGE };
}
