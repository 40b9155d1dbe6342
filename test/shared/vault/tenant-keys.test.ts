import { randomBytes } from 'node:crypto';
import { PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { DisableKeyCommand, EnableKeyCommand } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { TenantSecret } from '../../../shared/vault/derivation.ts';
import type { TenantKeyTable } from '../../../shared/vault/key-table.ts';
import { createKeyUnwrapper } from '../../../shared/vault/kms-keys.ts';
import { TenantKeyCache } from '../../../shared/vault/tenant-key-cache.ts';
import { catchCode, type Environment, type Services, startEnvironment, startServices } from './environments.ts';
import { NAME } from './records.ts';

const MINUTE = 60_000;
const DAY = 86_400_000;
const text = (words: string) => Buffer.from(words, 'utf8');
const THROTTLED = { status: 400, type: 'ThrottlingException' };

let services: Services;
let table: Awaited<ReturnType<Services['newTable']>>;

beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());
beforeEach(async () => {
  services.faults.dynamodb = services.faults.kms = () => undefined;
  services.clock.now = Date.parse('2026-11-01T00:00:00Z');
  table = await services.newTable();
  services.kmsOperations.length = 0;
});

const start = (options: Parameters<typeof startEnvironment>[2] = {}) => startEnvironment(services, table, options);
const versions = async (tenant = NAME.tenant) => {
  const history = await table.read(tenant);
  return history?.state === 'active' ? [...history.versions.keys()].sort((a, b) => a - b) : history?.state;
};
const operations = ({ calls }: Environment) => calls.map(({ operation }) => operation);

describe('a tenant key', () => {
  it('a tenant key is created for the first record, and opens it in every other environment', async () => {
    const sealed = await start().seal(NAME, text('Hello'));
    expect(await start({ mayCreate: false }).open(NAME, sealed)).toEqual(text('Hello'));
    expect(await versions()).toEqual([1]);
  });

  it('a tenant key is stored only in wrapped form', async () => {
    const wrapped = createKeyUnwrapper(services.kms, services.keyId);
    await start().seal(NAME, text('Hello'));
    const history = await table.read(NAME.tenant);
    const key = history?.state === 'active' ? history.versions.get(1) : undefined;
    const kept = key?.wrapped;
    const plain = Buffer.from(await wrapped(NAME.tenant, key ?? { wrapped: new Uint8Array(), createdAt: 0 }));
    expect(plain).toHaveLength(32);
    const { Items } = await services.dynamodb.send(new ScanCommand({ TableName: table.name }));
    expect(Buffer.from(JSON.stringify(Items)).includes(plain.toString('base64'))).toBe(false);
    expect(Buffer.from(kept ?? []).includes(plain)).toBe(false);
  });

  it('a tenant gets one key, however many environments create it at the same time', async () => {
    const environments = Array.from({ length: 12 }, () => start());
    const sealed = await Promise.all(environments.map((each, index) => each.seal(NAME, text(`from ${index}`))));
    expect(await versions()).toEqual([1]);
    for (const [index, record] of sealed.entries()) {
      const reader = environments[(index + 1) % environments.length];
      expect(await reader?.open(NAME, record)).toEqual(text(`from ${index}`));
    }
    expect(environments.filter((each) => operations(each).includes('Decrypt'))).toHaveLength(11);
  });

  it("each tenant has a different key, which doesn't open records of other tenants", async () => {
    const environment = start();
    const sealed = await environment.seal(NAME, text('Hello'));
    const elsewhere = { ...NAME, tenant: 'other' };
    expect(await catchCode(environment.open(elsewhere, sealed))).toBe('vault_unavailable');
    await environment.seal(elsewhere, text('mine'));
    expect(await catchCode(environment.open(elsewhere, sealed))).toBe('record_unreadable');
  });

  it('a wrapped key does not unwrap for another tenant, even if it is copied in the table', async () => {
    const environment = start();
    await environment.seal(NAME, text('Hello'));
    const history = await table.read(NAME.tenant);
    const stolen = history?.state === 'active' ? history.versions.get(1) : undefined;
    if (stolen === undefined) throw new Error('there is no key');
    await table.addVersion('thief', 1, stolen);
    expect(await catchCode(start().seal({ ...NAME, tenant: 'thief' }, text('x')))).toBe('record_unreadable');
  });

  it('a function without key-creation rights cannot create a tenant key', async () => {
    expect(await catchCode(start({ mayCreate: false }).seal(NAME, text('x')))).toBe('vault_unavailable');
    expect(await versions()).toBeUndefined();
    await start().seal(NAME, text('x'));
    const reader = start({ mayCreate: false });
    await reader.open(NAME, await reader.seal(NAME, text('x')));
    expect(operations(reader)).toEqual(['Decrypt']);
  });
});

