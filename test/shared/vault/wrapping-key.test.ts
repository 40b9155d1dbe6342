import { CreateKeyCommand, DisableKeyCommand, EnableKeyCommand, ScheduleKeyDeletionCommand } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TenantKeyTable } from '../../../shared/vault/key-table.ts';
import { createKeyGenerator, createKeyRewrapper, createKeyUnwrapper } from '../../../shared/vault/kms-keys.ts';
import { createWrappingKeys } from '../../../shared/vault/wrapping-key.ts';
import { catchCode, type Services, startEnvironment, startServices } from './environments.ts';
import { gateTable } from './gated-table.ts';
import { runInEveryOrder } from './interleavings.ts';
import { NAME } from './records.ts';

const MINUTE = 60_000;
const DAY = 86_400_000;
const PLAINTEXT = Buffer.from('Hello');

let services: Services;
let table: TenantKeyTable;
/** ARNs of two customers' keys. */
let external: string;
let other: string;

beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());
beforeEach(async () => {
  services.faults.dynamodb = services.faults.kms = () => undefined;
  services.clock.now = Date.parse('2026-11-01T00:00:00Z');
  table = await services.newTable();
  [external, other] = [await createKey(), await createKey()];
});

async function createKey(): Promise<string> {
  return (await services.kms.send(new CreateKeyCommand({}))).KeyMetadata?.Arn ?? '';
}

const start = (mayCreate = true) => startEnvironment(services, table, { mayCreate });
function wrappingKeys(keyTable = table) {
  const { kms, keyId, clock } = services;
  return createWrappingKeys({
    table: keyTable,
    generate: createKeyGenerator(kms, keyId),
    unwrap: createKeyUnwrapper(kms, keyId),
    rewrap: createKeyRewrapper(kms, keyId),
    now: () => clock.now,
  });
}
const disable = (KeyId: string) => services.kms.send(new DisableKeyCommand({ KeyId }));
const enable = (KeyId: string) => services.kms.send(new EnableKeyCommand({ KeyId }));

/** Returns the KMS keys that wrap the tenant's versions. */
async function readWrappers(tenant = NAME.tenant): Promise<(string | undefined)[]> {
  const history = await table.read(tenant);
  return history?.state === 'active' ? [...history.versions.values()].map(({ kmsKey }) => kmsKey) : [];
}

/** Seals records with two versions of the tenant's key. */
async function sealTwo(): Promise<Uint8Array[]> {
  const old = await start().seal(NAME, PLAINTEXT);
  services.clock.now += 91 * DAY;
  return [old, await start().seal(NAME, PLAINTEXT)];
}

