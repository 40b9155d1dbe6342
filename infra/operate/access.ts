import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import { getProjectPartition } from '../../shared/access/policy-table.ts';
import { type Item, marshall, unmarshall } from '../../shared/aws/attributes.ts';
import { deleteItem, scanItems, updateItem } from '../../shared/aws/table.ts';

/** An item of the access table that gives access to a tenant, or restricts it. */
export interface Grant {
  readonly kind: 'API key' | 'sender' | 'project';
  readonly partition: string;
  /** The public id of the key or sender, which logs show; for a project, the tenant. */
  readonly keyId: string;
  /** The sender's other tenants, for which it stays; empty for an API key. */
  readonly others: readonly string[];
}

const itemSchema = v.object({
  pk: v.string(),
  keyId: v.optional(v.string(), ''),
  tenants: v.optional(v.set(v.string()), new Set()),
});

/** Returns all API keys and senders of a tenant, even expired ones, and its project. Reads the whole table. Throws DynamoDB's errors. */
export async function listGrants(client: DynamoDBClient, tableName: string, tenant: string): Promise<Grant[]> {
  const grants: Grant[] = [];
  const items = scanItems(
    { client, name: tableName },
    {
      filter: 'tenant = :tenant OR contains(tenants, :tenant) OR pk = :project',
      values: marshall({ ':tenant': tenant, ':project': getProjectPartition(tenant) }),
    },
  );
  for await (const item of items) grants.push(parseGrant(item, tenant));
  return grants;
}

function parseGrant(item: Item, tenant: string): Grant {
  const { pk, keyId, tenants } = v.parse(itemSchema, unmarshall(item));
  if (pk === getProjectPartition(tenant)) return { kind: 'project', partition: pk, keyId: tenant, others: [] };
  return {
    kind: pk.startsWith('sender#') ? 'sender' : 'API key',
    partition: pk,
    keyId,
    others: [...tenants].filter((each) => each !== tenant),
  };
}

/** Revokes a tenant's grant, unless it was transferred to another tenant meanwhile. */
export async function revokeGrant(
  client: DynamoDBClient,
  tableName: string,
  tenant: string,
  grant: Grant,
): Promise<void> {
  const table = { client, name: tableName };
  const key = marshall({ pk: grant.partition });
  const values = marshall({ ':tenant': tenant, ':alone': new Set([tenant]) });
  if (grant.others.length === 0) {
    const condition = 'tenant = :tenant OR tenants = :alone OR pk = :project';
    const project = marshall({ ':project': getProjectPartition(tenant) });
    await deleteItem(table, key, { condition, values: { ...values, ...project } });
  } else {
    await updateItem(table, key, {
      change: 'DELETE tenants :alone',
      condition: 'contains(tenants, :tenant)',
      values,
    });
  }
}
