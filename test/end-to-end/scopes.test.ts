import { afterAll, beforeAll, expect, it } from 'vitest';
import { ORGANIZATION } from '../../shared/access/principal.ts';
import { ADMIN_SCOPES, type Scope, TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { ROUTES } from '../../shared/api/route-table.ts';
import { addKeys } from './keys.ts';
import { type Service, startService } from './service.ts';

/** Text with two dots is read as a token. */
const toName = (scope: Scope): string => scope.replaceAll('.', '-');

let service: Service;
beforeAll(async () => {
  service = await startService();
  const toKeys = (tenant: string, all: readonly Scope[]) =>
    all.flatMap((scope, index) => [
      [`sk-only-${toName(scope)}`, { tenant, keyId: `only-${index}`, scopes: [scope] }],
      [
        `sk-without-${toName(scope)}`,
        { tenant, keyId: `without-${index}`, scopes: all.filter((each) => each !== scope) },
      ],
    ]);
  await addKeys(
    service.cloud,
    Object.fromEntries([...toKeys('local', TENANT_SCOPES), ...toKeys(ORGANIZATION, ADMIN_SCOPES)]),
  );
});
afterAll(() => service[Symbol.asyncDispose]());

async function call(route: string, key: string): Promise<{ status: number; text: string }> {
  const [method = '', resource = ''] = route.split(' ');
  const response = await fetch(new URL(resource.replace(/\{\w+\+?\}/g, 'none'), service.cloud.url), {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(method === 'POST' ? { body: '[]' } : {}),
  });
  return { status: response.status, text: await response.text() };
}

it('each route takes a key with its scope alone, and refuses one with all other scopes', async () => {
  for (const [route, scope] of Object.values(ROUTES).flatMap((part) => Object.entries(part))) {
    const [only, without] = await Promise.all([
      call(route, `sk-only-${toName(scope)}`),
      call(route, `sk-without-${toName(scope)}`),
    ]);
    expect([route, without.status, without.text]).toEqual([route, 403, expect.stringContaining(`\`${scope}\``)]);
    expect([401, 403], `${route}: ${only.text}`).not.toContain(only.status);
  }
});
