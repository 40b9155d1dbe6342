import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { getItem } from '../aws/table.ts';
import { BoundedMap } from '../core/bounded-map.ts';
import { LambentError } from '../core/errors.ts';
import type { EncodedPolicy } from './policy-json.ts';

/** What the access table has of a tenant, besides its keys. */
export interface TenantPolicy extends Pick<EncodedPolicy, 'account' | 'project'> {
  /** True if the tenant's project is archived. Its requests are refused then. */
  readonly archived: boolean;
  /** The tenant's held keys, for `findHold`. */
  readonly holds?: string | undefined;
}

/** Looks up the restrictions of tenants and of the account in the access table. */
export interface PolicyTable {
  /**
   * Reads what restricts a tenant, with two eventually consistent reads at once.
   * @throws DynamoDB's errors; LambentError `configuration` if an item isn't valid
   */
  find(tenant: string): Promise<TenantPolicy>;
}

/** Looks up the restrictions of service accounts, which apply to their tokens. */
export interface ServiceAccountPolicies {
  /**
   * Reads what restricts a service account, as JSON, with one eventually consistent read. Undefined if nothing does. Throws as
   * `PolicyTable.find`.
   */
  find(tenant: string, serviceAccount: string): Promise<string | undefined>;
}

/** The partition key of the item that restricts all tenants together. */
export const ACCOUNT_PARTITION = 'account';

/** Returns the partition key of the item of a tenant's project. A tenant without one is not restricted. */
export function getProjectPartition(tenant: string): string {
  return `project#${tenant}`;
}

/** Returns the partition key of the item that restricts the tokens of a service account. */
export function getServiceAccountPartition(tenant: string, serviceAccount: string): string {
  return `service-account#${tenant}#${serviceAccount}`;
}

/** Creates the lookup in DynamoDB. */
export function createServiceAccountPolicies(client: DynamoDBClient, name: string): ServiceAccountPolicies {
  return {
    async find(tenant, serviceAccount) {
      const key = marshall({ pk: getServiceAccountPartition(tenant, serviceAccount) });
      return parsePolicyItem(await getItem({ client, name }, key, { eventual: true })).policy;
    },
  };
}

/** Creates the policy table in DynamoDB. */
export function createPolicyTable(client: DynamoDBClient, name: string): PolicyTable {
  const table = { client, name };
  const read = async (pk: string) => parsePolicyItem(await getItem(table, marshall({ pk }), { eventual: true }));
  return {
    async find(tenant) {
      const [account, project] = await Promise.all([read(ACCOUNT_PARTITION), read(getProjectPartition(tenant))]);
      const { status, holds, policy } = project;
      return { archived: status === 'archived', holds, account: account.policy, project: policy };
    },
  };
}

const itemSchema = v.object({
  status: v.optional(v.picklist(['active', 'archived']), 'active'),
  policy: v.optional(v.string()),
  holds: v.optional(v.string()),
});

/** An item of a project, a service account or the account. */
export type PolicyItem = v.InferOutput<typeof itemSchema>;

/**
 * Parses the item of a project, a service account or the account, which may be absent.
 * @throws LambentError `configuration` if it isn't valid: no request is served without its restrictions
 */
export function parsePolicyItem(item: Item = {}): PolicyItem {
  const result = v.safeParse(itemSchema, unmarshall(item));
  if (result.success) return result.output;
  throw new LambentError('configuration', 'An item of the access table is not a valid project or account');
}

/** Equal to the time for which API Gateway caches a key's policy, so that all restrictions take effect equally fast. */
const TTL_MS = 30_000;

/** More tenants than a function environment serves at a time. */
const MAX_TENANTS = 1_000;

/** Returns `table` with a cache of 30 s per environment, for what reads it with each message or job. */
export function cachePolicies(table: PolicyTable, now: () => number = Date.now): PolicyTable {
  const cache = new BoundedMap<string, { readonly policy: TenantPolicy; readonly freshUntil: number }>(MAX_TENANTS);
  return {
    async find(tenant) {
      const cached = cache.get(tenant);
      if (cached !== undefined && now() < cached.freshUntil) return cached.policy;
      const freshUntil = now() + TTL_MS;
      const policy = await table.find(tenant);
      cache.set(tenant, { policy, freshUntil });
      return policy;
    },
  };
}
