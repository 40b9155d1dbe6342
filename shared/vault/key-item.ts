import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';

/** A tenant key as it is stored: encrypted by KMS. */
export interface WrappedKey {
  readonly wrapped: Uint8Array;
  /** Epoch milliseconds. */
  readonly createdAt: number;
}

/** The stored keys of one tenant. */
export type KeyHistory =
  | {
      readonly state: 'active';
      /** The version that seals. */
      readonly current: number;
      /** All versions by number, oldest included: they open the records that they sealed. */
      readonly versions: ReadonlyMap<number, WrappedKey>;
    }
  | { readonly state: 'deleted'; readonly deletedAt: number };

/** Marks a tenant as erased. The tenant never gets keys again. */
export interface Tombstone {
  readonly tenant: string;
  /** Epoch milliseconds. */
  readonly deletedAt: number;
}

const PREFIX = 'tenant#';
const SORT_KEY = 'keys';

/** Returns the DynamoDB key of a tenant's only item. */
export function toTenantItemKey(tenant: string) {
  return { pk: { S: PREFIX + tenant }, sk: { S: SORT_KEY } };
}

const number = v.object({ N: v.pipe(v.string(), v.transform(Number), v.safeInteger()) });
const tombstoneSchema = v.object({ pk: v.object({ S: v.string() }), deletedAt: number });
const activeSchema = v.object({
  current: number,
  versions: v.object({
    M: v.record(
      v.string(),
      v.object({ M: v.object({ wrapped: v.object({ B: v.instance(Uint8Array) }), createdAt: number }) }),
    ),
  }),
});

/**
 * Parses a tenant's item.
 * @throws LambentError `configuration` if it is not a tenant's item
 */
export function parseKeyHistory(item: unknown): KeyHistory {
  const tombstone = v.safeParse(tombstoneSchema, item);
  if (tombstone.success) return { state: 'deleted', deletedAt: tombstone.output.deletedAt.N };
  const { current, versions } = parseItem(activeSchema, item);
  const keys = Object.entries(versions.M).map(
    ([version, { M }]) => [Number(version), { wrapped: M.wrapped.B, createdAt: M.createdAt.N }] as const,
  );
  return { state: 'active', current: current.N, versions: new Map(keys) };
}

/**
 * Parses the item of an erased tenant.
 * @throws LambentError `configuration` if it is not a tombstone
 */
export function parseTombstone(item: unknown): Tombstone {
  const { pk, deletedAt } = parseItem(tombstoneSchema, item);
  return { tenant: pk.S.slice(PREFIX.length), deletedAt: deletedAt.N };
}

function parseItem<Schema extends v.GenericSchema>(schema: Schema, item: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, item);
  if (result.success) return result.output;
  throw new LambentError(
    'configuration',
    `The keys table holds an item that is not a tenant's keys (wrong field: ${v.getDotPath(result.issues[0])})`,
  );
}
