import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  createPolicyAdministration,
  type EnforcedProject,
  type PolicyAdministration,
} from '../../../shared/access/policy-administration.ts';
import { cachePolicies, createPolicyTable, getProjectPartition } from '../../../shared/access/policy-table.ts';
import { marshall } from '../../../shared/aws/attributes.ts';
import { putItem } from '../../../shared/aws/table.ts';
import { type AccessTable, startAccessTable } from './access-table.ts';

let access: AccessTable;
let client: DynamoDBClient;
let administration: PolicyAdministration;
let count = 0;
let tenant: string;

beforeAll(async () => {
  access = await startAccessTable();
  client = access.client;
  administration = createPolicyAdministration(client, 'access');
});
afterAll(() => access[Symbol.asyncDispose]());
beforeEach(() => {
  count += 1;
  tenant = `tenant-${count}`;
});

const archive = (project: EnforcedProject): EnforcedProject => ({ ...project, status: 'archived' });

/** Returns the change that denies one more model. */
const denyModel =
  (model: string) =>
  ({ status, restrictions }: EnforcedProject): EnforcedProject => ({
    status,
    restrictions: { models: { mode: 'deny', models: [...(restrictions.models?.models ?? []), model] } },
  });

describe('the administration of projects', () => {
  it('a project that was never changed is active and not restricted', async () => {
    expect(await administration.readProject(tenant)).toEqual({ status: 'active', restrictions: {} });
    expect(await createPolicyTable(client, 'access').find(tenant)).toEqual({ archived: false });
  });

  it('a change of a project keeps what another change has made of it', async () => {
    await administration.changeProject(tenant, denyModel('a'));
    await administration.changeProject(tenant, archive);
    const expected = { status: 'archived', restrictions: { models: { mode: 'deny', models: ['a'] } } };
    expect(await administration.readProject(tenant)).toEqual(expected);
    const found = await createPolicyTable(client, 'access').find(tenant);
    expect(found).toEqual({ archived: true, project: JSON.stringify(expected.restrictions) });
    await administration.changeProject(tenant, () => ({ status: 'active', restrictions: {} }));
    expect(await administration.readProject(tenant)).toEqual({ status: 'active', restrictions: {} });
  });

  it('no change is lost when several are made at once', async () => {
    const models = ['a', 'b', 'c', 'd'];
    await Promise.all(models.map((model) => administration.changeProject(tenant, denyModel(model))));
    const { restrictions } = await administration.readProject(tenant);
    expect(restrictions.models?.models.toSorted()).toEqual(models);
  });

  it('an invalid change is refused, and changes nothing', async () => {
    const result = administration.changeProject(tenant, denyModel(''));
    await expect(result).rejects.toMatchObject({ code: 'invalid_value' });
    expect(await administration.readProject(tenant)).toEqual({ status: 'active', restrictions: {} });
  });

  it('sections that an earlier version accepted stay when others change, but can only be changed to valid ones', async () => {
    const contentRules = [{ id: 'words', pattern: '\\b' }];
    const policy = JSON.stringify({ contentRules, models: { mode: 'deny', models: ['a'] } });
    await putItem({ client, name: 'access' }, marshall({ pk: getProjectPartition(tenant), policy }));
    await administration.changeProject(tenant, archive);
    const changed = await administration.changeProject(tenant, (project) => ({
      ...project,
      restrictions: { ...project.restrictions, models: { mode: 'allow', models: [] } },
    }));
    const expected = { contentRules, models: { mode: 'allow', models: [] } };
    expect(changed).toEqual({ status: 'archived', restrictions: expected });
    expect(await administration.readProject(tenant)).toEqual(changed);
    for (const pattern of ['\\b', 'a*']) {
      const result = administration.changeProject(tenant, (project) => ({
        ...project,
        restrictions: { ...project.restrictions, contentRules: [{ id: 'other', pattern }] },
      }));
      await expect(result).rejects.toMatchObject({ code: 'invalid_value' });
    }
    expect(await administration.readProject(tenant)).toEqual(changed);
  });

  it('the restrictions of the account apply to every tenant', async () => {
    const restrictions = { models: { mode: 'deny' as const, models: ['a'] } };
    expect(await administration.readAccount()).toEqual({});
    expect(await administration.changeAccount(() => restrictions)).toEqual(restrictions);
    const found = await createPolicyTable(client, 'access').find(tenant);
    expect(found).toEqual({ archived: false, account: JSON.stringify(restrictions) });
    await administration.changeAccount(() => ({}));
    expect(await administration.readAccount()).toEqual({});
  });
});

describe('the table of policies', () => {
  it('an item that is not valid is an error, not the absence of restrictions', async () => {
    const Item = { ...marshall({ pk: getProjectPartition(tenant) }), policy: { SS: ['models'] } };
    await putItem({ client, name: 'access' }, Item);
    await expect(createPolicyTable(client, 'access').find(tenant)).rejects.toMatchObject({ code: 'configuration' });
  });

  it('a project that was archived is served from a cache for 30 s, and no longer', async () => {
    let now = 1_000_000;
    const policies = cachePolicies(createPolicyTable(client, 'access'), () => now);
    expect((await policies.find(tenant)).archived).toBe(false);
    await administration.changeProject(tenant, archive);
    now += 29_999;
    expect((await policies.find(tenant)).archived).toBe(false);
    now += 1;
    expect((await policies.find(tenant)).archived).toBe(true);
  });
});
