import { randomUUID } from 'node:crypto';
import {
  CreateAliasCommand,
  CreateKeyCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { verdictOn } from '../../../shared/jobs/verdict.ts';
import { createTenantKeyTable } from '../../../shared/vault/key-table.ts';
import { createKeyGenerator, createKeyRewrapper, createKeyUnwrapper } from '../../../shared/vault/kms-keys.ts';
import { createWrappingKeys } from '../../../shared/vault/wrapping-key.ts';
import { aJob } from '../jobs/jobs.ts';
import { type Services, startEnvironment, startServices } from './environments.ts';
import { NAME } from './records.ts';

const DAY_MS = 86_400_000;
const text = (words: string) => Buffer.from(words, 'utf8');

let services: Services;
let table: Awaited<ReturnType<Services['newTable']>>;
let keyId: string;
let sealed: Uint8Array;

beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());
beforeEach(async () => {
  services.faults.dynamodb = services.faults.kms = () => undefined;
  services.clock.now = Date.parse('2026-11-01T00:00:00Z');
  table = await services.newTable();
  keyId = await createKey();
  sealed = await start().seal(NAME, text('Hello'));
  services.clock.now += DAY_MS;
});

async function createKey(): Promise<string> {
  return (await services.kms.send(new CreateKeyCommand({}))).KeyMetadata?.KeyId ?? '';
}

function start(changes: { keyId?: string; table?: typeof table; mayCreate?: boolean } = {}) {
  return startEnvironment({ ...services, keyId: changes.keyId ?? keyId }, changes.table ?? table, changes);
}

type Vault = ReturnType<typeof start>;

/** Returns what becomes of a job whose input this vault can't open. */
async function decide(vault: Vault, stored = sealed): Promise<string> {
  const thrown = await vault.open(NAME, stored).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (thrown === undefined) return 'opened';
  const circumstances = { stop: undefined, progress: 'unasked', random: 0, timings: JOB_TIMINGS } as const;
  const job = aJob({ attempts: 2, releases: 100 });
  const verdict = verdictOn(thrown, job, { ...circumstances, now: job.createdAt });
  return verdict.kind === 'release' && verdict.counts !== true ? 'waits' : verdict.kind;
}

describe('a job waits, without an attempt, while the vault', () => {
  it('has another KMS key', async () => {
    expect(await decide(start({ keyId: await createKey() }))).toBe('waits');
    expect(await decide(start())).toBe('opened');
  });

  it('has a KMS key that does not exist', async () => {
    expect(await decide(start({ keyId: randomUUID() }))).toBe('waits');
  });

  it.each([
    ['may not use its KMS key', 'AccessDeniedException'],
    ['is throttled by KMS', 'ThrottlingException'],
    ['asks a KMS that fails', 'KMSInternalException'],
  ])('%s', async (_what, type) => {
    services.faults.kms = () => ({ status: 400, type });
    expect(await decide(start())).toBe('waits');
  });

  it('has a KMS key that is disabled, until it is enabled again', async () => {
    await services.kms.send(new DisableKeyCommand({ KeyId: keyId }));
    expect(await decide(start())).toBe('waits');
    await services.kms.send(new EnableKeyCommand({ KeyId: keyId }));
    expect(await decide(start())).toBe('opened');
  });

  it('has a KMS key that waits for its deletion, which can still be cancelled', async () => {
    await services.kms.send(new ScheduleKeyDeletionCommand({ KeyId: keyId, PendingWindowInDays: 7 }));
    expect(await decide(start())).toBe('waits');
  });

  it('has a keys table that does not exist', async () => {
    const missing = { ...createTenantKeyTable(services.dynamodb, 'missing'), name: 'missing' };
    expect(await decide(start({ table: missing }))).toBe('waits');
  });

  it('has an empty keys table', async () => {
    expect(await decide(start({ table: await services.newTable(), mayCreate: false }))).toBe('waits');
  });

  it('has a keys table with other keys', async () => {
    const other = await services.newTable();
    await start({ table: other, keyId: await createKey() }).seal(NAME, text('x'));
    expect(await decide(start({ table: other, mayCreate: false }))).toBe('waits');
  });

  it.each([
    ['may not read its keys table', { status: 400, type: 'AccessDeniedException' }],
    ['is throttled by its keys table', { status: 400, type: 'ThrottlingException' }],
    ['is cut off from its keys table', 'cut'],
  ] as const)('%s', async (_what, fault) => {
    services.faults.dynamodb = () => fault;
    expect(await decide(start())).toBe('waits');
  });
});

describe('a job fails at once', () => {
  it('if its tenant was deleted', async () => {
    await table.markErased({ tenant: NAME.tenant, deletedAt: services.clock.now });
    expect(await decide(start())).toBe('end');
  });

  it("if its tenant's external key is disabled, until it is enabled again", async () => {
    const { kms, clock } = services;
    const external = (await kms.send(new CreateKeyCommand({}))).KeyMetadata?.Arn ?? '';
    const unwrap = createKeyUnwrapper(kms, keyId);
    const [generate, rewrap] = [createKeyGenerator(kms, keyId), createKeyRewrapper(kms, keyId)];
    await createWrappingKeys({ table, generate, unwrap, rewrap, now: () => clock.now }).change(NAME.tenant, external);
    await kms.send(new DisableKeyCommand({ KeyId: external }));
    expect(await decide(start())).toBe('end');
    await kms.send(new EnableKeyCommand({ KeyId: external }));
    expect(await decide(start())).toBe('opened');
  });

  it('if the KMS key that wrapped its tenant key was deleted', async () => {
    await services.kms.send(new ScheduleKeyDeletionCommand({ KeyId: keyId, PendingWindowInDays: 7 }));
    services.clock.now += 7 * DAY_MS;
    expect(await decide(start())).toBe('end');
  });

  it('but not if the function names that KMS key by an alias, which may point to another', async () => {
    const AliasName = `alias/${randomUUID()}`;
    await services.kms.send(new CreateAliasCommand({ AliasName, TargetKeyId: keyId }));
    await services.kms.send(new ScheduleKeyDeletionCommand({ KeyId: keyId, PendingWindowInDays: 7 }));
    services.clock.now += 7 * DAY_MS;
    expect(await decide(start({ keyId: AliasName }))).toBe('waits');
  });
});

it('failed requests to the keys table are reported', async () => {
  const failures: unknown[] = [];
  const reported = createTenantKeyTable(services.dynamodb, 'missing', (thrown) => failures.push(thrown));
  await reported.read('acme').catch(() => {});
  expect(failures).toMatchObject([{ code: 'vault_unavailable' }]);
});

it('a key that KMS does not know yet, because it was created just now, delays work', async () => {
  services.faults.kms = (operation) =>
    operation === 'Decrypt' ? { status: 400, type: 'NotFoundException' } : undefined;
  expect(await decide(start())).toBe('end');
  services.clock.now -= DAY_MS;
  expect(await decide(start())).toBe('waits');
});
