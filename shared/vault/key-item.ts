import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { LambentError } from '../core/errors.ts';

/** A tenant key as it is stored: encrypted by KMS. */
export interface WrappedKey {
  readonly wrapped: Uint8Array;
  /** Epoch milliseconds. */
  readonly createdAt: number;
  /** ARN of the KMS key that encrypted it. Earlier versions didn't store it. */
  readonly kmsKey?: string;
}

/** The stored keys of a tenant that was not erased. */
export interface ActiveKeys {
  /** The version that seals. */
  readonly current: number;
  /** All versions by number, oldest included: they open the records that they sealed. */
  readonly versions: ReadonlyMap<number, WrappedKey>;
  /** ARN of the customer's own KMS key, which wraps all versions; absent if the deployment's key does. */
  readonly externalKey?: string;
}

/**
 * Returns the external key if it wraps this version. In a tenant's item that a previous version of this code changed, the
 * deployment's key may wrap some.
 */
export function findExternalKey({ kmsKey }: WrappedKey, externalKey: string | undefined): string | undefined {
  return kmsKey === externalKey ? externalKey : undefined;
}

/** What is stored of one tenant's keys. */
export type KeyHistory =
  | ({ readonly state: 'active' } & ActiveKeys)
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
export function toTenantItemKey(tenant: string): Item {
  return marshall({ pk: PREFIX + tenant, sk: SORT_KEY });
}

const integer = v.pipe(v.number(), v.safeInteger());
const tombstoneSchema = v.object({ pk: v.string(), deletedAt: integer });
const activeSchema = v.object({
  current: integer,
  externalKey: v.exactOptional(v.string()),
  versions: v.record(
    v.string(),
    v.object({ wrapped: v.instance(Uint8Array), createdAt: integer, kmsKey: v.exactOptional(v.string()) }),
  ),
});

/**
 * Parses a tenant's item.
 * @throws LambentError `configuration` if it is not a tenant's item
 */
export function parseKeyHistory(item: Item): KeyHistory {
  const tombstone = v.safeParse(tombstoneSchema, unmarshall(item));
  if (tombstone.success) return { state: 'deleted', deletedAt: tombstone.output.deletedAt };
  const { versions, ...rest } = parseItem(activeSchema, item);
  const keys = Object.entries(versions).map(([version, key]) => [Number(version), key] as const);
  return { state: 'active', ...rest, versions: new Map(keys) };
}

/**
 * Parses the item of an erased tenant.
 * @throws LambentError `configuration` if it is not a tombstone
 */
export function parseTombstone(item: Item): Tombstone {
  const { pk, deletedAt } = parseItem(tombstoneSchema, item);
  return { tenant: pk.slice(PREFIX.length), deletedAt };
}

function parseItem<Schema extends v.GenericSchema>(schema: Schema, item: Item): v.InferOutput<Schema> {
  const result = v.safeParse(schema, unmarshall(item));
  if (result.success) return result.output;
  throw new LambentError(
    'configuration',
    `The keys table holds an item that is not a tenant's keys (wrong field: ${v.getDotPath(result.issues[0])})`,
  );
}
