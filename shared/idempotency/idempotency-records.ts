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
export function createClaims(client: DynamoDBClient, TableName: string): Claims {
  return {
    async take(key, { owner, until, fingerprint, expiresAt }, now) {
      for (;;) {
        const taken = await unlessRefused(() =>
          client.send(
            new UpdateItemCommand({
              TableName,
              Key: keyOf(key),
              UpdateExpression: `SET ${CLAIMED} REMOVE kept, keptWith`,
              ConditionExpression:
                'attribute_not_exists(pk) OR expiresAt <= :seconds OR (attribute_not_exists(kept) AND claimUntil <= :now)',
              ExpressionAttributeValues: {
                ':owner': { S: owner },
                ':until': number(until),
                ':fingerprint': { B: fingerprint },
                ':expiresAt': number(expiresAt),
                ':seconds': number(Math.floor(now / 1000)),
                ':now': number(now),
                ':none': number(-1),
                ':one': number(1),
              },
              ReturnValues: 'ALL_NEW',
            }),
          ),
        );
        if (taken?.Attributes !== undefined) return { taken: true, epoch: readClaim(taken.Attributes).epoch };
        const { Item } = await client.send(new GetItemCommand({ TableName, Key: keyOf(key), ConsistentRead: true }));
        // Freed between the two requests: it is to be had after all.
        if (Item === undefined) continue;
        const { owner: holder, ...claim } = readClaim(Item);
        // A request whose answer was lost is sent again by the SDK, and refused: by ourselves, then.
        const isOurs = holder === owner && claim.outcome === undefined;
        return isOurs ? { taken: true, epoch: claim.epoch } : { taken: false, claim };
      }
    },

    async renew(key, owner, until) {
      const renewed = await unlessRefused(() =>
        client.send(
          new UpdateItemCommand({
            TableName,
            Key: keyOf(key),
            UpdateExpression: 'SET claimUntil = :until',
            ConditionExpression: 'claimOwner = :owner AND attribute_not_exists(kept)',
            ExpressionAttributeValues: { ':until': number(until), ':owner': { S: owner } },
          }),
        ),
      );
      return renewed !== undefined;
    },

    async finish(key, owner, { kept, response }) {
      const finished = await unlessRefused(() =>
        client.send(
          new UpdateItemCommand({
            TableName,
            Key: keyOf(key),
            UpdateExpression: `SET kept = :kept${response === undefined ? '' : ', keptWith = :response'} REMOVE claimUntil`,
            ConditionExpression: 'claimOwner = :owner',
            ExpressionAttributeValues: {
              ':kept': { S: kept },
              ':owner': { S: owner },
              ...(response === undefined ? {} : { ':response': { S: response } }),
            },
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

const CLAIMED = [
  'claimOwner = :owner',
  'claimUntil = :until',
  'fingerprint = :fingerprint',
  'expiresAt = :expiresAt',
  'epoch = if_not_exists(epoch, :none) + :one',
].join(', ');

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
  claimOwner: v.object({ S: v.string() }),
  fingerprint: v.object({ B: v.instance(Uint8Array) }),
  epoch: v.optional(v.object({ N: v.pipe(v.string(), v.toNumber()) }), { N: '0' }),
  kept: v.exactOptional(v.object({ S: v.picklist(['table', 's3', 'nowhere']) })),
  keptWith: v.exactOptional(v.object({ S: v.string() })),
});

function readClaim(item: Record<string, AttributeValue>): Claim & { readonly owner: string } {
  const { claimOwner, fingerprint, epoch, kept, keptWith } = v.parse(claimSchema, item);
  return {
    owner: claimOwner.S,
    fingerprint: fingerprint.B,
    epoch: epoch.N,
    ...(kept === undefined
      ? {}
      : { outcome: { kept: kept.S, ...(keptWith === undefined ? {} : { response: keptWith.S }) } }),
  };
}
