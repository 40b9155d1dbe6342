import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import { ORGANIZATION } from '../../../shared/access/principal.ts';
import type { Route } from '../../../shared/access/route.ts';
import { createAuditLogRoutes } from '../../../shared/admin/audit-logs.ts';
import { createUsageRoutes } from '../../../shared/admin/usage.ts';
import { storeActs } from '../../../shared/audit/act-table.ts';
import type { Entry } from '../../../shared/audit/entry.ts';
import type { Table } from '../../../shared/aws/table.ts';
import { addUsage } from '../../../shared/usage/usage-table.ts';
import { type AuditWorld, startAuditWorld } from '../audit/audit-world.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

const NOW = Date.parse('2026-11-30T12:00:00Z');
const HEX = '0123456789abcdef0123456789ab';
const CALLERS = {
  api_key_id: `key_${HEX}`,
  service_account_id: `svc_acct_${HEX}`,
  user_id: `user_${HEX}`,
  sender_id: 'AROAEXAMPLE000000001',
};

let world: AuditWorld;
let usage: Table;
beforeAll(async () => {
  world = await startAuditWorld();
  usage = (await world.newLog()).table;
  const calls = Object.values(CALLERS).map((keyId, index) => ({
    ...makeEntry(index, { record: 'call', keyId }),
    ...{ model: 'lean', inputTokens: 1, outputTokens: 1 },
  }));
  const digest = { chain: 0, sequence: 1 } as Parameters<typeof addUsage>[1];
  await addUsage(usage, digest, calls);
  const alert = { act: 'spend_alert.triggered', objectId: 'half', project: 'acme' };
  const acts = [...Object.values(CALLERS), 'admin-key', undefined].map((keyId, index) =>
    makeEntry(index, {
      ...{ record: 'act', keyId, tenant: keyId === 'admin-key' ? ORGANIZATION : 'acme' },
      ...alert,
    }),
  );
  await storeActs(usage, acts, 1);
});
afterAll(() => world[Symbol.asyncDispose]());

function makeEntry(index: number, fields: Partial<Entry>): Entry {
  const time = new Date(NOW - 60_000 - index).toISOString();
  return { id: `audit_${String(index).padStart(24, '0')}`, time, record: 'call', tenant: 'acme', ...fields };
}

async function get(routes: Readonly<Record<string, Route>>, path: string, query: Readonly<Record<string, string>>) {
  const response = await routes[`GET /v1/organization/${path}`]?.run({
    ...{ requestId: 'r', pathParameters: {}, query, headers: {}, body: {}, deadlineAt: Number.POSITIVE_INFINITY },
    principal: { tenant: ORGANIZATION, keyId: 'admin', scopes: [], policy: UNRESTRICTED },
    ...{ signal: new AbortController().signal, telemetry: recordTelemetry() },
  });
  return (response && 'json' in response ? response.json : {}) as { readonly data: readonly Record<string, unknown>[] };
}

describe.each(['usage/completions', 'costs'])('%s', (path) => {
  const read = async (query: Readonly<Record<string, string>>) => {
    const { data } = await get(createUsageRoutes({ usage, now: () => NOW }), path, {
      ...{ start_time: String(NOW / 1000 - 86_400), ...query },
    });
    return data.flatMap(({ results }) => results as Record<string, unknown>[]);
  };

  it('a call counts for the key, service account, user or sender that its caller is, and for no other kind', async () => {
    const results = await read({ group_by: Object.keys(CALLERS).join(',') });
    const none = { api_key_id: null, service_account_id: null, user_id: null, sender_id: null };
    const expected = Object.entries(CALLERS).map(([field, id]) => expect.objectContaining({ ...none, [field]: id }));
    expect(results).toHaveLength(expected.length);
    expect(results).toEqual(expect.arrayContaining(expected));
  });

  it.each(Object.entries(CALLERS))('%ss select the calls of these callers', async (field, id) => {
    expect(await read({ [`${field}s`]: id, group_by: field })).toMatchObject([{ [field]: id }]);
    for (const other of Object.keys(CALLERS).filter((each) => each !== field))
      expect(await read({ [`${other}s`]: id })).toEqual([]);
  });
});

it('the actor of an act is shown as the key, service account or user that it is', async () => {
  const { data } = await get(createAuditLogRoutes({ usage }), 'audit_logs', {});
  expect(data.map(({ actor }) => actor)).toEqual([
    { type: 'api_key', api_key: { id: CALLERS.api_key_id } },
    { type: 'api_key', api_key: { type: 'service_account', service_account: { id: CALLERS.service_account_id } } },
    { type: 'session', session: { user: { id: CALLERS.user_id } } },
    { type: 'api_key', api_key: { type: 'service_account', service_account: { id: CALLERS.sender_id } } },
    { type: 'api_key', api_key: { id: 'admin-key', type: 'user' } },
    null,
  ]);
});
