import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type AttributeValue, type Item, marshall } from '../aws/attributes.ts';
import { deleteItem, getItem, updateItem } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { omitUndefined } from '../core/objects.ts';
import type { Policy, Restrictions } from './policy.ts';
import { parsePolicy } from './policy-json.ts';
import { encodeRestrictions } from './policy-schema.ts';
import {
  ACCOUNT_PARTITION,
  getProjectPartition,
  getServiceAccountPartition,
  type PolicyItem,
  parsePolicyItem,
} from './policy-table.ts';

/** A project as the access table enforces it. */
export interface EnforcedProject {
  readonly status: PolicyItem['status'];
  readonly restrictions: Restrictions;
}

/**
 * Changes what the access table enforces for projects, service accounts and the account. Changes take effect within a minute. Methods throw
 * DynamoDB's errors, LambentError `invalid_value` for invalid restrictions, and `overloaded` if other writers keep changing the
 * same item.
 */
export interface PolicyAdministration {
  /** Returns a project. One that was never changed is active and not restricted. */
  readProject(tenant: string): Promise<EnforcedProject>;
  /**
   * Replaces a project by what `change` makes of it, and returns that. `change` is called again after each concurrent write, so
   * that the last writer has seen all that was stored before. Idempotent if `change` is.
   */
  changeProject(
    tenant: string,
    change: (project: EnforcedProject) => EnforcedProject | Promise<EnforcedProject>,
  ): Promise<EnforcedProject>;
  readAccount(): Promise<Restrictions>;
  /** Replaces the account's restrictions, as `changeProject` does. */
  changeAccount(change: (restrictions: Restrictions) => Restrictions): Promise<Restrictions>;
  readServiceAccount(tenant: string, id: string): Promise<Restrictions>;
  /** Replaces the restrictions of a service account's tokens, as `changeProject` does. */
  changeServiceAccount(
    tenant: string,
    id: string,
    change: (restrictions: Restrictions) => Restrictions,
  ): Promise<Restrictions>;
  /** Removes the restrictions of a service account that is deleted. Idempotent. */
  forgetServiceAccount(tenant: string, id: string): Promise<void>;
}

/** Attempts to change an item that others change at the same time. */
const MAX_ATTEMPTS = 8;

/** Creates the administration of the restrictions in an access table. */
export function createPolicyAdministration(client: DynamoDBClient, accessTable: string): PolicyAdministration {
  const table = { client, name: accessTable };

  const readItem = (pk: string): Promise<Item | undefined> => getItem(table, marshall({ pk }));
  const read = async (pk: string): Promise<PolicyItem> => parsePolicyItem(await readItem(pk));

  /**
   * Writes the status and policy of an item, if it still has those of `before` and its revision: a request may have written them
   * again. Items written by hand have no revision.
   */
  const write = (
    pk: string,
    before: PolicyItem & { readonly revision: AttributeValue | undefined },
    { status, policy }: PolicyItem,
  ): Promise<boolean> => {
    // An item without a status is active.
    const isStatus =
      before.status === 'active' ? '(attribute_not_exists(#status) OR #status = :status)' : '#status = :status';
    const isPolicy = before.policy === undefined ? 'attribute_not_exists(policy)' : 'policy = :policy';
    const isRevision = before.revision === undefined ? 'attribute_not_exists(revision)' : 'revision = :revision';
    const changed = '#status = :next, revision = :nextRevision';
    return updateItem(table, marshall({ pk }), {
      change: policy === undefined ? `SET ${changed} REMOVE policy` : `SET ${changed}, policy = :nextPolicy`,
      condition: `${isStatus} AND ${isPolicy} AND ${isRevision}`,
      names: { '#status': 'status' },
      values: {
        ...marshall({ ':status': before.status, ':policy': before.policy }),
        ...marshall({ ':next': status, ':nextPolicy': policy, ':nextRevision': newId(16) }),
        ...omitUndefined({ ':revision': before.revision }),
      },
    });
  };

  const change = async (
    pk: string,
    level: keyof Policy,
    toNext: (project: EnforcedProject) => EnforcedProject | Promise<EnforcedProject>,
  ): Promise<EnforcedProject> => {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const item = await readItem(pk);
      const before = parsePolicyItem(item);
      const project = toProject(before, level);
      const next = await toNext(project);
      const policy = encodeRestrictions(level, next.restrictions, project.restrictions);
      if (await write(pk, { ...before, revision: item?.['revision'] }, { status: next.status, policy })) return next;
    }
    throw new LambentError('overloaded', `${pk} was changed by others ${MAX_ATTEMPTS} times`);
  };

  const changeRestrictions = async (
    pk: string,
    level: keyof Policy,
    toNext: (restrictions: Restrictions) => Restrictions,
  ): Promise<Restrictions> => {
    const { restrictions } = await change(pk, level, (before) => ({
      ...before,
      restrictions: toNext(before.restrictions),
    }));
    return restrictions;
  };

  return {
    readProject: async (tenant) => toProject(await read(getProjectPartition(tenant)), 'project'),
    changeProject: (tenant, toNext) => change(getProjectPartition(tenant), 'project', toNext),
    readAccount: async () => toProject(await read(ACCOUNT_PARTITION), 'account').restrictions,
    changeAccount: (toNext) => changeRestrictions(ACCOUNT_PARTITION, 'account', toNext),
    readServiceAccount: async (tenant, id) =>
      toProject(await read(getServiceAccountPartition(tenant, id)), 'key').restrictions,
    changeServiceAccount: (tenant, id, toNext) =>
      changeRestrictions(getServiceAccountPartition(tenant, id), 'key', toNext),

    async forgetServiceAccount(tenant, id) {
      await deleteItem(table, marshall({ pk: getServiceAccountPartition(tenant, id) }));
    },
  };
}

function toProject({ status, policy }: PolicyItem, level: keyof Policy): EnforcedProject {
  const parsed = parsePolicy(policy === undefined ? undefined : `{"${level}":${policy}}`);
  return { status, restrictions: parsed[level] ?? {} };
}
