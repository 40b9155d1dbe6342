import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import type { TenantKeyTable } from '../../../shared/vault/key-table.ts';
import type { RecordName } from '../../../shared/vault/vault.ts';
import { type Services, startEnvironment, startServices } from './environments.ts';
import { gateTable as gate } from './gated-table.ts';
import { type Interleaving, runInEveryOrder } from './interleavings.ts';
import { NAME } from './records.ts';

/**
 * Environments create, rotate and delete a tenant's keys at the same time, with real clients of the table and KMS, in
 * every possible order of their requests to the table.
 */

const DAY = 86_400_000;
const PLAINTEXT = Buffer.from('Hello');

let services: Services;
let table: TenantKeyTable;

beforeAll(async () => {
  services = await startServices();
  table = await services.newTable();
});
afterAll(() => services[Symbol.asyncDispose]());

const gateTable = (actor: string, turns: Interleaving) => gate(table, actor, turns);

let tenants = 0;

/** Creates a tenant with `age` key versions, of which the last is due for rotation. */
async function newTenant(age: number): Promise<RecordName> {
  const name = { ...NAME, tenant: `tenant-${tenants++}` };
  for (let version = 1; version <= age; version++) {
    await startEnvironment(services, table).seal(name, PLAINTEXT);
    services.clock.now += 91 * DAY;
  }
  return name;
}

/** Returns the sealed record, or the code of the error. */
async function catchOutcome(sealing: Promise<Uint8Array>): Promise<Uint8Array | string> {
  try {
    return await sealing;
  } catch (error) {
    if (error instanceof LambentError) return error.code;
    throw error;
  }
}

const seal = (actor: string, name: RecordName, turns: Interleaving) =>
  turns.run(() => startEnvironment(services, gateTable(actor, turns)).seal(name, PLAINTEXT));

describe.each([
  { state: 'has no key yet', age: 0 },
  { state: 'has a key that is due for rotation', age: 1 },
  { state: 'has two keys, the last due for rotation', age: 2 },
])('a tenant that $state', ({ age }) => {
  it('three environments create one key, in every order of their requests', async () => {
    const orders = await runInEveryOrder(async (turns) => {
      const name = await newTenant(age);
      const records = await Promise.all(['a', 'b', 'c'].map((actor) => seal(actor, name, turns)));
      const reader = startEnvironment(services, table, { mayCreate: false });
      for (const record of records) {
        expect(record[4]).toBe(age + 1);
        expect(await reader.open(name, record)).toEqual(PLAINTEXT);
      }
    });
    expect(orders).toBeGreaterThan(100);
  });

  it('the tenant stays deleted, in every order of two sealing environments and one deletion', async () => {
    const seen = { sealed: 0, refused: 0 };
    const orders = await runInEveryOrder(async (turns) => {
      const name = await newTenant(age);
      const remover = gateTable('remover', turns);
      const [, ...outcomes] = await Promise.all([
        turns.run(() => remover.markErased({ tenant: name.tenant, deletedAt: services.clock.now })),
        ...['a', 'b'].map((actor) => catchOutcome(seal(actor, name, turns))),
      ]);
      expect(await table.read(name.tenant)).toMatchObject({ state: 'deleted' });
      const later = startEnvironment(services, table);
      expect(await catchOutcome(later.seal(name, PLAINTEXT))).toBe('tenant_deleted');
      for (const outcome of outcomes) {
        if (typeof outcome === 'string') {
          seen.refused++;
          expect(outcome).toBe('tenant_deleted');
        } else {
          seen.sealed++;
          await expect(later.open(name, outcome)).rejects.toMatchObject({ code: 'tenant_deleted' });
        }
      }
    });
    expect(orders).toBeGreaterThan(20);
    // If the orders are complete, both outcomes occur.
    expect(Math.min(seen.sealed, seen.refused)).toBeGreaterThan(0);
  });
});
