import { describe, expect, it } from 'vitest';
import { until, useCleanup } from '../runners.ts';
import { routeOf, testGateway } from './gateways.ts';

useCleanup();

async function startWithAuthorizer(options: Parameters<typeof testGateway>[0] = {}) {
  const { gateway, runner } = await testGateway(options);
  const ask = (key: string | undefined, method = 'POST') =>
    fetch(`${gateway.url}/closed`, { method, headers: key === undefined ? {} : { authorization: `Bearer ${key}` } });
  const contextOf = async (key: string) => Object(await (await ask(key)).json()).requestContext.authorizer;
  return { ask, contextOf, runner };
}

const authorizer = { function: 'authorizer', identityHeaders: ['authorization'], ttlMs: 0 };

describe('an authorizer', () => {
  it('passes its context to the function, every value as a string', async () => {
    const { contextOf } = await startWithAuthorizer();
    expect(await contextOf('good')).toEqual({
      principalId: 'user',
      tenant: 'acme',
      calls: '1',
      flag: 'true',
      integrationLatency: expect.any(Number),
    });
  });

  it('is invoked once for each API key', async () => {
    const { contextOf } = await startWithAuthorizer();
    const calls: string[] = [];
    for (const key of ['good', 'good', 'good2', 'good', 'good2']) calls.push((await contextOf(key)).calls);
    expect(calls).toEqual(['1', '1', '2', '1', '2']);
  });

  it('is invoked once for concurrent requests with the same key', async () => {
    const { contextOf, runner } = await startWithAuthorizer();
    const contexts = await Promise.all(Array.from({ length: 5 }, () => contextOf('good')));
    expect(contexts.map(({ calls }) => calls)).toEqual(['1', '1', '1', '1', '1']);
    expect(runner.processes().filter((each) => each.function === 'authorizer')).toHaveLength(1);
  });

  it('is invoked again when its cached policy has expired', async () => {
    const routes = [routeOf('POST', '/closed', { authorizer: { ...authorizer, ttlMs: 2_000 } })];
    const { contextOf } = await startWithAuthorizer({ routes });
    await contextOf('good2');
    expect([(await contextOf('good')).calls, (await contextOf('good')).calls]).toEqual(['2', '2']);
    await until(async () => (await contextOf('good')).calls === '3');
  });

  it('is invoked for each request if its policies may not be cached', async () => {
    const { contextOf } = await startWithAuthorizer({ routes: [routeOf('POST', '/closed', { authorizer })] });
    expect([(await contextOf('good')).calls, (await contextOf('good')).calls]).toEqual(['1', '2']);
  });

  it('is not invoked for a request without the identity header', async () => {
    const { ask, runner } = await startWithAuthorizer();
    expect([(await ask(undefined)).status, runner.processes()]).toEqual([401, []]);
  });

  it.each([
    { key: 'bad', status: 403, type: 'AccessDeniedException' },
    { key: 'unauthorized', status: 401, type: 'UnauthorizedException' },
    { key: 'crash', status: 500, type: 'AuthorizerFailureException' },
    { key: 'nonsense', status: 500, type: 'AuthorizerConfigurationException' },
  ])(
    'that returns a policy or error for the key $key keeps the function from being invoked',
    async ({ key, status, type }) => {
      const { ask, runner } = await startWithAuthorizer();
      const answer = await ask(key);
      expect([answer.status, answer.headers.get('x-amzn-errortype')]).toEqual([status, type]);
      expect(runner.processes().map((each) => each.function)).toEqual(['authorizer']);
    },
  );

  it('can allow some methods only, also by a cached policy', async () => {
    const { ask } = await startWithAuthorizer();
    expect((await ask('good-get-only', 'GET')).status).toBe(200);
    expect((await ask('good-get-only', 'POST')).status).toBe(403);
  });
});