describe('calls to KMS', () => {
  it('KMS is called once in five minutes, however many records are sealed and opened at once', async () => {
    const writer = start();
    const sealed = await writer.seal(NAME, text('Hello'));
    const reader = start({ mayCreate: false });
    for (let minute = 0; minute < 60; minute++) {
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) =>
          index % 2 === 0 ? reader.open(NAME, sealed) : reader.open(NAME, await reader.seal(NAME, text('more'))),
        ),
      );
      services.clock.now += MINUTE;
    }
    expect(operations(reader)).toEqual(Array.from({ length: 12 }, () => 'Decrypt'));
    expect(operations(writer)).toEqual(['GenerateDataKey']);
  });

  it('KMS is called once per key version', async () => {
    const writer = start();
    const records = [];
    for (let version = 1; version <= 3; version++) {
      records.push(await writer.seal(NAME, text(`under ${version}`)));
      services.clock.now += 91 * DAY;
    }
    const reader = start({ mayCreate: false });
    for (let minute = 0; minute < 10; minute++) {
      await Promise.all(records.map((record) => reader.open(NAME, record)));
      services.clock.now += MINUTE;
    }
    expect(operations(reader)).toHaveLength(2 * 3);
  });

  it('KMS is called once per tenant', async () => {
    const environment = start();
    const names = Array.from({ length: 5 }, (_, index) => ({ ...NAME, tenant: `tenant-${index}` }));
    for (let round = 0; round < 3; round++) {
      await Promise.all(names.map(async (name) => environment.open(name, await environment.seal(name, text('x')))));
    }
    expect(operations(environment)).toEqual(names.map(() => 'GenerateDataKey'));
  });

  it('KMS gets only the tenant and the purpose as encryption context', async () => {
    const sealed = await start().seal(NAME, text('Hello'));
    expect(services.kmsOperations).toEqual(['GenerateDataKey']);
    await start().open(NAME, sealed);
    expect(services.kmsOperations).toEqual(['GenerateDataKey', 'Decrypt']);
  });
});

