import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { deleteItem, getItem, updateAndGetItem, updateItem } from '../aws/table.ts';
import { omitUndefined } from '../core/objects.ts';

/** The key of a record: one `Idempotency-Key` of one tenant on one route. */
export interface RecordKey {
  readonly tenant: string;
  /** `idem#` and a SHA-256 of the route and the caller's key. */
  readonly id: string;
}

/** What a call writes when it claims a key. */
export interface Claim {
  /** Unique name of the call. */
  readonly owner: string;
  /** Epoch milliseconds until which the claim lasts unless it is renewed. */
  readonly until: number;
  /** Sealed fingerprint of the request's body. */
  readonly fingerprint: Uint8Array;
  /** Epoch seconds after which the key is unused again. */
  readonly expiresAt: number;
  /** Random id of the operation. */
  readonly operation: string;
}

/** The state of a key that has been used. */
export interface IdempotencyRecord {
  readonly owner: string;
  readonly fingerprint: Uint8Array;
  /** Increases with every claim of the key. */
  readonly epoch: number;
  /** Epoch milliseconds until which the claim lasts. Absent once the operation has ended. */
  readonly until?: number;
  /**
   * Id of the operation. Everything that the operation stores has an id derived from it, and a call that takes the key over
   * continues the same operation. Absent in records of earlier versions.
   */
  readonly operation?: string;
  /** Absent while the operation runs. */
  readonly result?: OperationResult;
}

/** Where the response of an ended operation is stored. */
export interface OperationResult {
  /** The store, or `nowhere` if the response must not be stored. */
  readonly kept: 'table' | 's3' | 'nowhere';
  /** Id of the stored response that the HTTP response contains. It is then stored with that one, and deleted with it. */
  readonly response?: string;
}

/** The record of a key that the call itself has claimed. */
export type ClaimedRecord = IdempotencyRecord & { readonly operation: string };

/** The result of a claim: the call has the key, or the record of another call exists. */
export type ClaimResult =
  | { readonly claimed: true; readonly record: ClaimedRecord }
  | { readonly claimed: false; readonly record: IdempotencyRecord };

/**
 * The records of idempotency keys. Each method sends one request unless its comment says otherwise. A request that the SDK
 * repeats because its response was lost has the same result as the first.
 */
export interface IdempotencyRecords {
  /** Claims a key that is unused or expired. Sends a second request if a record exists. */
  claim(key: RecordKey, claim: Claim, now: number): Promise<ClaimResult>;
  /**
   * Claims a key whose claim has lapsed without a result. Sends a second request if another call was faster.
   * @param record the record that was read. If the claim names its operation, the call continues that operation
   */
  takeOver(key: RecordKey, record: IdempotencyRecord, claim: Claim, now: number): Promise<ClaimResult>;
  /** Extends a claim to `until` (epoch milliseconds); false if another call has the key. */
  renew(key: RecordKey, owner: string, until: number): Promise<boolean>;
  /** Records the result of the operation; false if another call has the key. */
  finish(key: RecordKey, owner: string, result: OperationResult): Promise<boolean>;
  /** Ends the claim but keeps the record, so that the next call continues the operation. */
  abandon(key: RecordKey, owner: string): Promise<void>;
  /** Deletes the record of an operation that has stored nothing. */
  remove(key: RecordKey, owner: string): Promise<void>;
}

