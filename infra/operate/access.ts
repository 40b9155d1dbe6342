import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../../shared/aws/attributes.ts';
import { deleteItem, scanItems, updateItem } from '../../shared/aws/table.ts';

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
  pk: v.string(),
  keyId: v.optional(v.string(), ''),
  tenants: v.optional(v.set(v.string()), new Set()),
});

/** Every API key and sender of a tenant, expired ones too. Reads the whole access table. Throws what DynamoDB throws. */
export async function grantsOf(client: DynamoDBClient, tableName: string, tenant: string): Promise<Grant[]> {
  const grants: Grant[] = [];
  const items = scanItems(
    { client, name: tableName },
    { filter: 'tenant = :tenant OR contains(tenants, :tenant)', values: marshall({ ':tenant': tenant }) },
  );
  for await (const item of items) grants.push(grantIn(item, tenant));
  return grants;
}

function grantIn(item: Item, tenant: string): Grant {
  const { pk, keyId, tenants } = v.parse(itemSchema, unmarshall(item));
  return {
    kind: pk.startsWith('sender#') ? 'sender' : 'API key',
    partition: pk,
    keyId,
    others: [...tenants].filter((each) => each !== tenant),
  };
}

/** Takes a grant away from a tenant. One that was given to another tenant meanwhile stays as it is. */
export async function revoke(client: DynamoDBClient, tableName: string, tenant: string, grant: Grant): Promise<void> {
  const table = { client, name: tableName };
  const key = marshall({ pk: grant.partition });
  const values = marshall({ ':tenant': tenant, ':alone': new Set([tenant]) });
  if (grant.others.length === 0) {
    await deleteItem(table, key, { condition: 'tenant = :tenant OR tenants = :alone', values });
  } else {
    await updateItem(table, key, {
      change: 'DELETE tenants :alone',
      condition: 'contains(tenants, :tenant)',
      values,
    });
  }
}
