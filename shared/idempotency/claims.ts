import {
  type AttributeValue,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';

/** Names what an idempotency key stands for: a tenant's, on one route. The key itself is hashed in `id`. */
export interface ClaimKey {
  readonly tenant: string;
  /** `idem#` and a SHA-256. */
  readonly id: string;
}

/** Who runs the first attempt, and until when that is believed. */
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
  /** Absent while the first attempt runs. */
  readonly outcome?: Outcome;
}

/** How the first attempt ended: its answer is kept in one of two places, or nowhere. */
export interface Outcome {
  readonly kept: 'table' | 's3' | 'nowhere';
}

/** The idempotency records, one item each beside the jobs. Every method is one request, or two where it says so. */
export interface Claims {
  /** Takes the key, if nobody has or who had it crashed. Returns the claim that stands in the way: two requests then. */
  take(key: ClaimKey, claimant: Claimant, now: number): Promise<Claim | undefined>;
  /** False when the key is another's by now. */
  finish(key: ClaimKey, owner: string, outcome: Outcome): Promise<boolean>;
  /** Frees the key after an attempt that failed. */
  release(key: ClaimKey, owner: string): Promise<void>;
}

/** The idempotency records in the jobs' table. Throws what DynamoDB throws. */
export function createClaims(client: DynamoDBClient, TableName: string): Claims {
  return {
    async take(key, { owner, until, fingerprint, expiresAt }, now) {
      for (;;) {
        const taken = await unlessRefused(() =>
          client.send(
            new UpdateItemCommand({
              TableName,
              Key: keyOf(key),
              UpdateExpression:
                'SET claimOwner = :owner, claimUntil = :until, fingerprint = :fingerprint, expiresAt = :expiresAt REMOVE kept',
              ConditionExpression:
                'attribute_not_exists(pk) OR expiresAt <= :seconds OR (attribute_not_exists(kept) AND claimUntil <= :now)',
              ExpressionAttributeValues: {
                ':owner': { S: owner },
                ':until': number(until),
                ':fingerprint': { B: fingerprint },
                ':expiresAt': number(expiresAt),
                ':seconds': number(Math.floor(now / 1000)),
                ':now': number(now),
              },
            }),
          ),
        );
        if (taken !== undefined) return undefined;
        const { Item } = await client.send(new GetItemCommand({ TableName, Key: keyOf(key), ConsistentRead: true }));
        // Freed between the two requests: it is to be had after all.
        if (Item !== undefined) return readClaim(Item);
      }
    },

    async finish(key, owner, { kept }) {
      const finished = await unlessRefused(() =>
        client.send(
          new UpdateItemCommand({
            TableName,
            Key: keyOf(key),
            UpdateExpression: 'SET kept = :kept REMOVE claimUntil',
            ConditionExpression: 'claimOwner = :owner',
            ExpressionAttributeValues: { ':kept': { S: kept }, ':owner': { S: owner } },
          }),
        ),
      );
      return finished !== undefined;
    },

    async release(key, owner) {
      await unlessRefused(() =>
        client.send(
          new DeleteItemCommand({
            TableName,
            Key: keyOf(key),
            ConditionExpression: 'claimOwner = :owner AND attribute_not_exists(kept)',
            ExpressionAttributeValues: { ':owner': { S: owner } },
          }),
        ),
      );
    },
  };
}

function keyOf({ tenant, id }: ClaimKey): Record<string, AttributeValue> {
  return { pk: { S: `${tenant}#${id}` }, sk: { S: 'idem' } };
}

function number(value: number): AttributeValue {
  return { N: String(value) };
}

async function unlessRefused<T>(send: () => Promise<T>): Promise<T | undefined> {
  try {
    return await send();
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined;
    throw error;
  }
}

// A newer version may write more than this one knows: what is not named here is left alone.
const claimSchema = v.object({
  fingerprint: v.object({ B: v.instance(Uint8Array) }),
  kept: v.exactOptional(v.object({ S: v.picklist(['table', 's3', 'nowhere']) })),
});

function readClaim(item: Record<string, AttributeValue>): Claim {
  const { fingerprint, kept } = v.parse(claimSchema, item);
  return { fingerprint: fingerprint.B, ...(kept === undefined ? {} : { outcome: { kept: kept.S } }) };
}