/** Creates the client of the idempotency records, which are items of the jobs' table. Throws DynamoDB's errors. */
export function createIdempotencyRecords(client: DynamoDBClient, name: string): IdempotencyRecords {
  const table = { client, name };

  /** Writes a claim if `condition` holds; otherwise reads the record that prevents it. */
  async function writeClaim(
    key: RecordKey,
    { owner, until, fingerprint, expiresAt, operation }: Claim,
    { condition, values }: { readonly condition: string; readonly values: Readonly<Record<string, unknown>> },
  ): Promise<ClaimResult> {
    for (;;) {
      const written = await updateAndGetItem(table, toItemKey(key), {
        change: `SET ${CLAIM_FIELDS} REMOVE kept, keptWith`,
        condition,
        values: marshall({
          ':owner': owner,
          ':until': until,
          ':fingerprint': fingerprint,
          ':expiresAt': expiresAt,
          ':operation': operation,
          ':none': -1,
          ':one': 1,
          ...values,
        }),
      });
      if (written !== undefined) return { claimed: true, record: { ...parseRecord(written), operation } };
      const item = await getItem(table, toItemKey(key));
      // The record was removed between the two requests.
      if (item === undefined) continue;
      const record = parseRecord(item);
      // The SDK repeats a request whose response was lost, and the repetition is refused because of the first.
      const isOurs = record.owner === owner && record.result === undefined;
      return isOurs ? { claimed: true, record: { ...record, operation } } : { claimed: false, record };
    }
  }

  return {
    claim: (key, claim, now) =>
      writeClaim(key, claim, {
        condition: 'attribute_not_exists(pk) OR expiresAt <= :seconds',
        values: { ':seconds': Math.floor(now / 1000) },
      }),

    takeOver: (key, { owner }, claim, now) =>
      writeClaim(key, claim, {
        condition:
          'attribute_not_exists(pk) OR (claimOwner = :previous AND attribute_not_exists(kept) AND ' +
          '(attribute_not_exists(claimUntil) OR claimUntil <= :now))',
        values: { ':previous': owner, ':now': now },
      }),

    renew: (key, owner, until) =>
      updateItem(table, toItemKey(key), {
        change: 'SET claimUntil = :until',
        condition: OWNS_CLAIM,
        values: marshall({ ':until': until, ':owner': owner }),
      }),

    finish: (key, owner, { kept, response }) =>
      updateItem(table, toItemKey(key), {
        change: `SET kept = :kept${response === undefined ? '' : ', keptWith = :response'} REMOVE claimUntil`,
        condition: 'claimOwner = :owner',
        values: marshall({ ':kept': kept, ':owner': owner, ':response': response }),
      }),

    async abandon(key, owner) {
      await updateItem(table, toItemKey(key), {
        change: 'SET claimUntil = :zero',
        condition: OWNS_CLAIM,
        values: marshall({ ':zero': 0, ':owner': owner }),
      });
    },

    async remove(key, owner) {
      await deleteItem(table, toItemKey(key), { condition: OWNS_CLAIM, values: marshall({ ':owner': owner }) });
    },
  };
}

const OWNS_CLAIM = 'claimOwner = :owner AND attribute_not_exists(kept)';
const CLAIM_FIELDS = [
  'claimOwner = :owner',
  'claimUntil = :until',
  'fingerprint = :fingerprint',
  'expiresAt = :expiresAt',
  'operation = :operation',
  'epoch = if_not_exists(epoch, :none) + :one',
].join(', ');

function toItemKey({ tenant, id }: RecordKey): Item {
  return marshall({ pk: `${tenant}#${id}`, sk: 'idem' });
}

// Attributes that a newer version added are ignored.
const recordSchema = v.object({
  claimOwner: v.string(),
  claimUntil: v.exactOptional(v.number()),
  fingerprint: v.instance(Uint8Array),
  epoch: v.optional(v.number(), 0),
  operation: v.exactOptional(v.string()),
  kept: v.exactOptional(v.picklist(['table', 's3', 'nowhere'])),
  keptWith: v.exactOptional(v.string()),
});

function parseRecord(item: Item): IdempotencyRecord {
  const { claimOwner, claimUntil, kept, keptWith, ...rest } = v.parse(recordSchema, unmarshall(item));
  const result = kept && omitUndefined({ kept, response: keptWith });
  return { ...rest, owner: claimOwner, ...omitUndefined({ until: claimUntil, result }) };
}
