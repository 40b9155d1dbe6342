import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { deleteItem, getItem, updateAndGetItem, updateItem } from '../aws/table.ts';
import { omitUndefined } from '../core/objects.ts';

/** Names what an idempotency key stands for: a tenant's, on one route. The key itself is hashed in `id`. */
export interface ClaimKey {
  readonly tenant: string;
  /** `idem#` and a SHA-256. */
  readonly id: string;
}

/** Who runs an attempt, and until when that is believed unless it is renewed. */
export interface Claimant {
  readonly owner: string;
  /** Epoch milliseconds. */
  readonly until: number;
  /** Sealed: what the request said, to tell it from another. */
  readonly fingerprint: Uint8Array;
  /** Epoch seconds after which the key is free again. */
  readonly expiresAt: number;
}

/** A key that has been used. */
export interface Claim {
  readonly fingerprint: Uint8Array;
  /** Which attempt it is: 0, and one more whenever a holder that was not heard of is taken over. */
  readonly epoch: number;
  /** Absent while the attempt runs. */
  readonly outcome?: Outcome;
}

/** What became of a try to take a key: it is the caller's, or another's claim stands in the way. */
export type Taking =
  | { readonly taken: true; readonly epoch: number }
  | { readonly taken: false; readonly claim: Claim };

/** How an attempt ended: its answer is kept in one of two places, or nowhere. */
export interface Outcome {
  readonly kept: 'table' | 's3' | 'nowhere';
  /** Id of the stored response that it shows: the answer lies with it, and goes with it. */
  readonly response?: string;
}

/** The idempotency records, one item each beside the jobs. Every method is one request, or two where it says so. */
export interface Claims {
  /** Takes the key, if nobody has or who had it crashed: two requests when it is another's. */
  take(key: ClaimKey, claimant: Claimant, now: number): Promise<Taking>;
  /** Keeps the key until then (epoch milliseconds). False when it is another's by now. */
  renew(key: ClaimKey, owner: string, until: number): Promise<boolean>;
  /** False when the key is another's by now. */
  finish(key: ClaimKey, owner: string, outcome: Outcome): Promise<boolean>;
  /** Frees the key after an attempt that failed. */
  release(key: ClaimKey, owner: string): Promise<void>;
}

/** The idempotency records in the jobs' table. Throws what DynamoDB throws. */
export function createClaims(client: DynamoDBClient, name: string): Claims {
  const table = { client, name };
  return {
    async take(key, { owner, until, fingerprint, expiresAt }, now) {
      for (;;) {
        const taken = await updateAndGetItem(table, keyOf(key), {
          change: `SET ${CLAIMED} REMOVE kept, keptWith`,
          condition:
            'attribute_not_exists(pk) OR expiresAt <= :seconds OR (attribute_not_exists(kept) AND claimUntil <= :now)',
          values: marshall({
            ':owner': owner,
            ':until': until,
            ':fingerprint': fingerprint,
            ':expiresAt': expiresAt,
            ':seconds': Math.floor(now / 1000),
            ':now': now,
            ':none': -1,
            ':one': 1,
          }),
        });
        if (taken !== undefined) return { taken: true, epoch: readClaim(taken).epoch };
        const item = await getItem(table, keyOf(key));
        // Freed between the two requests: it is to be had after all.
        if (item === undefined) continue;
        const { owner: holder, ...claim } = readClaim(item);
        // A request whose answer was lost is sent again by the SDK, and refused: by ourselves, then.
        const isOurs = holder === owner && claim.outcome === undefined;
        return isOurs ? { taken: true, epoch: claim.epoch } : { taken: false, claim };
      }
    },

    renew: (key, owner, until) =>
      updateItem(table, keyOf(key), {
        change: 'SET claimUntil = :until',
        condition: 'claimOwner = :owner AND attribute_not_exists(kept)',
        values: marshall({ ':until': until, ':owner': owner }),
      }),

    finish: (key, owner, { kept, response }) =>
      updateItem(table, keyOf(key), {
        change: `SET kept = :kept${response === undefined ? '' : ', keptWith = :response'} REMOVE claimUntil`,
        condition: 'claimOwner = :owner',
        values: marshall({ ':kept': kept, ':owner': owner, ':response': response }),
      }),

    async release(key, owner) {
      await deleteItem(table, keyOf(key), {
        condition: 'claimOwner = :owner AND attribute_not_exists(kept)',
        values: marshall({ ':owner': owner }),
      });
    },
  };
}

const CLAIMED = [
  'claimOwner = :owner',
  'claimUntil = :until',
  'fingerprint = :fingerprint',
  'expiresAt = :expiresAt',
  'epoch = if_not_exists(epoch, :none) + :one',
].join(', ');

function keyOf({ tenant, id }: ClaimKey): Item {
  return marshall({ pk: `${tenant}#${id}`, sk: 'idem' });
}

// A newer version may write more than this one knows: what is not named here is left alone.
const claimSchema = v.object({
  claimOwner: v.string(),
  fingerprint: v.instance(Uint8Array),
  epoch: v.optional(v.number(), 0),
  kept: v.exactOptional(v.picklist(['table', 's3', 'nowhere'])),
  keptWith: v.exactOptional(v.string()),
});

function readClaim(item: Item): Claim & { readonly owner: string } {
  const { claimOwner: owner, fingerprint, epoch, kept, keptWith } = v.parse(claimSchema, unmarshall(item));
  const outcome = kept && omitUndefined({ kept, response: keptWith });
  return { owner, fingerprint, epoch, ...omitUndefined({ outcome }) };
}