describe('an external key', () => {
  it('an external key wraps the first and all later keys of a tenant that has it from the beginning', async () => {
    await wrappingKeys().change(NAME.tenant, external);
    await sealTwo();
    expect(await readWrappers()).toEqual([external, external]);
  });

  it('an external key wraps all keys of a tenant that gets it, so that disabling it makes even old records unreadable', async () => {
    const sealed = await sealTwo();
    await wrappingKeys().change(NAME.tenant, external);
    expect(await readWrappers()).toEqual([external, external]);
    for (const record of sealed) expect(await start(false).open(NAME, record)).toEqual(PLAINTEXT);
    await disable(external);
    for (const record of sealed)
      expect(await catchCode(start(false).open(NAME, record))).toBe('external_key_unavailable');
    expect(await catchCode(start().seal(NAME, PLAINTEXT))).toBe('external_key_unavailable');
    await enable(external);
    for (const record of sealed) expect(await start(false).open(NAME, record)).toEqual(PLAINTEXT);
  });

  it('a disabled external key affects no other tenant, and is not counted as a failure of KMS', async () => {
    const neighbour = { ...NAME, tenant: 'neighbour' };
    await wrappingKeys().change(NAME.tenant, external);
    const environment = start();
    await disable(external);
    expect(await catchCode(environment.seal(NAME, PLAINTEXT))).toBe('external_key_unavailable');
    expect(await environment.open(neighbour, await environment.seal(neighbour, PLAINTEXT))).toEqual(PLAINTEXT);
    expect(environment.calls.map(({ outcome }) => outcome)).toEqual(['refused', 'ok']);
  });

  it('an external key is replaced by another one, and by the key of the deployment', async () => {
    const sealed = await sealTwo();
    const wrappers = await readWrappers();
    for (const key of [external, other]) await wrappingKeys().change(NAME.tenant, key);
    expect(await readWrappers()).toEqual([other, other]);
    await wrappingKeys().change(NAME.tenant, undefined);
    expect(await readWrappers()).toEqual(wrappers);
    await Promise.all([external, other].map(disable));
    for (const record of sealed) expect(await start(false).open(NAME, record)).toEqual(PLAINTEXT);
  });

  it('keys that the key of the deployment wraps beside an external key open, and the external key can be removed', async () => {
    const sealed = await sealTwo();
    await wrappingKeys().change(NAME.tenant, external);
    const before = await table.read(NAME.tenant);
    if (before?.state !== 'active') throw new Error('The tenant has no keys');
    // As a version of this code leaves them that knows no external keys.
    const rewrap = createKeyRewrapper(services.kms, services.keyId);
    const versions = await Promise.all(
      [...before.versions].map(async ([version, key]) => [version, await rewrap(NAME.tenant, key, external)] as const),
    );
    await table.replaceWrapping(NAME.tenant, before, { ...before, versions: new Map(versions) });
    for (const record of sealed) expect(await start(false).open(NAME, record)).toEqual(PLAINTEXT);
    await wrappingKeys().change(NAME.tenant, undefined);
    expect(await table.read(NAME.tenant)).not.toHaveProperty('externalKey');
  });

  it('an external key that wraps all keys already is not called again', async () => {
    await sealTwo();
    await wrappingKeys().change(NAME.tenant, external);
    services.kmsOperations.length = 0;
    await wrappingKeys().change(NAME.tenant, external);
    expect(services.kmsOperations).toEqual([]);
  });

  it('disabling an external key takes effect within five minutes in an environment that has the key cached', async () => {
    await wrappingKeys().change(NAME.tenant, external);
    const environment = start();
    const sealed = await environment.seal(NAME, PLAINTEXT);
    await disable(external);
    services.clock.now += 5 * MINUTE - 1;
    expect(await environment.open(NAME, sealed)).toEqual(PLAINTEXT);
    services.clock.now += 1;
    expect(await catchCode(environment.open(NAME, sealed))).toBe('external_key_unavailable');
  });

  it.each([
    ['is pending deletion', () => services.kms.send(new ScheduleKeyDeletionCommand({ KeyId: external }))],
    ['is not allowed to the functions', () => refuseKms('AccessDeniedException')],
    ['does not exist', () => refuseKms('NotFoundException')],
  ])('that %s has an error of its own', async (_what, revoke) => {
    await wrappingKeys().change(NAME.tenant, external);
    const sealed = await start().seal(NAME, PLAINTEXT);
    await revoke();
    expect(await catchCode(start().open(NAME, sealed))).toBe('external_key_unavailable');
  });

  it('a disabled external key is distinguished from an outage of KMS', async () => {
    await wrappingKeys().change(NAME.tenant, external);
    refuseKms('KMSInternalException');
    expect(await catchCode(start().seal(NAME, PLAINTEXT))).toBe('vault_unavailable');
  });

  it('an external key that can only decrypt still lets the current key seal', async () => {
    await wrappingKeys().change(NAME.tenant, external);
    services.clock.now += 91 * DAY;
    services.faults.kms = (operation) =>
      operation === 'GenerateDataKey' ? { status: 400, type: 'AccessDeniedException' } : undefined;
    expect((await start().seal(NAME, PLAINTEXT))[4]).toBe(1);
  });

  it('an external key that can not be used is refused before anything changes', async () => {
    const sealed = await sealTwo();
    await disable(external);
    expect(await catchCode(wrappingKeys().validate(external))).toBe('external_key_unavailable');
    expect(await catchCode(wrappingKeys().change(NAME.tenant, external))).toBe('external_key_unavailable');
    for (const record of sealed) expect(await start(false).open(NAME, record)).toEqual(PLAINTEXT);
    await enable(external);
    await wrappingKeys().validate(external);
  });

  it('an external key that can not decrypt what it generates is not valid', async () => {
    services.faults.kms = (operation) =>
      operation === 'Decrypt' ? { status: 400, type: 'AccessDeniedException' } : undefined;
    expect(await catchCode(wrappingKeys().validate(external))).toBe('external_key_unavailable');
  });

  it('an external key can not be removed while it is disabled', async () => {
    await wrappingKeys().change(NAME.tenant, external);
    await disable(external);
    expect(await catchCode(wrappingKeys().checkRemoval(NAME.tenant))).toBe('external_key_unavailable');
    expect(await catchCode(wrappingKeys().change(NAME.tenant, undefined))).toBe('external_key_unavailable');
  });

  it('an external key is not given to an erased tenant', async () => {
    await table.markErased({ tenant: NAME.tenant, deletedAt: services.clock.now });
    expect(await catchCode(wrappingKeys().change(NAME.tenant, external))).toBe('tenant_deleted');
    expect(await table.read(NAME.tenant)).toMatchObject({ state: 'deleted' });
  });
});

