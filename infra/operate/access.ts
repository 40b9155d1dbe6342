import {
  type AttributeValue,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  paginateScan,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';

/** An item of the access table that speaks for a tenant. */
export interface Grant {
  readonly kind: 'API key' | 'sender';
  readonly partition: string;
  /** The public id that logs know it by. */
  readonly keyId: string;
  /** Other tenants that it speaks for: it goes on doing that. */
  readonly others: readonly string[];
}

const itemSchema = v.object({
  pk: v.object({ S: v.string() }),
  keyId: v.optional(v.object({ S: v.string() }), { S: '' }),
  tenants: v.optional(v.object({ SS: v.array(v.string()) }), { SS: [] }),
});

/** Every API key and sender of a tenant, expired ones too. Reads the whole access table. Throws what DynamoDB throws. */
export async function grantsOf(client: DynamoDBClient, tableName: string, tenant: string): Promise<Grant[]> {
  const grants: Grant[] = [];
  const pages = paginateScan(
    { client },
    {
      TableName: tableName,
      ConsistentRead: true,
      FilterExpression: 'tenant = :tenant OR contains(tenants, :tenant)',
      ExpressionAttributeValues: { ':tenant': { S: tenant } },
    },
  );
  for await (const { Items = [] } of pages) grants.push(...Items.map((item) => grantIn(item, tenant)));
  return grants;
}

function grantIn(item: Record<string, AttributeValue>, tenant: string): Grant {
  const { pk, keyId, tenants } = v.parse(itemSchema, item);
  return {
    kind: pk.S.startsWith('sender#') ? 'sender' : 'API key',
    partition: pk.S,
    keyId: keyId.S,
    others: tenants.SS.filter((each) => each !== tenant),
  };
}

/** Takes a grant away from a tenant. One that was given to another tenant meanwhile stays as it is. */
export async function revoke(client: DynamoDBClient, tableName: string, tenant: string, grant: Grant): Promise<void> {
  const Key = { pk: { S: grant.partition } };
  try {
    if (grant.others.length === 0) {
      await client.send(
        new DeleteItemCommand({
          TableName: tableName,
          Key,
          ConditionExpression: 'tenant = :tenant OR tenants = :alone',
          ExpressionAttributeValues: { ':tenant': { S: tenant }, ':alone': { SS: [tenant] } },
        }),
      );
      return;
    }
    await client.send(
      new UpdateItemCommand({
        TableName: tableName,
        Key,
        UpdateExpression: 'DELETE tenants :alone',
        ConditionExpression: 'contains(tenants, :tenant)',
        ExpressionAttributeValues: { ':tenant': { S: tenant }, ':alone': { SS: [tenant] } },
      }),
    );
  } catch (thrown) {
    if (!(thrown instanceof ConditionalCheckFailedException)) throw thrown;
  }
}
