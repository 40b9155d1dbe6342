import { randomUUID } from 'node:crypto';
import { setTimeout as sleepFor } from 'node:timers/promises';
import { createDynamoDBClient } from '../../../aws/dynamodb.ts';
import type { SlotTimings } from '../../../gpu/fleet-timings.ts';
import { createSlotAllocator, type SlotAllocator } from '../../../gpu/placement/leasing.ts';
import { SLOT_SETTINGS } from '../../../gpu/placement/settings.ts';
import { createDynamoDBFleetStore } from '../../../gpu/registry/dynamodb-fleet.ts';
import type { ModelRegistry } from '../../registry.ts';

/**
 * What leases slots, as one function environment has it. Loaded when a target on a GPU worker is first used: the client that
 * comes with it is what a cold start of chat would not want to read.
 */
export function openSlots(tableName: string, fleets: ModelRegistry['fleets'], timings: SlotTimings): SlotAllocator {
  return createSlotAllocator(
    {
      store: createDynamoDBFleetStore(createDynamoDBClient(), { tableName }),
      now: Date.now,
      random: Math.random,
      // It keeps the process: while a full fleet is waited for, nothing else may.
      sleep: (ms, signal) => sleepFor(ms, undefined, { signal }).catch(() => {}),
      newId: () => randomUUID().replaceAll('-', '').slice(0, 12),
    },
    { ...SLOT_SETTINGS, ...timings, fleets },
  );
}
