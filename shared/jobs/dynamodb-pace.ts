import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { getItem, updateItem, updateOrGetItem } from '../aws/table.ts';
import type { PaceState, PaceTable } from './pace-table.ts';

/** An unused state is removed after an hour, in seconds. */
const LIFETIME_SECONDS = 3_600;

const stateSchema = v.object({
  window: v.number(),
  left: v.number(),
  accepted: v.number(),
  restUntil: v.number(),
  throttledAt: v.number(),
});

/**
 * Creates the states of throttled models in the jobs table: one item per model. Throws DynamoDB's errors. `window` and `left`
 * have placeholders in expressions, because they may be reserved words.
 */
export function createDynamoDBPace(client: DynamoDBClient, tableName: string): PaceTable {
  const table = { client, name: tableName };
  const names = { '#window': 'window', '#left': 'left' };
  const toResult = ({ isWritten, item }: { readonly isWritten: boolean; readonly item: Item | undefined }) => ({
    isWritten,
    state: parseState(item),
  });
  return {
    async read(model) {
      return parseState(await getItem(table, keyOf(model), { eventual: true }));
    },
    async take(model, { window, permits, accepted, now }) {
      return toResult(
        await updateOrGetItem(table, keyOf(model), {
          change: 'SET #left = #left - :permits ADD accepted :accepted',
          condition: '#window = :window AND #left >= :permits AND restUntil <= :now',
          names,
          values: marshall({ ':window': window, ':permits': permits, ':accepted': accepted, ':now': now }),
        }),
      );
    },
    async accept(model, window, accepted) {
      return toResult(
        await updateOrGetItem(table, keyOf(model), {
          change: 'ADD accepted :accepted',
          condition: '#window >= :window',
          names: { '#window': 'window' },
          values: marshall({ ':window': window, ':accepted': accepted }),
        }),
      );
    },
    async open(model, { window, left, accepted, throttledAt }, before) {
      return toResult(
        await updateOrGetItem(table, keyOf(model), {
          change:
            'SET #window = :window, #left = :left, accepted = :accepted, restUntil = if_not_exists(restUntil, :zero), ' +
            'throttledAt = if_not_exists(throttledAt, :throttledAt), expiresAt = if_not_exists(expiresAt, :expiresAt)',
          condition: before === undefined ? 'attribute_not_exists(pk)' : '#window = :before',
          names,
          values: marshall({
            ':window': window,
            ':left': left,
            ':accepted': accepted,
            ':zero': 0,
            ':throttledAt': throttledAt,
            ':expiresAt': toExpiry(throttledAt),
            ':before': before,
          }),
        }),
      );
    },
    async recordThrottled(model, { window, restUntil, throttledAt }) {
      const change =
        '#window = if_not_exists(#window, :window), #left = if_not_exists(#left, :zero), ' +
        'accepted = if_not_exists(accepted, :zero), throttledAt = :throttledAt, expiresAt = :expiresAt';
      const values = {
        ':window': window,
        ':zero': 0,
        ':throttledAt': throttledAt,
        ':expiresAt': toExpiry(throttledAt),
        ':restUntil': restUntil,
      };
      const isLonger =
        restUntil > throttledAt &&
        (await updateItem(table, keyOf(model), {
          change: `SET ${change}, restUntil = :restUntil`,
          condition: 'attribute_not_exists(restUntil) OR restUntil < :restUntil',
          names,
          values: marshall(values),
        }));
      if (isLonger) return;
      await updateItem(table, keyOf(model), {
        change: `SET ${change}, restUntil = if_not_exists(restUntil, :restUntil)`,
        names,
        values: marshall(values),
      });
    },
  };
}

/** A tenant's name is never empty, so that no job has this key. */
function keyOf(model: string): Item {
  return marshall({ pk: `#pace#${model}`, sk: 'pace' });
}

function toExpiry(throttledAt: number): number {
  return Math.floor(throttledAt / 1000) + LIFETIME_SECONDS;
}

function parseState(item: Item | undefined): PaceState | undefined {
  return item && v.parse(stateSchema, unmarshall(item));
}