function refuseKms(type: string): void {
  services.faults.kms = () => ({ status: 400, type });
}

describe('a change of the KMS key that is interrupted', () => {
  it('a change that is interrupted at any request leaves readable records, and is completed by a repetition', async () => {
    const targets = () => [external, other, undefined];
    let interrupted = 0;
    const sealed = await sealTwo();
    for (const target of targets()) {
      for (let request = 0; request < 8; request += 1) {
        let count = 0;
        const cut = () => (count++ === request ? 'cut' : undefined);
        services.faults.dynamodb = services.faults.kms = cut;
        const code = await catchCode(wrappingKeys().change(NAME.tenant, target));
        services.faults.dynamodb = services.faults.kms = () => undefined;
        if (code !== undefined) interrupted += 1;
        const wrappers = new Set(await readWrappers());
        expect(wrappers.size).toBe(1);
        for (const record of sealed) expect(await start(false).open(NAME, record)).toEqual(PLAINTEXT);
      }
      expect(new Set(await readWrappers()).has(target ?? external)).toBe(target !== undefined);
    }
    // Each change reads, re-encrypts two versions and writes.
    expect(interrupted).toBe(3 * 4);
  });

  it('a change whose response is lost after its write has changed all versions', async () => {
    const sealed = await sealTwo();
    const lossy: TenantKeyTable = {
      ...table,
      async replaceWrapping(...args) {
        await table.replaceWrapping(...args);
        throw new Error('the process was killed');
      },
    };
    await expect(wrappingKeys(lossy).change(NAME.tenant, external)).rejects.toThrow('killed');
    expect(await readWrappers()).toEqual([external, external]);
    await wrappingKeys().change(NAME.tenant, external);
    for (const record of sealed) expect(await start(false).open(NAME, record)).toEqual(PLAINTEXT);
  });
});

describe('in every order of its requests and those of an environment', () => {
  it.each([
    ['creates the first key', 0],
    ['rotates the key', 1],
  ])('that %s, a change of the KMS key leaves no key with the deployment', async (_what, age) => {
    let tenants = 0;
    const orders = await runInEveryOrder(async (turns) => {
      const name = { ...NAME, tenant: `tenant-${age}-${tenants++}` };
      if (age > 0) {
        await start().seal(name, PLAINTEXT);
        services.clock.now += 91 * DAY;
      }
      const gate = (actor: string) => gateTable(table, actor, turns);
      const [sealed] = await Promise.all([
        turns.run(() => startEnvironment(services, gate('environment')).seal(name, PLAINTEXT)),
        turns.run(() => wrappingKeys(gate('administrator')).change(name.tenant, external)),
      ]);
      expect(new Set(await readWrappers(name.tenant))).toEqual(new Set([external]));
      expect(await start(false).open(name, sealed)).toEqual(PLAINTEXT);
    });
    expect(orders).toBeGreaterThan(5);
  });
});