describe('a key in memory', () => {
  /** Starts an environment whose unwrapped keys are visible to the test. */
  function watched(options: Parameters<typeof startEnvironment>[2] = {}) {
    const plain: Uint8Array[] = [];
    const unwrap = createKeyUnwrapper(services.kms, services.keyId);
    const environment = start({
      unwrap: async (tenant, wrapped) => {
        const key = await unwrap(tenant, wrapped);
        plain.push(key);
        return key;
      },
      ...options,
    });
    return { environment, plain };
  }

  it('the plain key from KMS is overwritten immediately', async () => {
    const sealed = await start().seal(NAME, text('Hello'));
    const { environment, plain } = watched();
    await environment.open(NAME, sealed);
    expect(plain.map((key) => Buffer.from(key))).toEqual([Buffer.alloc(32)]);
  });

  it('a cached key is fetched again after five minutes, and not before', async () => {
    const sealed = await start().seal(NAME, text('Hello'));
    const { environment, plain } = watched();
    await environment.open(NAME, sealed);
    services.clock.now += 5 * MINUTE - 1;
    await environment.open(NAME, sealed);
    expect(plain).toHaveLength(1);
    services.clock.now += 1;
    await environment.open(NAME, sealed);
    expect(plain).toHaveLength(2);
  });

  it('a key is cached for five minutes at most, whatever the setting', async () => {
    const sealed = await start().seal(NAME, text('Hello'));
    const { environment, plain } = watched({ cacheMs: 60 * MINUTE });
    await environment.open(NAME, sealed);
    services.clock.now += 5 * MINUTE;
    await environment.open(NAME, sealed);
    expect(plain).toHaveLength(2);
  });

  it('a cached key is fetched again after its maximum number of uses', async () => {
    const sealed = await start().seal(NAME, text('Hello'));
    const { environment, plain } = watched({ maxUses: 3 });
    for (let use = 0; use < 7; use++) await environment.open(NAME, sealed);
    expect(plain).toHaveLength(3);
    await Promise.all(Array.from({ length: 10 }, () => environment.open(NAME, sealed)));
    expect(plain).toHaveLength(6);
  });

  it('the vault unwraps a key again after a wipe', async () => {
    const sealed = await start().seal(NAME, text('Hello'));
    const { environment, plain } = watched();
    await environment.open(NAME, sealed);
    environment.wipe();
    services.faults.kms = () => THROTTLED;
    expect(await catchCode(environment.open(NAME, sealed))).toBe('vault_unavailable');
    services.faults.kms = () => undefined;
    await environment.open(NAME, sealed);
    expect(plain).toHaveLength(2);
  });

  it('a cached key is wiped when it expires, even if it is not requested again', () => {
    vi.useFakeTimers();
    try {
      const held = new TenantKeyCache({ now: Date.now, maxUses: 10, maxTenants: 10 });
      const secret = new TenantSecret(randomBytes(32));
      held.add('acme', { version: 1, secret }, Date.now() + 5 * MINUTE);
      vi.advanceTimersByTime(5 * MINUTE - 1);
      expect(secret.wiped).toBe(false);
      vi.advanceTimersByTime(1);
      expect(secret.wiped).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('while a service is unavailable', () => {
  it.each([
    ['KMS throttles', 'kms', 'GenerateDataKey', THROTTLED],
    ['KMS fails', 'kms', 'GenerateDataKey', { status: 500, type: 'KMSInternalException' }],
    ['KMS refuses', 'kms', 'GenerateDataKey', { status: 400, type: 'AccessDeniedException' }],
    ['KMS hangs up', 'kms', 'GenerateDataKey', 'cut'],
    ['the table throttles', 'dynamodb', 'GetItem', { status: 400, type: 'ProvisionedThroughputExceededException' }],
    ['the table refuses a write', 'dynamodb', 'PutItem', THROTTLED],
    ['the table hangs up', 'dynamodb', 'GetItem', 'cut'],
  ] as const)(
    'while %s, sealing fails with vault_unavailable, and works afterwards',
    async (_, service, operation, disturbance) => {
      const environment = start();
      services.faults[service] = (name) => (name === operation ? disturbance : undefined);
      await expect(environment.seal(NAME, text('x'))).rejects.toMatchObject({
        code: 'vault_unavailable',
        retryable: true,
      });
      services.faults[service] = () => undefined;
      expect(await environment.open(NAME, await environment.seal(NAME, text('x')))).toEqual(text('x'));
    },
  );

  it('a cached key still seals and opens while KMS and the table are unavailable', async () => {
    const environment = start();
    const sealed = await environment.seal(NAME, text('x'));
    services.faults.kms = services.faults.dynamodb = () => 'cut';
    expect(await environment.open(NAME, sealed)).toEqual(text('x'));
    expect(await environment.open(NAME, await environment.seal(NAME, text('y')))).toEqual(text('y'));
    services.clock.now += 5 * MINUTE;
    expect(await catchCode(environment.open(NAME, sealed))).toBe('vault_unavailable');
  });

  it('a disabled KMS key makes all records unreadable until it is enabled again', async () => {
    const sealed = await start().seal(NAME, text('x'));
    await services.kms.send(new DisableKeyCommand({ KeyId: services.keyId }));
    expect(await catchCode(start().open(NAME, sealed))).toBe('vault_unavailable');
    await services.kms.send(new EnableKeyCommand({ KeyId: services.keyId }));
    expect(await start().open(NAME, sealed)).toEqual(text('x'));
  });

  it('calls to KMS are reported with their outcome', async () => {
    const environment = start();
    services.faults.kms = () => THROTTLED;
    await catchCode(environment.seal(NAME, text('x')));
    services.faults.kms = () => 'cut';
    await catchCode(environment.seal(NAME, text('x')));
    services.faults.kms = () => undefined;
    await environment.seal(NAME, text('x'));
    expect(environment.calls.map(({ outcome }) => outcome)).toEqual(['throttled', 'failed', 'ok']);
  });

  it('a write whose response is lost leaves one key, which is used', async () => {
    const environment = start();
    const lossy: TenantKeyTable = {
      ...table,
      async addVersion(tenant, version, key) {
        await table.addVersion(tenant, version, key);
        return table.addVersion(tenant, version, key);
      },
    };
    const sealed = await startEnvironment(services, lossy).seal(NAME, text('x'));
    expect(await versions()).toEqual([1]);
    expect(await environment.open(NAME, sealed)).toEqual(text('x'));
  });
});

it('an unknown item in the keys table may be repaired while work waits, and is not overwritten', async () => {
  await services.dynamodb.send(
    new PutItemCommand({
      TableName: table.name,
      Item: { pk: { S: `tenant#${NAME.tenant}` }, sk: { S: 'keys' }, other: { S: 'x' } },
    }),
  );
  expect(await catchCode(start().seal(NAME, text('x')))).toBe('vault_unavailable');
});

it('a stream that one environment seals is opened by another, under its own name alone', async () => {
  async function* pieces() {
    yield text('Hello, ');
    yield text('world');
  }
  const collect = async (stream: AsyncIterable<Uint8Array>) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  const sealed = await collect(start().sealStream(NAME, pieces()));
  const read = async function* () {
    yield sealed;
  };
  expect(await collect(start().openStream(NAME, read()))).toEqual(text('Hello, world'));
  const other = start().openStream({ ...NAME, id: 'resp_other' }, read());
  await expect(collect(other)).rejects.toMatchObject({ code: 'record_unreadable' });
});

it('an environment caches the keys of no more tenants than it may', async () => {
  const tenants = ['one', 'two'];
  for (const tenant of tenants) await start().seal({ ...NAME, tenant }, text('x'));
  for (const [maxTenants, unwrapped] of [
    [1, 4],
    [2, 2],
  ] as const) {
    const environment = start({ maxTenants });
    services.kmsOperations.length = 0;
    for (const tenant of [...tenants, ...tenants]) await environment.seal({ ...NAME, tenant }, text('x'));
    expect(services.kmsOperations).toHaveLength(unwrapped);
  }
});
