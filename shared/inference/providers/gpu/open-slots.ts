import { setTimeout as sleepFor } from 'node:timers/promises';
import { createDynamoDBClient } from '../../../aws/dynamodb.ts';
import { newId } from '../../../core/ids.ts';
import type { SlotTimings } from '../../../gpu/fleet-timings.ts';
import { SLOT_SETTINGS } from '../../../gpu/placement/settings.ts';
import { createSlotAllocator, type SlotAllocator } from '../../../gpu/placement/slot-allocator.ts';
import { createDynamoDBFleetStore } from '../../../gpu/registry/dynamodb-fleet.ts';
import type { ModelRegistry } from '../../registry.ts';

/**
 * Creates the slot allocator of a function environment. This module is imported when a GPU target is first used, so
 * that a cold start of `chat` does not load the DynamoDB client that comes with it.
 */
export function openSlots(tableName: string, fleets: ModelRegistry['fleets'], timings: SlotTimings): SlotAllocator {
  return createSlotAllocator(
    {
      store: createDynamoDBFleetStore(createDynamoDBClient(), { tableName }),
      now: Date.now,
      random: Math.random,
      // While a request waits for a slot, this timer may be the only thing that keeps the process alive.
      sleep: (ms, signal) => sleepFor(ms, undefined, { signal }).catch(() => {}),
      newId: () => newId(12),
    },
    { ...SLOT_SETTINGS, ...timings, fleets },
  );
}
